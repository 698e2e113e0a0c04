"""Flush policies as people write them, and the level each of them keeps.

``never``, ``async``, ``record``, ``group``; ``1000 records``, ``1 MiB``, ``10ms``. A group may name
its bounds: ``group 64 200us`` waits at most 200 us, and no longer once 64 records are unsynced.
Spaces may be left out, or be colons where words need them apart (``group:64:200us``): so they are
printed, because they stand in the ids of rows.
"""

from __future__ import annotations

import re

from bench_cli.errors import UsageError
from bench_cli.interfaces import Durability, FlushPolicy
from bench_cli.units import (
    BINARY,
    SIZES,
    TIMES,
    UnitError,
    format_size,
    format_time,
    parse_count,
    parse_size,
    parse_time,
    shorten,
    split_quantity,
)

WORDS = ("never", "async", "record", "group")
RECORDS = ("records", "record")
HELP = "write never, async, record, group, group 64 200us, 1000 records, 1MiB or 10ms"

_NUMBER = r"[0-9][0-9,_.]*(?:[eE][+-]?[0-9]+)?"
FLUSH_PATTERN = (
    rf"^\s*(never|async|record|group([ :]+{_NUMBER})?([ :]+{_NUMBER}\s*({'|'.join(TIMES)}))?"
    rf"|{_NUMBER}[\s:]*({'|'.join([*RECORDS, *SIZES, *TIMES])}))\s*$"
)
"""For the published schema of scenario files: what may be a policy, bounds aside."""


class FlushError(UsageError):
    """Text that is not a flush policy."""

    slug = "flush"


def parse_flush(text: str) -> FlushPolicy:
    """Raises FlushError."""
    words = text.replace(":", " ").split()
    if not words:
        raise FlushError("a flush policy is missing", remedy=HELP)
    try:
        if words[0] == "group":
            return _group(words[1:], text)
        if words[0] in WORDS and len(words) == 1:
            return FlushPolicy(words[0])
        return _quantity(" ".join(words))
    except UnitError as error:
        raise FlushError(f"flush {shorten(text)}: {error.message}", remedy=HELP) from None


def _quantity(text: str) -> FlushPolicy:
    try:
        _, unit = split_quantity(text)
    except UnitError:
        raise FlushError(f"{shorten(text)} is not a flush policy", remedy=HELP) from None
    if unit in RECORDS:
        return _every("records", parse_count(text.removesuffix(unit)), text)
    if unit in TIMES:
        return _every("time", parse_time(text), text)
    if unit in SIZES:
        return _every("bytes", parse_size(text), text)
    raise FlushError(
        f"flush {shorten(text)} needs a unit: records, bytes ({', '.join(BINARY)}) or time (ms)",
        remedy=HELP,
    )


def _every(kind: str, number: int, text: str) -> FlushPolicy:
    if number < 1:
        raise FlushError(f"flush {shorten(text)}: must be at least 1", remedy=HELP)
    return FlushPolicy(kind, number)


def _group(bounds: list[str], text: str) -> FlushPolicy:
    """``group [MAX_BATCH] [MAX_WAIT]``."""
    if len(bounds) > 1 and bounds[-1] in TIMES:
        bounds[-2:] = ["".join(bounds[-2:])]
    batch = parse_count(bounds.pop(0)) if bounds and bounds[0].isdecimal() else 0
    wait = parse_time(bounds.pop(0)) if bounds else 0
    if bounds:
        raise FlushError(f"flush {shorten(text)}: more than a number and a time", remedy=HELP)
    return FlushPolicy("group", max_batch=batch, max_wait_ns=wait)


def format_flush(policy: FlushPolicy) -> str:
    """As ``parse_flush`` reads it, without spaces; every policy has one text."""
    match policy.kind:
        case "records":
            return f"{policy.number}records"
        case "bytes":
            return format_size(policy.number)
        case "time":
            return format_time(policy.number)
        case "group":
            batch = f":{policy.max_batch}" if policy.max_batch else ""
            wait = f":{format_time(policy.max_wait_ns)}" if policy.max_wait_ns else ""
            return f"group{batch}{wait}"
    return policy.kind


def check_policy(policy: FlushPolicy) -> None:
    """Raises ValueError for a policy that no text means."""
    try:
        whole = parse_flush(format_flush(policy)) == policy
    except FlushError:
        whole = False
    if not whole:
        raise ValueError(f"{policy} is no flush policy")


def flushed(log: Durability, flush: object) -> Durability:
    """What a log that survives a kill, and syncs honestly, keeps under a policy, as a row names
    it: in words, or None. A log that keeps nothing keeps nothing under any."""
    policy = FlushPolicy() if flush is None else parse_flush(str(flush))
    if log.level != "D1" or policy.kind in ("never", "async"):
        return log
    if policy.kind in ("record", "group"):
        return Durability("D3", None, log.integrity, log.damage)
    window = re.sub(r"(\d)([A-Za-z])", r"\1 \2", format_flush(policy))
    return Durability("D2", window, log.integrity, log.damage)
