"""A cell is one point of a scenario's matrix: workload x backend x core x parameters.

Its id is stable: keys in brackets sorted by name, sizes in the largest exact binary unit,
parameters left at their default and not an axis omitted, so that adding a parameter with a
default never renames a row. ``wal.append[backend=wal.mmap,core=native,record=32KiB]``
A rate stands there like a parameter, because a row is another one at another rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench_cli.errors import UsageError
from bench_cli.flushing import FlushError, format_flush, parse_flush
from bench_cli.units import (
    EXACT_TIMES,
    PER_SECOND,
    SIZES,
    UnitError,
    format_size,
    format_time,
    parse_count,
    parse_frequency,
    parse_size,
    parse_time,
    shorten,
    split_quantity,
)

MAX_REFERENCE = 1000
"""Characters of one reference; far above any real id."""
RATE = "rate"

_WORKLOAD = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9_.:+-]+")
_RATE = re.compile(r"[\[,]rate=([0-9]+)/s[,\]]")
USUAL_SAMPLE_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How often a cell runs. ``processes`` fresh workers, each one warm-up sample (discarded) and
    ``samples`` samples of at least ``min_sample_ns``; a worker that takes longer than
    ``timeout_ns`` is killed and its row fails. ``latency``: the times of single operations are
    told, in a pass of their own; with ``rate_per_s`` from an open loop that means to start so
    many per second. ``limit``: the smallest change of its time that matters, a fraction; 0: as
    the metric declares."""

    processes: int = 3
    samples: int = 3
    min_sample_ns: int = USUAL_SAMPLE_NS
    timeout_ns: int = 120_000_000_000
    latency: bool = False
    rate_per_s: int = 0
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """``params`` holds every parameter of the workload, defaults filled in, in base units
    (bytes, ns). ``shown`` names the ones that stand in the id."""

    id: str
    scenario: str
    workload: str
    backend: str | None
    core: str | None
    params: Mapping[str, Any]
    shown: tuple[str, ...] = ()
    plan: PlanSettings = field(default_factory=PlanSettings)
    limits: tuple[str, ...] = ()
    """Ids of limit cells measured in the same processes as this one."""
    skip: str | None = None
    """Why this cell will not run (a capability or a core that is not there); None: it runs."""


class BadReference(UsageError):
    """Text that is not the name of a row."""

    slug = "reference"


@dataclass(frozen=True, slots=True)
class Reference:
    """A row named in text: workload and some of its parameters, sorted by name, each value as
    it stands in an id."""

    workload: str
    values: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        if not self.values:
            return self.workload
        return f"{self.workload}[{','.join(f'{name}={text}' for name, text in self.values)}]"

    @property
    def key(self) -> tuple[str, frozenset[tuple[str, int | str]]]:
        """Equal for two references to the same row, also where one of them gives a size or a
        time as a bare number of bytes or nanoseconds."""
        return self.workload, frozenset((name, base_value(text)) for name, text in self.values)


def format_value(value: Any, kind: str) -> str:
    """A parameter's value as it stands in an id; ``kind`` as in ``interfaces.Parameter``."""
    if kind == "size":
        return format_size(value)
    if kind == "time":
        return format_time(value)
    if kind == "rate":
        return f"{value}/s"
    if kind == "share":
        return f"{value * 100:g}%"
    return str(value)


def make_id(workload: str, shown: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """The id of a cell. ``shown`` holds, in base units, what stands in it (backend and core
    included); ``kinds`` the kind of each parameter."""
    values = {name: format_value(value, kinds.get(name, "choice")) for name, value in shown.items()}
    return Reference(workload, tuple(sorted(values.items()))).id


def rate_of(cell_id: str) -> int | None:
    """Operations meant to start per second, as a cell's id says; None where it does not."""
    found = _RATE.search(cell_id)
    return int(found[1]) if found else None


def without_rate(cell: Cell) -> Cell:
    """The cell as if its plan had none."""
    named = parse_reference(cell.id)
    values = tuple(value for value in named.values if value[0] != RATE)
    return replace(
        cell,
        id=Reference(named.workload, values).id,
        shown=tuple(name for name in cell.shown if name != RATE),
        plan=replace(cell.plan, rate_per_s=0),
    )


def parse_reference(text: str, kinds: Mapping[str, str] | None = None) -> Reference:
    """Read a row's name: keys in any order, spaces around them, sizes, times and rates in any
    unit.

    With ``kinds`` (by parameter name) values are read as what they are; without, a number with
    a unit is a size, a time or a rate, and a bare number stays one. Raises BadReference.
    """
    if len(text) > MAX_REFERENCE:
        raise BadReference(f"{shorten(text)} is longer than {MAX_REFERENCE} characters")
    name, bracket, rest = text.strip().partition("[")
    workload = name.strip()
    if not _WORKLOAD.fullmatch(workload):
        raise BadReference(f"{shorten(name)} is not the name of a workload (engine.name)")
    if not bracket:
        return Reference(workload)
    if not rest.endswith("]"):
        raise BadReference(f"{shorten(text)} lacks its closing bracket")
    return Reference(workload, _parse_values(rest[:-1], kinds or {}))


def _parse_values(text: str, kinds: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    values: dict[str, str] = {}
    for part in text.split(",") if text.strip() else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not _KEY.fullmatch(name):
            raise BadReference(f"{shorten(part.strip())} is not key=value")
        if name in values:
            raise BadReference(f"{name} is given twice")
        values[name] = _canonical(name, value, kinds.get(name))
    return tuple(sorted(values.items()))


def _canonical(name: str, value: str, kind: str | None) -> str:
    try:
        match kind:
            case "size":
                return format_size(parse_size(value))
            case "time":
                return format_time(parse_time(value))
            case "int":
                return str(parse_count(value))
            case "flush":
                return format_flush(parse_flush(value))
            case None:
                return _guess(value)
    except (UnitError, FlushError) as error:
        raise BadReference(f"{name}: {error.message}") from error
    return _word(name, value)


def _guess(value: str) -> str:
    try:
        unit = split_quantity(value)[1]
    except UnitError:
        return _word("value", value)
    if unit in SIZES:
        return format_size(parse_size(value))
    if unit in EXACT_TIMES:
        return format_time(parse_time(value))
    if unit in PER_SECOND:
        return format_value(parse_frequency(value), "rate")
    return str(parse_count(value)) if not unit else _word("value", value)


def _word(name: str, value: str) -> str:
    if not _WORD.fullmatch(value):
        raise BadReference(f"{name}: {shorten(value)} is not a plain word (no wildcards)")
    return value


def base_value(text: str) -> int | str:
    """A value of an id in base units: sizes and bare numbers as bytes, times as ns, rates per
    second, words as they are."""
    try:
        unit = split_quantity(text)[1]
        if unit in SIZES or not unit:
            return parse_size(text)
        if unit in PER_SECOND:
            return parse_frequency(text)
        return parse_time(text) if unit in EXACT_TIMES else text
    except UnitError:
        return text
