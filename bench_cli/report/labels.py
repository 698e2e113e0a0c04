"""What tells the rows of a table apart: the axes in their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_cli.report.text import safe
from bench_cli.results import Row
from bench_cli.units import format_size, format_time

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


_FIRST = (OPERATION, "wal", "backend")


def label(rows: Sequence[Row]) -> Labels:
    """The operation comes first, then the log and the backend, then the other axes in the ids'
    order."""
    found = _merged(_completed(rows))
    names = list(dict.fromkeys(name for one in found for name in one))
    names.sort(key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    varying = tuple(n for n in names if len({one.get(n, "") for one in found}) > 1)
    if not varying:
        varying = tuple(name for name in names if name != OPERATION)[:1] or (OPERATION,)
    common = {name: found[0][name] for name in names if name not in varying}
    by_row = tuple(tuple(one.get(name, "") for name in varying) for one in found)
    return Labels(varying, common, by_row)


def _completed(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Axes of all rows. Ids leave out what is at its default: where another row of the same
    operation shows that axis, the value comes from the row's parameters."""
    found = [axes(row) for row in rows]
    shown: dict[tuple[str, str], str] = {}
    for one in found:
        for name, text in one.items():
            shown.setdefault((one[OPERATION], name), text)
    for row, one in zip(rows, found, strict=True):
        for (operation, name), example in shown.items():
            if operation == one[OPERATION] and name not in one and name in row.params:
                one[name] = _like(example, row.params[name])
    return found


def _like(example: str, value: object) -> str:
    """``value`` (base units) written the way ``example`` is: 512 like ``32KiB`` is ``512B``."""
    if isinstance(value, int) and not isinstance(value, bool):
        if example.endswith("B"):
            return format_size(value)
        if example.endswith("s"):
            return format_time(value)
    return safe(str(value))


def _merged(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Where operations differ, an axis that only some rows have joins the operation's name: a
    column for it would be mostly empty."""
    if len({one[OPERATION] for one in found}) == 1:
        return found
    everywhere = set.intersection(*(set(one) for one in found)) | set(_FIRST)
    merged = []
    for one in found:
        own = [f"{name}={text}" for name, text in one.items() if name not in everywhere]
        kept = {name: text for name, text in one.items() if name in everywhere}
        merged.append({**kept, OPERATION: " ".join([one[OPERATION], *own])})
    return merged


def is_limit(row: Row) -> bool:
    return row.workload.startswith(LIMIT_PREFIX)


def has_log(row: Row) -> bool:
    """Whether the row's work is logged at all: ``wal.none`` and ``wal: none`` keep nothing."""
    logs = [row.backend, axes(row).get("wal"), row.params.get("wal")]
    named = [str(log) for log in logs if log is not None and str(log).startswith(("wal", "none"))]
    return any(log not in ("none", "wal.none") for log in named)
