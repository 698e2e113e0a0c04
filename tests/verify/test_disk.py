"""Which disks a loss of power may leave; nothing is mounted."""

from __future__ import annotations

import random

import pytest

from bench_cli.faults.disk import (
    ACKNOWLEDGED,
    BLOCK,
    FLUSHED,
    SECTOR,
    WROTE,
    Event,
    Image,
    Sectors,
    content,
    epochs_of,
    events_of,
    images,
    pieces,
    put,
)

AT = 64 << 10  # behind ext4's superblock


def wrote(offset: int, data: bytes) -> Event:
    return Event(WROTE, (offset, len(data)), data)


def synced(record: int) -> Event:
    return Event(ACKNOWLEDGED, (record, record))


FLUSH = Event(FLUSHED)
OLD, NEW = b"o" * BLOCK, b"n" * BLOCK
EVENTS = [wrote(AT, OLD), FLUSH, synced(1), wrote(AT, NEW), wrote(AT + BLOCK, NEW), synced(2)]


def drawn(events: list[Event], count: int, seed: int = 1) -> list[Image]:
    return list(images(epochs_of(events), count, random.Random(seed)))


def test_notes_are_read_as_they_were_made() -> None:
    assert list(events_of(b"".join(event.pack() for event in EVENTS))) == EVENTS


@pytest.mark.parametrize("cut", [1, 17, 100])
def test_notes_that_were_cut_are_refused(cut: int) -> None:
    notes = wrote(0, bytes(512)).pack()
    with pytest.raises(ValueError, match="end within"):
        list(events_of(notes[:-cut] if cut < 100 else notes[:5]))


def test_an_acknowledgement_holds_until_the_next_one() -> None:
    first, second, third = epochs_of([*EVENTS, FLUSH])
    assert (first.synced, second.synced, third.synced) == (0, 2, 2)
    assert [len(epoch.writes) for epoch in (first, second, third)] == [1, 2, 0]


def test_an_earlier_acknowledgement_that_is_told_later_takes_nothing_back() -> None:
    assert [epoch.synced for epoch in epochs_of([synced(5), synced(4), FLUSH])] == [5, 5]


def test_a_write_is_cut_where_sectors_end() -> None:
    cut = pieces([(AT + SECTOR, bytes(range(4)) * 256)], SECTOR)
    assert [(at, len(data)) for at, data in cut] == [(AT + 512, 512), (AT + 1024, 512)]
    assert b"".join(data for _, data in cut) == bytes(range(4)) * 256


def test_a_write_is_cut_where_blocks_end_wherever_it_begins() -> None:
    cut = pieces([(AT + 3 * SECTOR, bytes(2 * BLOCK))], BLOCK)
    assert [(at - AT, len(data)) for at, data in cut] == [(1536, 2560), (4096, 4096), (8192, 1536)]


def test_a_write_may_be_kept_whole() -> None:
    assert pieces([(AT, OLD)], 0) == [(AT, OLD)]


@pytest.mark.parametrize("offset", [0, 1024])
def test_the_superblock_is_never_torn(offset: int) -> None:
    assert pieces([(offset, bytes(1024))], SECTOR) == [(offset, bytes(1024))]


def test_a_flushed_write_is_on_every_later_disk() -> None:
    found = [image for image in drawn(EVENTS, 100) if image.synced]
    assert len(found) > 20
    for image in found:
        assert {image.sectors[AT // SECTOR + at] for at in range(8)} <= {b"o" * 512, b"n" * 512}


def test_what_was_not_flushed_is_there_or_not_sector_by_sector() -> None:
    found = [image.sectors for image in drawn(EVENTS, 400)]
    halves = [sectors for sectors in found if AT // SECTOR in sectors]
    torn = [
        s
        for s in halves
        if len({s[AT // SECTOR + at] for at in range(8) if AT // SECTOR + at in s}) == 2
    ]
    assert torn
    assert any((AT + BLOCK) // SECTOR not in sectors for sectors in found)
    assert {} in found


def test_of_two_writes_to_a_sector_the_later_one_counts() -> None:
    sectors: Sectors = {}
    put(sectors, [(AT, OLD), (AT, NEW)])
    assert set(sectors.values()) == {b"n" * SECTOR}


def test_a_disk_is_what_there_was_and_what_came_to_it() -> None:
    sectors: Sectors = {}
    put(sectors, [(SECTOR, b"x" * SECTOR)])
    assert content(bytes(3 * SECTOR), sectors) == bytes(SECTOR) + b"x" * SECTOR + bytes(SECTOR)


def test_every_disk_must_hold_what_was_acknowledged_by_the_next_flush() -> None:
    assert {image.synced for image in drawn(EVENTS, 100)} == {0, 2}


def test_the_same_seed_draws_the_same_disks() -> None:
    assert drawn(EVENTS, 50) == drawn(EVENTS, 50)
    assert drawn(EVENTS, 50) != drawn(EVENTS, 50, seed=2)
