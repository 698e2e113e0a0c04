"""Legal disks after a power loss, from what was asked of a real one.

A disk is asked to write sectors and to flush. When a flush has been answered, every write that was
answered before it was asked for is on the disk; each sector written since holds any content it was
given since, or the one before, whatever its neighbours hold. The writes between two flushes are an
*epoch*. Each set of them may be found at its very end, so that is where all its disks are looked
at: what was acknowledged by then must be on every one.

The notes of a disk are a file of events, each ``kind u8, two numbers u64`` and, of a write (offset,
length), its bytes:
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SECTOR, BLOCK = 512, 4096
WROTE, FLUSHED, ACKNOWLEDGED = 1, 2, 3
_HEAD = struct.Struct("<BQQ")
_WHOLE = range(4096)
"""ext4's own superblock, 1 KiB under one checksum that nothing repairs: never torn."""
_UNITS = (0, BLOCK, SECTOR)  # what is there or not as a whole; 0: each write
_PROMISING = 4  # writes that a new acknowledgement weighs as much as
_SHARES = (0.0, 0.5, 1.0, 0.15, 0.85)  # of the writes since the last flush

Sectors = dict[int, bytes]  # by number; those that a disk was given
Span = tuple[int, bytes]  # offset, bytes


@dataclass(frozen=True, slots=True)
class Event:
    """``numbers``: offset and length of a write; the last records acknowledged as written and as
    synced."""

    kind: int
    numbers: tuple[int, int] = (0, 0)
    data: bytes = b""

    def pack(self) -> bytes:
        return _HEAD.pack(self.kind, *self.numbers) + self.data


def events_of(notes: bytes) -> Iterator[Event]:
    """Raises ValueError for notes that were cut."""
    at = 0
    while at < len(notes):
        if at + _HEAD.size > len(notes):
            raise ValueError("the notes of the disk end within an event")
        kind, first, second = _HEAD.unpack_from(notes, at)
        at += _HEAD.size
        length = second if kind == WROTE else 0
        if at + length > len(notes):
            raise ValueError("the notes of the disk end within a write")
        yield Event(kind, (first, second), notes[at : at + length])
        at += length


@dataclass(slots=True)
class Epoch:
    """``synced``: the last record that was acknowledged as such by its end."""

    writes: list[Span] = field(default_factory=list)
    synced: int = 0


def epochs_of(events: Iterable[Event]) -> list[Epoch]:
    """The last one is not ended by a flush. Of several threads an earlier acknowledgement may be
    told later."""
    epochs = [Epoch()]
    for event in events:
        if event.kind == WROTE:
            epochs[-1].writes.append((event.numbers[0], event.data))
        elif event.kind == ACKNOWLEDGED:
            epochs[-1].synced = max(epochs[-1].synced, event.numbers[1])
        else:
            epochs.append(Epoch(synced=epochs[-1].synced))
    return epochs


def pieces(writes: Iterable[Span], unit: int) -> list[Span]:
    """The writes, cut where a multiple of ``unit`` lies."""
    found: list[Span] = []
    for offset, data in writes:
        step = len(data) if not unit or offset in _WHOLE else unit
        at = offset
        while at < offset + len(data):
            end = min(at - at % unit + unit if step == unit else at + step, offset + len(data))
            found.append((at, data[at - offset : end - offset]))
            at = end
    return found


def put(sectors: Sectors, writes: Iterable[Span]) -> None:
    for offset, data in writes:
        for at in range(0, len(data), SECTOR):
            sectors[(offset + at) // SECTOR] = data[at : at + SECTOR]


def content(start: bytes, sectors: Sectors) -> bytearray:
    made = bytearray(start)
    for number, data in sectors.items():
        made[number * SECTOR : number * SECTOR + len(data)] = data
    return made


@dataclass(frozen=True, slots=True)
class Image:
    """What may be found after ``epoch``; ``synced`` must be on it."""

    sectors: Sectors
    synced: int
    where: str


def images(epochs: list[Epoch], count: int, draw: random.Random) -> Iterator[Image]:
    """``count`` drawn, in the order of their epochs; those with more writes come more often, and
    those with an acknowledgement. Equal ones may be among them."""
    weights = [
        1 + len(epoch.writes) + (_PROMISING if epoch.synced > before.synced else 0)
        for before, epoch in zip([Epoch(), *epochs], epochs, strict=False)
    ]
    chosen = sorted(draw.choices(range(len(epochs)), weights, k=count))
    durable: Sectors = {}
    done = 0
    for index, number in enumerate(chosen):
        for epoch in epochs[done:number]:
            put(durable, epoch.writes)
        done = number
        share, unit = _SHARES[index % len(_SHARES)], draw.choice(_UNITS)
        cut = pieces(epochs[number].writes, unit)
        kept = [piece for piece in cut if draw.random() < share]
        found = dict(durable)
        put(found, kept)
        where = (
            f"flush {number}, {len(kept)} of {len(cut)} pieces of {unit or 'each write'} after it"
        )
        yield Image(found, epochs[number].synced, where)
