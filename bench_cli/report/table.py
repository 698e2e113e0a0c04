"""Rows of a result as tables, one per group, as on a benchmark page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench_cli.report import columns, labels, latency, scale
from bench_cli.report.model import Column, Line, Table, Tone
from bench_cli.report.text import safe
from bench_cli.results import Row

_LOOP_SHARE_TO_TELL = 0.05
_OK = "ok"
_NAMED = 3  # rows a warning names before it counts the others


def tables(rows: Sequence[Row]) -> list[Table]:
    """One per group, in the order of first appearance, with its latencies below where there are
    any; the machine's limits last."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    ordered = sorted(groups.items(), key=lambda item: labels.is_limit(item[1][0]))
    parts = [part for name, members in ordered for part in _parts(name, members)]
    built = [(_main_table(*part), latency.table(*part)) for part in parts]
    return [one for pair in built for one in pair if one is not None]


def _main_table(group: str, rows: Sequence[Row]) -> Table:
    sought = any(latency.is_sought(row) for row in rows)
    return latency.rates_table(group, rows) if sought else group_table(group, rows)


def _parts(group: str, rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """A group whose scenarios time the same operation under different settings has a table per
    scenario; one whose scenarios time different operations stays together."""
    scenarios: dict[str, list[Row]] = {}
    for row in rows:
        scenarios.setdefault(row.scenario, []).append(row)
    operations = [{row.workload for row in members} for members in scenarios.values()]
    if len(set.union(*operations)) == sum(map(len, operations)) or labels.is_limit(rows[0]):
        return [(group, list(rows))]
    return [(f"{group}: {name}", members) for name, members in scenarios.items()]


def group_table(group: str, rows: Sequence[Row]) -> Table:
    """The rows of one group. Rows that are not ok show their reason instead of numbers."""
    told = labels.label(rows)
    measured = [row for row in rows if row.status == _OK]
    filled = columns.fill(measured)
    numbers = iter(filled.cells)
    lines = []
    said: str | None = None
    for row, label in zip(rows, told.by_row, strict=True):
        if row.status == _OK:
            lines.append(Line((*label, *next(numbers))))
        else:
            lines.append(_without_numbers(row, label, said))
            said = row.reason
    return Table(
        rows=rows,
        title=safe(group),
        columns=[*(Column(name, label=True) for name in told.varying), *filled.columns],
        lines=lines,
        subtitles=_subtitles(rows, told),
        notes=_ceilings(measured),
        warnings=[*_loop_shares(measured), *_warnings(rows, told.by_row)],
    )


def _without_numbers(row: Row, label: tuple[str, ...], said: str | None) -> Line:
    """``said`` is the reason given just above."""
    reason = safe(row.reason or "no reason given")
    if row.reason == said and row.reason:
        reason = "as above"
    return Line(label, f"{row.status}: {reason}", _TONES[row.status])


_TONES = {"failed": Tone.BAD, "skipped": Tone.DIM}


# --- above the numbers -----------------------------------------------------------------------


def _subtitles(rows: Sequence[Row], told: labels.Labels) -> list[str]:
    """What all rows share: ``rewards.draw on rewards.pool, native twin, items=4``."""
    common = dict(told.common)
    words = [common.pop(labels.OPERATION, "")]
    if "backend" in common:
        words[0] += f" on {common.pop('backend')}".removeprefix("" if words[0] else " ")
    core = common.pop("core", None) or _only(row.core for row in rows)
    if core:
        words.append(f"{core} twin")
    words += [f"{name} {value}" for name, value in common.items()]
    line = ", ".join(word for word in words if word)
    return [line] if line else []


def _only(values: Iterable[str | None]) -> str | None:
    found = set(values)
    return safe(str(found.pop())) if len(found) == 1 and None not in found else None


# --- below the numbers -----------------------------------------------------------------------


def _ceilings(rows: Sequence[Row]) -> list[str]:
    """What "% of limit" is a share of, by the names of the limits."""
    found: dict[tuple[str, ...], None] = {}
    for row in rows:
        if "limit_share" in row.metrics and row.ceiling:
            names = {
                name.partition("[")[0]
                for name in row.limits
                if name.partition("[")[0] in row.ceiling
            }
            found[tuple(sorted(safe(name) for name in names))] = None
    told = [" and ".join(names) for names in found if names]
    return (
        [f"% of limit: the machine's own {'; or '.join(told)}, same sizes, same processes."]
        if told
        else []
    )


def _loop_shares(rows: Sequence[Row]) -> list[str]:
    shares = [row.metrics.get("overhead_share", 0.0) for row in rows]
    large = [share for share in shares if share > _LOOP_SHARE_TO_TELL]
    if not large:
        return []
    most = scale.percent(max(large))
    count = "1 row" if len(large) == 1 else f"{len(large)} rows"
    return [f"loop overhead, subtracted: up to {most} of the raw time ({count})"]


def _warnings(rows: Sequence[Row], names: Sequence[tuple[str, ...]]) -> list[str]:
    """Each distinct warning once, with the rows it is about by their labels."""
    found: dict[str, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        for warning in dict.fromkeys(row.warnings):
            found.setdefault(safe(warning), []).append(" ".join(part for part in name if part))
    return [f"{text} ({_some(labels, len(rows))})" for text, labels in found.items()]


def _some(names: Sequence[str], total: int) -> str:
    if len(names) == total and total > 1:
        return "all rows"
    more = f"; {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more
