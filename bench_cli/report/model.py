"""A table before it meets a width: what stands in it and what may be left out.

Builders (``table``, ``requirements``, ``comparison``) make these from results; ``layout`` turns
them into lines for one width; ``console`` prints those lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bench_cli.results import Row


class Tone(StrEnum):
    """What a line is, for surfaces that have colours."""

    TITLE = "title"
    DIM = "dim"
    HEADING = "heading"
    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Column:
    """``priority`` 0 is always shown; where room is short the highest number goes first. A column
    with ``fold`` is not lost then: its values are told under the table, after that word. Text of
    ``label`` columns may wrap; numbers never do. ``absent`` says why cells are N/A."""

    heading: str
    priority: int = 0
    label: bool = False
    fold: str | None = None
    absent: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One row. With ``message`` it has no numbers, only its labels and that sentence."""

    cells: tuple[str, ...]
    message: str | None = None
    tone: Tone = Tone.PLAIN


@dataclass(slots=True)
class Table:
    title: str
    columns: list[Column]
    lines: list[Line]
    subtitles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: Sequence[Row] = ()
    """The rows of a result it was made from, where it was."""


@dataclass(frozen=True, slots=True)
class Styled:
    """One line of output."""

    text: str
    tone: Tone = Tone.PLAIN
