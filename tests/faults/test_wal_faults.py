"""The faults once found in write-ahead logs, each by its number, over both twins."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
from pathlib import Path

import pytest

from bench_cli.errors import LogLocked, LogPoisoned, LogWriteFailed, RecordTooLarge
from bench_cli.interfaces import Capability, LogBackend, WriteAheadLog
from bench_cli.payloads import decode_write
from bench_cli.wal import format as fmt
from tests.contract.log_backends import (
    FORMATS,
    SEGMENT,
    STORED,
    crashed,
    fill,
    label,
    load,
    need,
    read,
    small,
)
from tests.faults.faulty_files import FaultyFiles, Stopped, every_stop


@pytest.fixture(params=STORED, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    found = load(request.param)
    need(found, Capability.FAULTS)
    return found


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


def poisoned(log: WriteAheadLog) -> bool:
    """Every append and sync is refused, and close does not mind."""
    for use in (
        lambda: log.append(b"x"),
        lambda: log.append_many([b"x"]),
        lambda: log.append_remove("x"),
        log.sync,
        log.reset,
    ):
        with pytest.raises(LogPoisoned):
            use()
    log.close()
    return True


# --- 17 --------------------------------------------------------------------------------------


def test_fault_17_sync_reaches_the_device(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small(file_system=files))
    files.notes.clear()
    for _ in range(3):
        log.append(b"payload")
        ((operation, start, end),) = files.notes
        assert operation in ("pwrite", "stored")
        log.sync()
        name, synced_from, synced_to = files.notes[-1]
        assert name == "sync"
        assert synced_from <= start < end <= synced_to
        files.notes.clear()
    log.close()


def test_fault_17_the_watermark_moves_only_when_a_sync_succeeds(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small(file_system=files))
    fill(log, 3)
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteFailed) as failed:
        log.sync()
    assert failed.value.errno == errno.EIO
    assert (log.stats().durable_sequence, log.stats().syncs) == (0, 0)
    before = files.count("sync")
    assert poisoned(log)
    assert files.count("sync") == before  # a second fdatasync would report success


def test_fault_17_a_sync_covers_the_segments_before(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small(file_system=files))
    while log.stats().rotations < 3:
        log.append(b"payload")
    files.notes.clear()
    log.sync()
    assert files.count("sync") == 4  # three full segments, then the current one
    log.sync()
    assert files.count("sync") == 5
    log.close()


@pytest.mark.parametrize("which", range(4))
def test_fault_17_a_failed_sync_of_a_full_segment_promises_nothing(
    backend: LogBackend, home: Path, files: FaultyFiles, which: int
) -> None:
    log = backend.open(home, small(file_system=files))
    while log.stats().rotations < 3:
        log.append(b"payload")
    files.fail("sync", errno.EIO, skip=which)
    with pytest.raises(LogWriteFailed):
        log.sync()
    assert log.stats().durable_sequence == 0
    assert poisoned(log)


def test_fault_17_opening_syncs_every_segment_a_killed_process_left(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small())
    while log.stats().rotations < 3:
        log.append(b"payload")
    killed = crashed(home)
    log.close()
    log = backend.open(killed, small(file_system=files))
    assert files.count("sync") == 4
    log.close()


def test_fault_17_close_reports_a_failed_sync_and_releases_everything(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small(file_system=files))
    fill(log, 3)
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteFailed):
        log.close()
    log.close()
    found, _ = read(backend, home, small())
    assert found.records == 3
    backend.open(home, small()).close()


# --- 18 --------------------------------------------------------------------------------------


def test_fault_18_a_full_disk_is_an_error_when_a_log_is_created(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    files.fail("preallocate", errno.ENOSPC)
    with pytest.raises(OSError) as failed:
        backend.open(home, small(file_system=files))
    assert failed.value.errno == errno.ENOSPC
    assert list(home.iterdir()) == []
    log = backend.open(home, small(file_system=files))  # the lock was released
    assert log.append(b"x") == 1
    log.close()


def test_fault_18_a_full_disk_is_an_error_when_a_log_grows(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small(file_system=files))
    files.fail("preallocate", errno.ENOSPC)
    with pytest.raises(LogWriteFailed) as failed:
        fill(log, 1000)
    assert failed.value.errno == errno.ENOSPC
    last = log.stats().last_sequence
    assert poisoned(log)
    log = backend.open(home, small(file_system=files))
    assert log.stats().durable_sequence == last
    assert log.append(b"goes on") == last + 1
    log.close()


def test_fault_18_a_segment_has_real_blocks_before_it_is_used(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    log = backend.open(home, small(file_system=files))
    operations = [name for name, _, _ in files.notes]
    assert "preallocate" in operations
    if "map" in operations:
        assert operations.index("preallocate") < operations.index("map")
    assert log.stats().allocated >= SEGMENT
    log.close()


# --- 19, 20, 21 ------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_fault_19_a_zeroed_page_holds_no_records(
    backend: LogBackend, home: Path, format: str
) -> None:
    log = backend.open(home, small(format))
    payloads = fill(log, 150)
    log.sync()
    log.append(b"the promise")
    killed = crashed(home)
    log.close()
    segment = killed / "00000001.wal"
    whole = bytearray(segment.read_bytes())
    whole[4096:8192] = bytes(4096)
    segment.write_bytes(whole)
    found, records = read(backend, killed, small(format))
    assert [payload for _, _, payload in records] == payloads[: len(records)]
    assert 0 < len(records) < 150
    assert found.tail == "corrupt"
    (damage,) = found.damages
    assert damage.lost_first == len(records) + 1
    assert damage.offset <= 4096 < 8192 <= damage.offset + damage.length


@pytest.mark.parametrize("format", FORMATS)
def test_fault_20_a_flipped_data_byte_is_never_returned_as_good(
    backend: LogBackend, home: Path, format: str
) -> None:
    log = backend.open(home, small(format))
    payloads = fill(log, 100)
    log.close()
    segment = home / "00000001.wal"
    whole = segment.read_bytes()
    for number in (0, 1, 50, 99):
        at = whole.index(payloads[number])
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found, records = read(backend, home, small(format))
        assert [payload for _, _, payload in records] == payloads[:number]
        assert (found.tail, found.damages[0].lost_first) == ("corrupt", number + 1)


@pytest.mark.parametrize("format", FORMATS)
def test_fault_21_an_unknown_record_kind_does_not_lose_the_log(
    backend: LogBackend, home: Path, format: str
) -> None:
    log = backend.open(home, small(format))
    kinds = [1, 200, 2, 254, 8, 1]
    for kind in kinds:
        log.append(b"payload", kind)
    log.append_many([b"a", b"b"], 77)
    log.close()
    found, records = read(backend, home, small(format))
    assert [kind for _, kind, _ in records] == [*kinds, 77, 77]
    assert found.tail == "clean"
    log = backend.open(home, small(format))
    assert log.append(b"next") == 9
    log.close()


# --- 22 --------------------------------------------------------------------------------------

SECOND = """
import sys
from pathlib import Path
from bench_cli.errors import LogLocked
from bench_cli.interfaces import LogOptions
from bench_cli.wal.log import BasicBackend
try:
    BasicBackend().open(Path(sys.argv[1]), LogOptions())
except LogLocked:
    print("locked")
"""


def test_fault_22_a_second_open_of_a_live_log_is_refused(backend: LogBackend, home: Path) -> None:
    log = backend.open(home, small())
    log.append(b"mine")
    with pytest.raises(LogLocked):
        backend.open(home, small())
    other = subprocess.run(
        [sys.executable, "-c", SECOND, str(home)], capture_output=True, text=True, check=True
    )
    assert other.stdout == "locked\n"
    log.append(b"still mine")
    log.close()
    assert read(backend, home, small())[0].records == 2


# --- 23 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("operation", ["preallocate", "pwrite", "sync", "sync_directory", "map"])
def test_fault_23_a_failed_grow_leaves_a_poisoned_log_and_no_dangling_map(
    backend: LogBackend, home: Path, files: FaultyFiles, operation: str, format: str
) -> None:
    if operation == "map" and backend.name != "wal.mmap":
        pytest.skip("nothing is mapped")
    options = small(format, file_system=files)
    log = backend.open(home, options)
    payloads: list[bytes] = []
    while True:  # append until the next record needs a new segment
        payload = b"%d" % len(payloads) * 30
        if log.stats().file_size + len(payload) + 100 > SEGMENT - fmt.FOOTER_ROOM:
            break
        log.append(payload)
        payloads.append(payload)
    files.fail(operation, errno.EIO)
    with pytest.raises(LogWriteFailed):
        log.append(bytes(1000))
    assert poisoned(log)
    records = read(backend, home, small(format))[1]
    assert [payload for _, _, payload in records] == payloads
    log = backend.open(home, options)
    assert log.append(bytes(1000)) == len(payloads) + 1
    log.close()
    assert read(backend, home, small(format))[0].tail == "clean"


def test_fault_23_a_grow_stopped_anywhere_loses_nothing(backend: LogBackend, home: Path) -> None:
    def grow(files: FaultyFiles) -> None:
        directory = home.with_name(f"stopped-{files.stop_at}")
        start = backend.open(directory, small())
        payloads = fill(start, 20, 600)
        start.close()
        with contextlib.ExitStack() as check:
            check.callback(grown_as, directory, payloads)
            log = backend.open(directory, small(file_system=files))
            log.append(bytes(9000))
            log.close()

    def grown_as(directory: Path, payloads: list[bytes]) -> None:
        found, records = read(backend, directory, small())
        assert found.tail != "corrupt"
        kept = [payload for _, _, payload in records]
        assert kept in (payloads, [*payloads, bytes(9000)])
        log = backend.open(crashed(directory), small())
        assert log.append(b"goes on") == len(kept) + 1
        log.close()

    assert every_stop(grow) > 8


# --- 24 --------------------------------------------------------------------------------------


def test_fault_24_emptying_keeps_the_log_bounded(backend: LogBackend, home: Path) -> None:
    log = backend.open(home, small())
    for _ in range(10):
        fill(log, 600)
        assert log.stats().segments > 1
        log.reset()
        assert log.stats().allocated <= 2 * SEGMENT
        assert [path.stat().st_size for path in home.iterdir()] == [SEGMENT]
    assert log.stats().last_sequence == 6000
    log.close()


@pytest.mark.parametrize("format", FORMATS)
def test_fault_24_an_emptying_stopped_anywhere_keeps_all_or_nothing(
    backend: LogBackend, home: Path, format: str
) -> None:
    def empty(files: FaultyFiles) -> None:
        directory = home.with_name(f"stopped-{files.stop_at}")
        stop, files.stop_at = files.stop_at, -1
        log = backend.open(directory, small(format, file_system=files))
        payloads = fill(log, 600)
        files.notes.clear()
        files.stop_at = stop
        with contextlib.ExitStack() as check:
            check.callback(emptied, directory, payloads)
            log.reset()
            files.stop_at = -1
            log.close()

    def emptied(directory: Path, payloads: list[bytes]) -> None:
        killed = crashed(directory)
        found, records = read(backend, killed, small(format))
        assert found.tail != "corrupt"
        assert [payload for _, _, payload in records] in ([], payloads)
        assert found.last_sequence == 600
        log = backend.open(killed, small(format))
        assert log.append(b"after") == 601
        log.close()
        found, records = read(backend, killed, small(format))
        assert records[-1] == (601, 1, b"after")
        assert len(records) in (1, 601)

    assert every_stop(empty) > 5


# --- 25 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_fault_25_a_name_above_65535_bytes_is_refused_and_never_wraps(
    backend: LogBackend, home: Path, format: str
) -> None:
    log = backend.open(home, small(format, segment_size=1 << 20))
    longest = "é" * 32_767 + "x"
    for name in (longest + "y", "é" * 32_768, "n" * 200_000):
        size = len(name.encode())
        for append in (
            lambda name=name: log.append_write(name, 0, b"data"),
            lambda name=name: log.append_remove(name),
            lambda name=name: log.append_truncate(name, 0),
            lambda name=name: log.append_uploaded(name, 0, 0),
        ):
            with pytest.raises(RecordTooLarge) as refused:
                append()
            assert (refused.value.size, refused.value.limit) == (size, 65_535)
    assert log.append_write(longest, 3, b"data") == 1
    log.close()
    ((_, _, payload),) = read(backend, home, small(format))[1]
    assert decode_write(memoryview(payload)) == (longest, 3, b"data")


# --- what the system may do to a write -------------------------------------------------------


def test_short_writes_and_interruptions_are_carried_on(
    backend: LogBackend, home: Path, files: FaultyFiles
) -> None:
    files.most = 7
    files.fail("pwrite", errno.EINTR, skip=2)
    files.fail("sync", errno.EINTR)
    log = backend.open(home, small(file_system=files))
    files.fail("pwrite", errno.EINTR)
    files.fail("sync", errno.EINTR)
    payloads = fill(log, 20, 500)
    log.append(bytes(8000))
    log.append_many([b"a", b"b"])
    log.sync()
    log.close()
    records = read(backend, home, small())[1]
    assert [payload for _, _, payload in records] == [*payloads, bytes(8000), b"a", b"b"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_write_that_fails_half_way_is_torn_and_poisons(
    backend: LogBackend, home: Path, files: FaultyFiles, format: str
) -> None:
    if backend.name != "wal.basic":
        pytest.skip("nothing is written")
    log = backend.open(home, small(format, file_system=files))
    fill(log, 3)
    files.most = 50
    files.fail("pwrite", errno.ENOSPC, skip=1)
    with pytest.raises(LogWriteFailed) as failed:
        log.append(b"x" * 500)
    assert failed.value.errno == errno.ENOSPC
    assert poisoned(log)
    found, _ = read(backend, home, small(format))
    assert (found.records, found.tail) == (3, "torn")
    assert 0 < found.dropped_bytes <= 50
    log = backend.open(home, small(format))
    assert log.append(b"next") == 4
    log.close()
    assert read(backend, home, small(format))[0].tail == "clean"


def test_a_stop_is_no_error_of_the_log(backend: LogBackend, home: Path, files: FaultyFiles) -> None:
    log = backend.open(home, small(file_system=files))
    files.stop_at = 0
    with pytest.raises(Stopped):
        log.append(b"x")
    with pytest.raises(Stopped):
        log.sync()
