"""The verdict on one recovery: the invariants, and what breaks them."""

from __future__ import annotations

from collections.abc import Sequence

from bench_cli.faults.history import History, Kept, Need
from bench_cli.interfaces import Recovery


def violation(
    found: Recovery, records: Sequence[Kept], history: History, need: Need, *, killed: bool
) -> str | None:
    """What is wrong with this recovery after a crash without damage; None when nothing is."""
    if found.damages:
        damage = found.damages[0]
        return f"a crash was taken for damage: {damage.path} at {damage.offset}: {damage.reason}"
    if found.tail not in ("clean", "torn"):
        return f"the tail is {found.tail!r} and no damage is named"
    first = records[0][0] if records else 0
    return unfaithful(found, records, history) or out_of_bounds(
        first, found.last_sequence, history, need, killed=killed
    )


def unfaithful(found: Recovery, records: Sequence[Kept], history: History) -> str | None:
    """Records that are not those that were appended, one after the other."""
    if found.records != len(records):
        return f"{found.records} records reported, {len(records)} delivered"
    if not records:
        return None
    first = records[0][0]
    if found.first_sequence != first or found.last_sequence != records[-1][0]:
        return f"records {found.first_sequence}..{found.last_sequence} reported, not delivered"
    at = first - history.kept[0][0] if history.kept else -1
    if at >= 0 and records == history.kept[at : at + len(records)]:
        return None
    for record in records:
        if record not in history.kept:
            return f"record {record[0]} is not one that was appended"
    return "records out of order, twice, or with a hole between them"


def out_of_bounds(
    first: int, last: int, history: History, need: Need, *, killed: bool
) -> str | None:
    """Too few records, or too many. ``killed``: the system lived on, so all that was written must
    be there. ``first`` 0: there were none."""
    least, word = (need.written, "written") if killed else (need.promised, "promised")
    if not first:
        kept = any(least <= base for base in need.bases)
        return None if kept else f"nothing was recovered; {least} was {word}"
    if first - 1 not in need.bases:
        return f"the log begins with record {first}, not after {need.bases[0]}"
    if last < least:
        return f"ends at record {last}; {least} was {word}"
    if last > need.attempted:
        return f"record {last} was recovered before it was appended"
    return None if last in history.ends else f"record {last} is a part of a batch"
