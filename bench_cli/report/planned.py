"""What exists and what would run: the tables of ``plan``, ``list`` and ``backends``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_cli.report import scale
from bench_cli.report.layout import INDENT, lay_out
from bench_cli.report.model import Column, Line, Styled, Table, Tone
from bench_cli.report.text import safe, wrap


@dataclass(frozen=True, slots=True)
class Planned:
    """One scenario of a plan. ``cells``: (id, why it will be skipped or None)."""

    name: str
    workload: str
    cells: Sequence[tuple[str, str | None]]
    processes: int
    estimate_s: float


def render(
    scenarios: Sequence[Planned], estimate_s: float, limits: int, columns: int, *, cells: bool
) -> list[Styled]:
    """The plan of a run; with ``cells`` every cell by its id."""
    lines = [
        Line((safe(one.name), safe(one.workload), str(len(one.cells)), str(one.processes),
              scale.duration(one.estimate_s)))
        for one in scenarios
    ]  # fmt: skip
    heads = [Column("scenario", label=True), Column("workload", label=True), Column("cells"),
             Column("processes"), Column("about")]  # fmt: skip
    skipped = [(cell, why) for one in scenarios for cell, why in one.cells if why]
    table = Table(
        "Plan", heads, lines, warnings=[f"skipped: {safe(c)}: {safe(w)}" for c, w in skipped]
    )
    total = sum(len(one.cells) for one in scenarios)
    processes = sum(one.processes for one in scenarios)
    told = f"{_plural(total, 'cell')}, {_plural(processes, 'process', 'es')}"
    told += f", {_plural(limits, 'limit')} beside them" if limits else ""
    listed = [Styled(safe(cell)) for one in scenarios for cell, _ in one.cells] if cells else []
    return [
        *lay_out(table, columns),
        Styled(""),
        *listed,
        *([Styled("")] if listed else []),
        Styled(f"{told}: about {scale.duration(estimate_s)}. Nothing has run.", Tone.GOOD),
    ]


def _plural(count: int, noun: str, ending: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else ending}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list: cells under the headings, then a sentence of its own."""

    cells: tuple[str, ...]
    sentence: str = ""
    missing: bool = False


def listing(
    title: str, headings: Sequence[str], entries: Sequence[Entry], columns: int
) -> list[Styled]:
    """Entries with aligned cells; the sentence of each on the lines below it."""
    table = Table(
        title,
        [Column(heading, label=True) for heading in headings],
        [Line(tuple(map(safe, entry.cells)), tone=_tone(entry)) for entry in entries],
    )
    laid = lay_out(table, columns)
    if not any(entry.sentence for entry in entries):
        return laid
    return _interleaved(table, entries, columns)


def _tone(entry: Entry) -> Tone:
    return Tone.DIM if entry.missing else Tone.PLAIN


def _interleaved(table: Table, entries: Sequence[Entry], columns: int) -> list[Styled]:
    """Each entry as a small block: its name, its sentence, then the other cells with their
    headings."""
    lines = [Styled(table.title, Tone.TITLE)]
    for line, entry in zip(table.lines, entries, strict=True):
        name, *others = line.cells
        pairs = zip(table.columns[1:], others, strict=True)
        facts = "; ".join(f"{column.heading}: {cell}" for column, cell in pairs if cell)
        lines.append(Styled(""))
        lines += [Styled(text, _name_tone(entry)) for text in wrap(name, columns)]
        lines += _indented(safe(entry.sentence), columns, line.tone) if entry.sentence else []
        lines += _indented(facts, columns, Tone.DIM)
    return lines


def _name_tone(entry: Entry) -> Tone:
    return Tone.DIM if entry.missing else Tone.HEADING


def _indented(text: str, columns: int, tone: Tone) -> list[Styled]:
    return [Styled(INDENT + line, tone) for line in wrap(text, columns - len(INDENT), INDENT)]
