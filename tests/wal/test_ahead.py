"""The next segment is made on a thread while the current one fills. What can be seen of a log is
the same as without it, at every moment and after every failure."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from bench_cli.errors import LogWriteFailed
from bench_cli.filesystem import SystemFileSystem
from bench_cli.interfaces import LogBackend, LogOptions, WriteAheadLog
from bench_cli.wal.ahead import LEAST
from bench_cli.wal.files import MappedSegment
from tests.contract.log_backends import STORED, crashed, label, load, read

OPTIONS = LogOptions(segment_size=LEAST)
RECORD = b"0123456789abcdef" * 4096  # 64 KiB
PER_SEGMENT = LEAST // len(RECORD)


@pytest.fixture(params=STORED, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that preallocated a file, in order."""
    names: list[str] = []
    real = SystemFileSystem.preallocate

    def preallocate(self: SystemFileSystem, fd: int, length: int) -> None:
        names.append(threading.current_thread().name)
        real(self, fd, length)

    monkeypatch.setattr(SystemFileSystem, "preallocate", preallocate)
    return names


def append(log: WriteAheadLog, count: int) -> None:
    for _ in range(count):
        log.append(RECORD)


def no_thread_is_left() -> bool:
    return "wal-ahead" not in [thread.name for thread in threading.enumerate()]


def test_a_log_that_rotates_has_its_next_segment_made_on_a_thread(
    backend: LogBackend, home: Path, makers: list[str]
) -> None:
    log = backend.open(home, OPTIONS)
    append(log, 3 * PER_SEGMENT)
    log.close()
    assert no_thread_is_left()
    on_thread = [name for name in makers if name == "wal-ahead"]
    if backend.core == "python" and backend.name == "wal.mmap":
        assert on_thread == []  # faulting in would keep the interpreter lock
    else:
        assert on_thread  # how many is the scheduler's business: an append never waits for one


def test_all_records_are_there_at_every_rotation_and_nothing_is_left_over(
    backend: LogBackend, home: Path
) -> None:
    log = backend.open(home, OPTIONS)
    for part in range(1, 5):
        append(log, PER_SEGMENT)
        found, _ = read(backend, crashed(home), OPTIONS)
        assert (found.records, found.tail) == (part * PER_SEGMENT, "clean")
        assert found.segments == log.stats().segments
    segments = log.stats().segments
    log.sync()
    assert log.stats().durable_sequence == 4 * PER_SEGMENT
    log.close()
    assert no_thread_is_left()
    assert len(list(home.iterdir())) == segments
    found, records = read(backend, home, OPTIONS)
    assert (found.records, found.tail) == (4 * PER_SEGMENT, "clean")
    assert all(payload == RECORD for _, _, payload in records)


def test_a_killed_log_goes_on_although_its_next_segment_was_made(
    backend: LogBackend, home: Path
) -> None:
    log = backend.open(home, OPTIONS)
    append(log, 2 * PER_SEGMENT - 4)
    killed = crashed(home)
    log.close()
    log = backend.open(killed, OPTIONS)
    assert log.stats().durable_sequence == 2 * PER_SEGMENT - 4
    append(log, PER_SEGMENT)
    log.close()
    found, _ = read(backend, killed, OPTIONS)
    assert (found.records, found.tail) == (3 * PER_SEGMENT - 4, "clean")


def test_emptying_forgets_the_segment_made_ahead(backend: LogBackend, home: Path) -> None:
    log = backend.open(home, OPTIONS)
    for _ in range(3):
        append(log, 2 * PER_SEGMENT - 4)
        log.reset()
        assert no_thread_is_left()
        assert [path.stat().st_size for path in home.iterdir()] == [LEAST]
    append(log, 3)
    log.close()
    assert read(backend, home, OPTIONS)[0].records == 3


def test_a_full_disk_met_on_the_thread_is_an_error_of_the_append_that_rotates(
    backend: LogBackend, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SystemFileSystem, fd: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = backend.open(home, OPTIONS)
    with monkeypatch.context() as disk:
        disk.setattr(SystemFileSystem, "preallocate", full)
        with pytest.raises(LogWriteFailed) as failed:
            append(log, 2 * PER_SEGMENT)
    assert failed.value.errno == errno.ENOSPC
    appended = log.stats().last_sequence
    assert appended > PER_SEGMENT // 2
    log.close()
    assert no_thread_is_left()
    log = backend.open(home, OPTIONS)
    assert log.append(RECORD) == appended + 1
    log.close()


def test_a_sync_leaves_a_segment_that_is_still_being_faulted_in_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = pytest.importorskip("bench_cli.wal.native")
    go_on = threading.Event()

    def populate(segment: MappedSegment) -> None:
        if threading.current_thread().name == "wal-ahead":
            with memoryview(segment.buffer):
                go_on.wait()

    monkeypatch.setattr(native.NativeSegment, "populate", populate)
    log = native.MmapBackend().open(home, OPTIONS)
    try:
        append(log, 3 * PER_SEGMENT // 2)
        log.sync()
        assert log.stats().rotations == 1
        assert log.stats().durable_sequence == 3 * PER_SEGMENT // 2
    finally:
        go_on.set()
        log.close()
    assert no_thread_is_left()
