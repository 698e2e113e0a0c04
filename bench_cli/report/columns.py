"""Which metrics become columns, in which order, and which go first when room is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench_cli.metrics import METRICS
from bench_cli.report import labels, scale
from bench_cli.report.model import Column
from bench_cli.report.text import safe
from bench_cli.results import Row
from bench_cli.stats import summary


@dataclass(frozen=True, slots=True)
class MetricColumn:
    """``heading``: instead of the metric's own. ``absent``: why a row may lack it, said under the
    table; None: rows that lack it have an empty cell. ``kept``: the column stands there although
    no row has a value, if there is a reason to tell."""

    metric: str
    priority: int
    heading: str | None = None
    absent: Callable[[Row], str | None] | None = None
    kept: bool = False


def _no_log(row: Row) -> str | None:
    return None if labels.has_log(row) else "no log is kept"


def _not_counted(_row: Row) -> str | None:
    return "allocations are counted by a compiled counter, which is not built"


GENERAL = (
    MetricColumn("bytes_per_s", 0),
    MetricColumn("ns_per_op", 0),
    MetricColumn("limit_share", 0),
    MetricColumn("allocs_per_op", 3, absent=_not_counted),
    MetricColumn("slowest_bytes_per_s", 1),
    MetricColumn("slowest_blocked_share", 2),
    MetricColumn("ops_per_s", 6),
    MetricColumn("alloc_bytes_per_op", 5, absent=_not_counted),
    MetricColumn("wal_bytes_per_op", 4, absent=_no_log),
    MetricColumn("write_calls_per_op", 5),
    MetricColumn("max_unsynced_ns", 1),
    MetricColumn("records_per_sync", 4),
    MetricColumn("wal_file_size", 6, absent=_no_log),
    MetricColumn("written_bytes_per_op", 8),
    MetricColumn("gc_count", 7),
    MetricColumn("cpu_user_ns_per_op", 9),
    MetricColumn("cpu_sys_ns_per_op", 9),
    MetricColumn("minor_faults_per_op", 10),
    MetricColumn("peak_rss_bytes", 11),
)
DRAWS = (
    MetricColumn("draws_per_s", 0, "draws/sec"),
    MetricColumn("ns_per_op", 0),
    MetricColumn("alloc_bytes_per_op", 0, "bytes/draw", _not_counted, kept=True),
    MetricColumn("gc_count", 1, "gc_count"),
    MetricColumn("wal_bytes_per_op", 0, "wal_bytes/draw", _no_log),
    MetricColumn("wal_file_size", 1, "wal_file_size", _no_log),
    MetricColumn("limit_share", 1),
    MetricColumn("write_calls_per_op", 5, "writes/draw"),
    MetricColumn("allocs_per_op", 6, "allocs/draw"),
    MetricColumn("cpu_user_ns_per_op", 9, "user/draw"),
    MetricColumn("cpu_sys_ns_per_op", 9, "sys/draw"),
    MetricColumn("minor_faults_per_op", 10, "faults/draw"),
    MetricColumn("peak_rss_bytes", 11),
)
LIMITS = (
    MetricColumn("bytes_per_s", 0),
    MetricColumn("ns_per_op", 0),
    MetricColumn("ops_per_s", 6),
    MetricColumn("cpu_user_ns_per_op", 9),
    MetricColumn("cpu_sys_ns_per_op", 9),
)
SPREAD = Column("±")
_SPREAD_AFTER = "ns_per_op"


@dataclass(slots=True)
class Filled:
    """Columns, and for each row its cells."""

    columns: list[Column]
    cells: list[list[str]]


def fill(rows: Sequence[Row]) -> Filled:
    """The metric columns of these (ok) rows."""
    declared = _declared(rows)
    filled = Filled([], [[] for _ in rows])
    for column in declared:
        values = [row.metrics.get(column.metric) for row in rows]
        if column.kept or any(value is not None for value in values):
            _add_metric(filled, column, rows, values)
        if column.metric == _SPREAD_AFTER:
            _add(filled, SPREAD, [_spread(row) for row in rows])
    _add_against_none(filled, rows)
    _add_processes(filled, rows)
    _add_durability(filled, rows)
    return filled


def _declared(rows: Sequence[Row]) -> Sequence[MetricColumn]:
    if any("draws_per_s" in row.metrics for row in rows):
        return DRAWS
    if all(labels.is_limit(row) for row in rows):
        return LIMITS
    return GENERAL


def _add(filled: Filled, column: Column, cells: Sequence[str]) -> None:
    if any(cells):
        filled.columns.append(column)
        for line, cell in zip(filled.cells, cells, strict=True):
            line.append(cell)


def _add_metric(
    filled: Filled, column: MetricColumn, rows: Sequence[Row], values: Sequence[float | None]
) -> None:
    metric = METRICS[column.metric]
    scaled = scale.column(replace(metric, heading=column.heading or metric.heading), values)
    heading, cells = scaled.heading, scaled.cells
    reasons: list[str] = []
    for position, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is None:
            reason = column.absent(row) if column.absent else None
            cells[position] = scale.ABSENT if reason else ""
            reasons += [reason] if reason else []
    absent = "; ".join(dict.fromkeys(reasons)) or None
    _add(filled, Column(heading, column.priority, absent=absent), cells)


def _spread(row: Row) -> str:
    for name in ("ns_per_op", "bytes_per_s", "ops_per_s"):
        if name in row.per_process:
            return scale.spread(summary.spread(row.per_process[name]))
    return ""


# --- columns that are no metric of one row ----------------------------------------------------


def _add_against_none(filled: Filled, rows: Sequence[Row]) -> None:
    """Time as a multiple of the row that differs only in having no log."""
    bases = {_without_log(row): row for row in rows if labels.axes(row).get("wal") in _NO_LOG}
    cells = []
    for row in rows:
        base = bases.get(_without_log(row)) if "wal" in labels.axes(row) else None
        cells.append(_multiple(row, base))
    if any(cell not in ("", "1.0x") for cell in cells):
        _add(filled, Column("vs none", 4), cells)


def _add_processes(filled: Filled, rows: Sequence[Row]) -> None:
    """How many processes each row got, where a budget gave them out unequally."""
    counts = [len(row.samples.time_ns) for row in rows]
    if len(set(counts)) > 1 and not all(labels.is_limit(row) for row in rows):
        _add(filled, Column("processes", 3), [str(count) for count in counts])


_NO_LOG = ("none", "wal.none")


def _without_log(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pair for pair in labels.axes(row).items() if pair[0] != "wal"))


def _multiple(row: Row, base: Row | None) -> str:
    if base is None or not base.metrics.get("ns_per_op") or "ns_per_op" not in row.metrics:
        return ""
    return scale.times(row.metrics["ns_per_op"] / base.metrics["ns_per_op"])


def _add_durability(filled: Filled, rows: Sequence[Row]) -> None:
    """The level each row keeps, and on what evidence: in the heading where all rows agree."""
    evidence = {_evidence(row) for row in rows if row.durability}
    if len(evidence) == 1:
        word = f"survives ({evidence.pop()})"
        cells = [durability(row) for row in rows]
    else:
        word = "survives"
        cells = [f"{durability(row)} {_evidence(row)}" if row.durability else "" for row in rows]
    _add(filled, Column(word, 2, fold=word), cells)


def durability(row: Row) -> str:
    """``D1 I1 C2``."""
    found = row.durability or {}
    window = f"({found['window']})" if found.get("window") else ""
    words = [str(found.get("level", "")) + window]
    words += [str(found[name]) for name in ("integrity", "damage") if found.get(name)]
    return safe(" ".join(words))


def _evidence(row: Row) -> str:
    """``declared``, or ``verified 2026-01-02``."""
    found = row.durability or {}
    words = [found.get("evidence") or "declared", found.get("date")]
    return safe(" ".join(str(word) for word in words if word))


def evidence(rows: Sequence[Row]) -> list[str]:
    """What stands behind each such mark, once: ``verified 2026-01-02: 100,000 images, ...``."""
    told = {
        f"{_evidence(row)}: {safe(str(row.durability['counts']))}": None
        for row in rows
        if row.durability and row.durability.get("counts")
    }
    return list(told)
