"""Damage to a small log, everywhere: whatever happens to the bytes, a record that comes back is
the one that was written, and damage before a promise is reported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bench_cli.errors import LogCorrupt
from bench_cli.interfaces import LogBackend, LogOptions
from bench_cli.wal import format as fmt
from bench_cli.wal.codec import CODECS
from tests.contract.log_backends import (
    FORMATS,
    STORED,
    Records,
    crashed,
    label,
    load,
    read,
)

TWINS = [place for place in STORED if "Basic" in place]
OPTIONS = {name: LogOptions(name, 4096) for name in FORMATS}


@pytest.fixture(params=TWINS, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


@pytest.fixture(params=FORMATS)
def options(request: pytest.FixtureRequest) -> LogOptions:
    return OPTIONS[request.param]


def write_some(backend: LogBackend, home: Path, options: LogOptions, close: bool) -> Path:
    """Five records, the first three synced; closed, or as a crash leaves it without the zeros."""
    log = backend.open(home, options)
    log.append(b"one")
    log.append_many([b"two", b"three"])
    log.sync()
    log.append(b"four", 99)
    log.append_remove("five")
    end = log.stats().file_size
    if close:
        log.close()
        return home / "00000001.wal"
    killed = crashed(home)
    log.close()
    segment = killed / "00000001.wal"
    segment.write_bytes(segment.read_bytes()[:end])
    return segment


WRITTEN: Records = [(1, 1, b"one"), (2, 1, b"two"), (3, 1, b"three"), (4, 99, b"four")]
WRITTEN += [(5, 3, b"five")]


def test_every_truncation_leaves_a_prefix_of_what_was_written(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segment = write_some(backend, home, options, close=False)
    whole = segment.read_bytes()
    for length in range(len(whole)):
        segment.write_bytes(whole[:length])
        found, records = read(backend, segment.parent, options)
        assert records == WRITTEN[: len(records)]
        assert found.damages == ()
        assert found.records < 5
        if length > fmt.DATA_START and found.tail == "torn":
            assert found.dropped_bytes == found.ambiguous_tail_bytes > 0


@pytest.mark.parametrize("close", [True, False], ids=["closed", "crashed"])
def test_no_flipped_bit_is_returned_as_good(
    backend: LogBackend, options: LogOptions, home: Path, close: bool
) -> None:
    segment = write_some(backend, home, options, close)
    whole = segment.read_bytes()
    unnoticed = 0
    for bit in range(len(whole) * 8):
        if 64 < bit // 8 < fmt.DATA_START and bit % 64:  # the header's padding: one bit in 64
            continue
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(damaged)
        found, records = read(backend, segment.parent, options)
        assert records == WRITTEN[: len(records)]
        if found.tail == "clean":
            assert records == WRITTEN  # the bit was padding
            unnoticed += 1
        elif bit // 8 >= fmt.DATA_START and close and found.tail == "torn":
            assert records == WRITTEN  # only the clean-close mark itself was hit
    assert unnoticed < len(whole) * 8 // 10


def test_damage_before_a_promise_is_reported_with_its_place(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segment = write_some(backend, home, options, close=False)
    whole = bytearray(segment.read_bytes())
    at = whole.index(b"two")
    whole[at] ^= 1
    segment.write_bytes(whole)
    found, records = read(backend, segment.parent, options)
    (damage,) = found.damages
    assert (found.tail, records) == ("corrupt", WRITTEN[:1])
    assert (damage.path, damage.lost_first, damage.lost_last) == (str(segment), 2, 3)
    assert damage.offset < at < damage.offset + damage.length
    assert found.discarded_records == 2
    with pytest.raises(LogCorrupt) as refused:
        backend.open(segment.parent, options)
    assert (refused.value.path, refused.value.offset) == (str(segment), damage.offset)
    assert segment.read_bytes() == whole


def test_a_lost_record_that_was_never_promised_discards_the_later_ones(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segment = write_some(backend, home, options, close=False)
    whole = bytearray(segment.read_bytes())
    at = whole.index(b"four")
    whole[at] ^= 1
    segment.write_bytes(whole)
    found, records = read(backend, segment.parent, options)
    assert (found.tail, found.damages, records) == ("torn", (), WRITTEN[:3])
    assert found.discarded_records == 1
    log = backend.open(segment.parent, options)
    assert log.append(b"new") == 4
    log.close()
    found, records = read(backend, segment.parent, options)
    assert records == [*WRITTEN[:3], (4, 1, b"new")]
    assert (found.tail, found.discarded_records) == ("clean", 0)


def test_damage_to_the_last_record_is_called_ambiguous(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segment = write_some(backend, home, options, close=False)
    whole = bytearray(segment.read_bytes())
    whole[whole.index(b"five")] ^= 1
    segment.write_bytes(whole)
    found, records = read(backend, segment.parent, options)
    assert (found.tail, records) == ("torn", WRITTEN[:4])
    assert found.ambiguous_tail_bytes == found.dropped_bytes > 0


def test_damage_anywhere_in_a_closed_log_is_reported(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segment = write_some(backend, home, options, close=True)
    whole = bytearray(segment.read_bytes())
    whole[whole.index(b"five")] ^= 1
    segment.write_bytes(whole)
    assert read(backend, home, options)[0].tail == "corrupt"


# --- several segments ------------------------------------------------------------------------


def write_many(
    backend: LogBackend, home: Path, options: LogOptions, synced: bool = True
) -> list[Path]:
    """300 records; with ``synced``, all but the last few are promised."""
    log = backend.open(home, options)
    for index in range(300):
        log.append(b"record %d" % index)
        if synced and index % 10 == 0:
            log.sync()
    killed = crashed(home)
    log.close()
    segments = sorted(killed.iterdir())
    assert len(segments) > 2
    return segments


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_segment_is_damage(
    backend: LogBackend, options: LogOptions, home: Path, which: int
) -> None:
    segments = write_many(backend, home, options)
    segments[which].unlink()
    found, _ = read(backend, segments[0].parent, options)
    assert found.tail == "corrupt"
    reason = "missing"
    assert reason in found.damages[0].reason
    if which == 1:
        assert found.damages[0].path == str(segments[1])
        assert 0 < found.damages[0].lost_first == found.records + 1 <= found.damages[0].lost_last


def test_a_segment_that_ends_early_is_damage(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segments = write_many(backend, home, options)
    segments[0].write_bytes(segments[0].read_bytes()[:2000])
    found, records = read(backend, segments[0].parent, options)
    assert found.tail == "corrupt"
    assert found.damages[0].path == str(segments[0])
    assert found.damages[0].lost_first == len(records) + 1


def test_a_segment_that_was_never_promised_may_end_early(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    """A rotation syncs nothing: after a crash, later pages may be there and earlier ones not."""
    segments = write_many(backend, home, options, synced=False)
    segments[0].write_bytes(segments[0].read_bytes()[:2000])
    found, records = read(backend, segments[0].parent, options)
    assert (found.tail, found.damages) == ("torn", ())
    assert found.discarded_records > 100
    log = backend.open(segments[0].parent, options)
    assert [path.name for path in segments[0].parent.iterdir()] == ["00000001.wal"]
    assert log.append(b"goes on") == len(records) + 1
    for index in range(200):
        log.append(b"more %d" % index)
    log.close()
    again, more = read(backend, segments[0].parent, options)
    assert more[: len(records) + 1] == [*records, (len(records) + 1, 1, b"goes on")]
    assert (again.tail, again.records) == ("clean", len(records) + 201)


def test_a_link_that_was_never_promised_may_be_missing(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segments = write_many(backend, home, options, synced=False)
    whole = bytearray(segments[1].read_bytes())
    whole[fmt.DATA_START : fmt.DATA_START + 20] = bytes(20)
    segments[1].write_bytes(whole)
    found, records = read(backend, segments[0].parent, options)
    assert (found.tail, found.damages) == ("torn", ())
    assert found.discarded_records > 20
    log = backend.open(segments[0].parent, options)
    assert log.append(b"goes on") == len(records) + 1
    log.close()
    assert read(backend, segments[0].parent, options)[0].tail == "clean"


def test_a_link_that_was_promised_and_is_missing_is_damage(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segments = write_many(backend, home, options)
    whole = bytearray(segments[1].read_bytes())
    whole[fmt.DATA_START : fmt.DATA_START + 20] = bytes(20)
    segments[1].write_bytes(whole)
    found, _ = read(backend, segments[0].parent, options)
    assert found.tail == "corrupt"
    assert found.damages[0].path == str(segments[1])


def test_a_next_segment_that_was_never_used_is_ignored(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segments = write_many(backend, home, options)
    found, records = read(backend, segments[0].parent, options)
    unused = segments[-1].with_name(fmt.segment_name(len(segments) + 1))
    header = fmt.SegmentHeader(len(segments) + 1, 7, 0, 4096)
    slot, _ = CODECS[options.format].header(header)
    for content in (slot + bytes(3000), slot[:300], bytes(4096)):
        unused.write_bytes(content)
        again, same = read(backend, unused.parent, options)
        assert (again.tail == "clean") is (again.dropped_bytes == 0)
        assert (again.damages, again.records, same) == ((), found.records, records)
    log = backend.open(unused.parent, options)
    assert not unused.exists()
    assert log.append(b"goes on") == len(records) + 1
    log.close()


def test_a_segment_of_another_history_is_damage(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segments = write_many(backend, home, options)
    other = write_many(backend, home.with_name("other"), options)
    shutil.copy(other[1], segments[1])
    found, _ = read(backend, segments[0].parent, options)
    assert found.tail == "corrupt"
    assert "continue" in found.damages[0].reason


def test_a_damaged_segment_header_is_damage(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    segments = write_many(backend, home, options)
    for segment in segments:
        whole = segment.read_bytes()
        segment.write_bytes(b"?" + whole[1:])
        found, _ = read(backend, segment.parent, options)
        assert found.tail == "corrupt"
        assert found.damages[0].path == str(segment)
        segment.write_bytes(whole)


# --- hostile files ---------------------------------------------------------------------------


def hostile(size: int) -> dict[str, bytes]:
    return {
        "zeros": bytes(size),
        "ones": b"\xff" * size,
        "newlines": b"\n" * size,
        "digits": b"00000000 " * (size // 9),
        "islands": b"x\0" * (size // 2),
        "sequences": (1).to_bytes(8, "little") * (size // 8),
    }


@pytest.mark.parametrize("name", hostile(8))
def test_hostile_bytes_behind_a_header_end_soon_and_yield_nothing(
    backend: LogBackend, home: Path, name: str, options: LogOptions
) -> None:
    size = 256 << 10
    big = LogOptions(options.format, 2 << 20)
    backend.open(home, big).close()
    segment = home / "00000001.wal"
    head = segment.read_bytes()[: fmt.DATA_START]
    segment.write_bytes(head + hostile(size)[name])
    found, records = read(backend, home, big)
    assert (records, found.damages) == ([], ())
    assert found.tail == ("clean" if name == "zeros" else "torn")


def test_a_sparse_terabyte_ends_soon(backend: LogBackend, options: LogOptions, home: Path) -> None:
    segment = write_some(backend, home, options, close=False)
    with segment.open("r+b") as file:
        file.truncate(1 << 40)
    assert read(backend, segment.parent, options)[1] == WRITTEN


def test_links_fifos_and_folders_under_a_segment_name_are_damage(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    home.mkdir()
    segment = home / "00000001.wal"
    for make in (
        lambda: segment.symlink_to("/etc/passwd"),
        lambda: os.mkfifo(segment),
        lambda: segment.mkdir(),
    ):
        make()
        found, records = read(backend, home, options)
        assert (found.tail, records) == ("corrupt", [])
        segment.rmdir() if segment.is_dir() else segment.unlink()
