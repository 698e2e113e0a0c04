"""The latency table of a group: percentiles of single operations, for the rows that have them.

A row of an open loop has two lines: its response, from the intended start of each operation, and
its service, from the actual one. The values come from a file like any other: what is no number is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench_cli.metrics import Direction, Kind, Metric, Unit
from bench_cli.report import labels, scale
from bench_cli.report.model import Column, Line, Table
from bench_cli.report.text import safe
from bench_cli.results import Row

TOO_SMALL = "n too small"
_TIMES = ("p50", "p90", "p99", "p99.9", "max")
_PARTS = ("response", "service")


def table(title: str, rows: Sequence[Row]) -> Table | None:
    """None where no row has latencies."""
    named = labels.label(rows)  # as in the table above
    lines = [
        (label, row, name)
        for label, row in zip(named.by_row, rows, strict=True)
        for name in _PARTS
        if _part(row, name)
    ]
    if not lines:
        return None
    columns = [_times([_part(row, part) for _, row, part in lines], name) for name in _TIMES]
    rates = any(_number(row.latency.get("rate_per_s")) for _, row, _ in lines)
    heads = [Column(name, label=True) for name in named.varying]
    heads += [Column("rate /s"), Column("kept /s", 3), Column("time")] if rates else []
    return Table(
        title=safe(f"{title}: latencies"),
        columns=[*heads, *(column for column, _ in columns), Column("n", 2)],
        lines=[
            Line((
                *label, *(_rate(row, part) if rates else ()),
                *(cells[number] for _, cells in columns), _count(row, part),
            ))
            for number, (label, row, part) in enumerate(lines)
        ],
        notes=list(_notes(rates, [cell for _, cells in columns for cell in cells])),
    )  # fmt: skip


def is_sought(row: Row) -> bool:
    """A row of a search for the highest rate; it has no throughput."""
    return "goal" in row.latency


def rates_table(title: str, rows: Sequence[Row]) -> Table:
    """What searches found: the rate that holds, and the next one that does not."""
    named = labels.label(rows)
    goals = {safe(str(row.latency["goal"])[:40]) for row in rows if is_sought(row)}
    heads = ("holds /s", "fails /s", "because")
    return Table(
        title=safe(f"{title}: highest rate with {' or '.join(sorted(goals))}"),
        columns=[*(Column(n, label=True) for n in named.varying), *map(Column, heads)],
        lines=[_found(label, row) for label, row in zip(named.by_row, rows, strict=True)],
        notes=["Found to 5 %: two trials of at most three hold at the one rate and fail at the "
               "other, each a fresh process with an open loop."],
    )  # fmt: skip


def _found(label: tuple[str, ...], row: Row) -> Line:
    if row.status != "ok":
        return Line(label, f"{row.status}: {safe(row.reason or 'no reason given')}")
    holds, fails = (_number(row.latency.get(name)) for name in ("holds_per_s", "fails_per_s"))
    return Line((
        *label,
        "none" if holds is None else f"{holds:,.0f}",
        "none" if fails is None else f"{fails:,.0f}",
        safe(str(row.latency.get("why_fails") or "")[:60]),
    ))  # fmt: skip


def _rate(row: Row, part: str) -> tuple[str, str, str]:
    """What was meant, what came of it, and which time the line is about."""
    intended = _number(row.latency.get("rate_per_s"))
    kept = _number(row.latency.get("achieved_per_s")) if intended else None
    return (
        f"{intended:,.0f}" if intended else "one by one",
        "" if kept is None else f"{kept:,.0f}",
        part,
    )


def _count(row: Row, part: str) -> str:
    count = _number(_part(row, part).get("count"))
    return "" if count is None else f"{count:,.0f}"


def _times(found: Sequence[Mapping[str, Any]], name: str) -> tuple[Column, list[str]]:
    values = [_number(one.get(name)) for one in found]
    metric = Metric(name, Unit.NANOSECONDS, Direction.LOWER, Kind.NOISY, name, "")
    scaled = scale.column(metric, values)
    cells = [
        TOO_SMALL if value is None else text
        for text, value in zip(scaled.cells, values, strict=True)
    ]
    return Column(scaled.heading), cells


def _notes(rates: bool, cells: Sequence[str]) -> Iterator[str]:
    yield "Times of single operations, in a pass of their own; reading the clock subtracted."
    if rates:
        yield (
            "response: from the intended start of an operation, waiting behind others included; "
            "service: from its actual start."
        )
    if TOO_SMALL in cells:
        yield f"{TOO_SMALL}: fewer than ten operations would lie beyond that percentile."


def _part(row: Row, name: str) -> Mapping[str, Any]:
    found = row.latency.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    """A count or a time that can be shown."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        return None
    return float(value)
