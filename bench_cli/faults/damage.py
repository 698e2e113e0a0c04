"""Layer E: damage to what was safely on the disk. Nothing altered may come back as good, and a
loss of promised records must be reported.

A record that later ones witness (they were written when it was already durable, and say so) must
be reported as damage. One without such a witness cannot be told from a torn write: there it is
enough that the recovery calls the tail ambiguous.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from bench_cli.faults.crashes import Reading, Tally, record
from bench_cli.faults.history import History, Kept
from bench_cli.faults.images import SECTOR, Content
from bench_cli.faults.judge import unfaithful
from bench_cli.faults.policies import Step
from bench_cli.faults.recorder import Recorder
from bench_cli.interfaces import LogBackend, LogOptions, Recovery

Range = tuple[str, int, int]
"""(file name, first byte, byte after the last)."""
Case = tuple[str, Content, tuple[Range, ...]]
"""(what was done, the files then, the bytes that are not what they were)."""
FLIPS = 2000  # of two bits at once, drawn where not all are tried


@dataclass(slots=True)
class Victim:
    """A log at rest. ``places``: where each record stands; the clean-close mark, which witnesses
    everything, counts as one more record."""

    content: Content
    history: History
    places: dict[int, Range] = field(default_factory=dict)

    def witnessed(self, lost: int, damaged: tuple[Range, ...]) -> bool:
        """Is there an undamaged later record that knows record ``lost`` was durable?"""
        return any(
            self.history.watermarks[sequence] >= lost
            for sequence, place in self.places.items()
            if sequence > lost and not _meet(place, damaged)
        )


def _meet(place: Range, damaged: tuple[Range, ...]) -> bool:
    name, start, end = place
    return any(name == other and start < last and first < end for other, first, last in damaged)


def victim(
    backend: LogBackend, options: LogOptions, seed: int, records: int, *, closed: bool
) -> Victim:
    draw = random.Random(f"{seed} victim")
    planned: list[Step] = []
    for number in range(records):
        payload = b"%d:" % number + draw.randbytes(draw.choice((0, 5, 12, 20)))
        planned.append(Step("append", 1 + number % 9, (payload,)))
        if number % 3 == 2:
            planned.append(Step("sync"))
    planned.append(Step("close") if closed else Step("append", 1, (b"unsynced",)))
    disk, history = record(backend, options, planned)
    made = Victim(disk.contents(), history)
    _find_places(made, disk, closed)
    if options.format != "binary":  # a line begins with the end of the one before
        made.places = {at: (name, start - 1, end) for at, (name, start, end) in made.places.items()}
    return made


def _find_places(made: Victim, disk: Recorder, closed: bool) -> None:
    """From the operations between the beginning of an append and its end."""
    names = {number: name for folder in disk.folders.values() for name, number in folder.items()}
    needs = made.history.needs
    for (begin, need), (end, _) in pairwise(needs):
        if need.attempted > need.written:
            _place(made, disk, names, need.attempted, begin, end)
    if closed:
        last = made.history.now.attempted
        made.history.watermarks[last + 1] = last
        _place(made, disk, names, last + 1, needs[-2][0], needs[-1][0])


def _place(
    made: Victim, disk: Recorder, names: dict[int, str], at: int, begin: int, end: int
) -> None:
    for op in disk.ops[begin:end]:
        if op.kind in ("write", "store"):
            made.places[at] = (names[op.file], op.offset, op.offset + len(op.data))


# --- the damages -----------------------------------------------------------------------------


def single_bits(content: Content, step: int) -> Iterator[Case]:
    """Every ``step``-th bit up to the end of the last byte that is not zero."""
    for name, whole in content.items():
        for bit in range(0, len(whole.rstrip(b"\0")) * 8, step):
            yield f"bit {bit} of {name}", content | {name: _flipped(whole, bit)}, _bit(name, bit)


def two_bits(made: Victim, seed: int, most: int) -> Iterator[Case]:
    """Of the header of each record (its first 24 bytes), up to ``most`` pairs in all."""
    pairs = [
        (place[0], place[1] * 8 + a, place[1] * 8 + b)
        for place in made.places.values()
        for a, b in combinations(range(min(24, place[2] - place[1]) * 8), 2)
    ]
    if len(pairs) > most:
        pairs = random.Random(f"{seed} pairs").sample(pairs, most)
    for name, first, second in pairs:
        hurt = _flipped(_flipped(made.content[name], first), second)
        damaged = (*_bit(name, first), *_bit(name, second))
        yield f"bits {first} and {second} of {name}", made.content | {name: hurt}, damaged


def truncations(content: Content, step: int) -> Iterator[Case]:
    for name, whole in content.items():
        for length in range(0, len(whole.rstrip(b"\0")), step):
            damaged = ((name, length, len(whole)),)
            yield f"{name} cut to {length}", content | {name: whole[:length]}, damaged


def sectors(content: Content) -> Iterator[Case]:
    """Each two exchanged, each one zeroed, up to the last that is not all zero."""
    for name, whole in content.items():
        count = len(whole.rstrip(b"\0")) // SECTOR + 1
        for one in range(count):
            yield (
                f"sector {one} of {name} zeroed",
                content | {name: _replaced(whole, one, bytes(SECTOR))},
                _sector(name, one),
            )
        for one, other in combinations(range(count), 2):
            swapped = _replaced(whole, one, _get(whole, other))
            swapped = _replaced(swapped, other, _get(whole, one))
            damaged = (*_sector(name, one), *_sector(name, other))
            yield f"sectors {one} and {other} of {name}", content | {name: swapped}, damaged


def _bit(name: str, bit: int) -> tuple[Range]:
    return ((name, bit // 8, bit // 8 + 1),)


def _sector(name: str, index: int) -> tuple[Range]:
    return ((name, index * SECTOR, (index + 1) * SECTOR),)


def _get(whole: bytes, index: int) -> bytes:
    return whole[index * SECTOR : (index + 1) * SECTOR].ljust(SECTOR, b"\0")


def _replaced(whole: bytes, index: int, sector: bytes) -> bytes:
    at = index * SECTOR
    return (whole[:at].ljust(at, b"\0") + sector + whole[at + SECTOR :])[: len(whole)]


def _flipped(whole: bytes, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# --- the verdict -----------------------------------------------------------------------------


def silent(
    found: Recovery,
    records: list[Kept],
    made: Victim,
    content: Content,
    damaged: tuple[Range, ...],
) -> str | None:
    """What passed unnoticed; None when nothing did. Zeros where the last records of a full-length
    file stood are forgiven: that is what a log looks like that never got there."""
    wrong = unfaithful(found, records, made.history)
    if wrong:
        return wrong
    promised = made.history.now.promised
    first, last = (records[0][0], found.last_sequence) if records else (1, 0)
    if first > 1 and not found.damages:
        return f"records 1..{first - 1} are missing in silence"
    if found.damages or last >= promised:
        return None
    if made.witnessed(last + 1, damaged):
        return f"promised record {last + 1} is missing, a later one knows of it, nothing is said"
    name, start, _ = made.places[last + 1]
    erased = len(content[name]) == len(made.content[name]) and not any(content[name][start:])
    if not found.ambiguous_tail_bytes and not erased:
        return f"promised record {last + 1} is missing and the tail is called {found.tail}"
    return None


@dataclass(slots=True)
class Damages:
    """The counts of one log's damages."""

    flips: int = 0
    cuts: int = 0
    moved: int = 0
    pairs: int = 0


def check(
    backend: LogBackend,
    options: LogOptions,
    tally: Tally,
    seed: int,
    records: int = 24,
    pairs: int = FLIPS,
    step: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> Damages:
    """All damages to a log that was closed, and to one that was not; every ``step``-th bit
    and length. ``advance`` is told of each that was tried."""
    counts, reading = Damages(), Reading(backend, options)

    def attempt(cases: Iterable[Case], made: Victim, where: str) -> int:
        tried = 0
        for case in cases:
            if tally.enough:
                break
            _try(case, reading, made, tally, where)
            tried += 1
            advance(1)
        return tried

    for closed in (True, False):
        made = victim(backend, options, seed, records, closed=closed)
        where = f"seed={seed} records={records} {'closed' if closed else 'open'}"
        counts.flips += attempt(single_bits(made.content, step), made, where)
        counts.pairs += attempt(two_bits(made, seed, pairs), made, where)
        counts.cuts += attempt(truncations(made.content, step), made, where)
        counts.moved += attempt(sectors(made.content), made, where)
    return counts


def _try(case: Case, reading: Reading, made: Victim, tally: Tally, where: str) -> None:
    what, content, damaged = case
    try:
        found, records = reading.recover(content)
    except Exception as error:  # whatever a recovery raises here, it must not
        reason: str | None = f"recovery raised {type(error).__name__}: {error}"
    else:
        reason = silent(found, records, made, content, damaged)
    if reason:
        tally.fail("E", f"{what}: {reason}", where, content)
