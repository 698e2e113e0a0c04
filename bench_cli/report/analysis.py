"""Sentences under the draws table, made from its numbers; silent about what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench_cli.report import labels, scale
from bench_cli.report.columns import durability
from bench_cli.results import Row
from bench_cli.stats import summary

_HEAP_TO_TELL = 0.5  # bytes per draw; less is what setting up a batch costs
_WRITE_LIMIT = "limits.write_syscall"


def analyse(rows: Sequence[Row]) -> list[str]:
    """What the draws say about the choice of a log. Compares the rows that differ in nothing but
    the log; where there are several such sets, the largest."""
    family = _largest_family([row for row in rows if _comparable(row)])
    if len(family) < 2:
        return []
    ranked = sorted(family, key=lambda row: row.metrics["ns_per_op"])
    sentences = [*_speed(ranked), *_system_calls(ranked), *_bytes(ranked), *_survival(ranked)]
    where = _setting(ranked[0]) if len(family) < len(rows) else ""
    return [f"{where}{sentences[0]}", *sentences[1:]]


def _comparable(row: Row) -> bool:
    measured = row.status == "ok" and row.metrics.get("ns_per_op", 0) > 0
    return measured and "draws_per_s" in row.metrics and "wal" in labels.axes(row)


def _largest_family(rows: Sequence[Row]) -> list[Row]:
    families: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        families.setdefault(_setting_of(row), []).append(row)
    return max(families.values(), key=len, default=[])


def _setting_of(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in labels.axes(row).items() if pair[0] != "wal")


def _setting(row: Row) -> str:
    skipped = (labels.OPERATION, "backend", "core")
    pairs = [f"{name} {value}" for name, value in _setting_of(row) if name not in skipped]
    return f"({', '.join(pairs)}) " if pairs else ""


def _name(row: Row) -> str:
    wal = labels.axes(row)["wal"]
    return "no log" if wal in ("none", "wal.none") else wal


def _names(rows: Sequence[Row]) -> str:
    names = [_name(row) for row in rows]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# --- the sentences ---------------------------------------------------------------------------


def _speed(ranked: Sequence[Row]) -> Iterator[str]:
    first, *others = ranked
    rate = scale.count(round(first.metrics["draws_per_s"]))
    factors = [f"{_name(row)} takes {_factor(row, first)} as long" for row in others]
    yield f"Fastest: {_name(first)}, {rate} draws/sec; {', '.join(factors)}."
    for faster, slower in zip(ranked, others, strict=False):
        if _within_spread(faster, slower):
            yield (
                f"{_name(faster)} and {_name(slower)} differ by less than their processes do: "
                "a tie."
            )


def _factor(row: Row, base: Row) -> str:
    return scale.times(row.metrics["ns_per_op"] / base.metrics["ns_per_op"])


def _within_spread(faster: Row, slower: Row) -> bool:
    """Whether the ranges of the two rows' processes overlap."""
    a, b = faster.per_process.get("ns_per_op", []), slower.per_process.get("ns_per_op", [])
    if summary.spread(a) is None or summary.spread(b) is None:
        return False
    return max(a) >= min(b)


def _system_calls(ranked: Sequence[Row]) -> Iterator[str]:
    """How much of a draw is the system call alone, from the limit measured beside it."""
    for row in ranked:
        call = next((v for name, v in row.limits.items() if name.startswith(_WRITE_LIMIT)), [])
        calls = row.metrics.get("write_calls_per_op", 0)
        middle = summary.centre(call)
        if calls and middle:
            share = min(1.0, calls * middle / row.metrics["ns_per_op"])
            yield (
                f"{_name(row)}: {scale.percent(share)} of a draw is write(2), "
                f"{scale.time(middle)} a call on this machine."
            )


def _bytes(ranked: Sequence[Row]) -> Iterator[str]:
    by_size: dict[float, list[Row]] = {}
    for row in ranked:
        if row.metrics.get("wal_bytes_per_op"):
            by_size.setdefault(row.metrics["wal_bytes_per_op"], []).append(row)
    for size, rows in by_size.items():
        yield (
            f"A draw takes {scale.count(size)} bytes of log ({_names(rows)}): "
            f"{scale.significant(size)} MB for a million."
        )
    counted = [row for row in ranked if "alloc_bytes_per_op" in row.metrics]
    if counted and not any(row.metrics["alloc_bytes_per_op"] for row in counted):
        yield "No draw allocates heap memory."
    heap: dict[str, list[Row]] = {}
    for row in counted:
        if row.metrics["alloc_bytes_per_op"] >= _HEAP_TO_TELL:
            heap.setdefault(scale.count(row.metrics["alloc_bytes_per_op"]), []).append(row)
    for allocated, rows in heap.items():
        yield f"{_names(rows)}: {allocated} bytes of heap are allocated per draw."


_SURVIVES = {
    "D0": "may be lost when the process dies",
    "D1": "survives the death of the process, not of the machine",
    "D2": "survives a power cut but for the last {window}",
    "D3": "survives a power cut, if the device honours flushes",
}


def _survival(ranked: Sequence[Row]) -> Iterator[str]:
    levels: dict[str, list[Row]] = {}
    for row in ranked:
        level = str((row.durability or {}).get("level", ""))[:2]
        if level in _SURVIVES:
            window = (row.durability or {}).get("window") or "window"
            levels.setdefault(_SURVIVES[level].format(window=window), []).append(row)
    for told, rows in levels.items():
        yield f"{_names(rows)}: an acknowledged draw {told} ({durability(rows[0])[:2]})."
