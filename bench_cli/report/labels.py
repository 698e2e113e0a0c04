"""What tells the rows of a table apart: the axes in their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_cli.report.text import safe
from bench_cli.results import Row

OPERATION = "operation"
LIMIT_PREFIX = "limits."


def axes(row: Row) -> dict[str, str]:
    """The ``key=value`` pairs of the row's id, values as written there (``record`` is ``32KiB``).
    The workload is the pair ``operation``."""
    workload, _, rest = row.id.partition("[")
    found = {OPERATION: safe(workload)}
    for pair in rest.removesuffix("]").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            found[safe(name)] = safe(value)
    return found


@dataclass(frozen=True, slots=True)
class Labels:
    """``varying`` names the axes that become columns; ``common`` holds what all rows share."""

    varying: tuple[str, ...]
    common: dict[str, str]
    by_row: tuple[tuple[str, ...], ...]


def label(rows: Sequence[Row]) -> Labels:
    """The operation comes first, then the backend, then the other axes in the ids' order."""
    all_axes = [axes(row) for row in rows]
    names = list(dict.fromkeys(name for found in all_axes for name in found))
    names.sort(key=lambda name: (name != OPERATION, name not in ("backend", "wal")))
    varying = tuple(n for n in names if len({found.get(n, "") for found in all_axes}) > 1)
    common = {name: all_axes[0][name] for name in names if name not in varying}
    if not varying:
        varying = tuple(name for name in names if name != OPERATION)[:1] or (OPERATION,)
    by_row = tuple(tuple(found.get(name, "") for name in varying) for found in all_axes)
    return Labels(varying, common, by_row)


def is_limit(row: Row) -> bool:
    return row.workload.startswith(LIMIT_PREFIX)


def has_log(row: Row) -> bool:
    """Whether the row's work is logged at all: ``wal.none`` and ``wal: none`` keep nothing."""
    logs = [row.backend, axes(row).get("wal"), row.params.get("wal")]
    named = [str(log) for log in logs if log is not None and str(log).startswith(("wal", "none"))]
    return any(log not in ("none", "wal.none") for log in named)
