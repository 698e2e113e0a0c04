"""A compiled log rotates into a segment that is ready without running Python code, and catches up
on that with its next call. Nothing of it can be told from a rotation that does all at once."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench_cli.errors import LogPoisoned, LogWriteFailed
from bench_cli.interfaces import FlushPolicy, LogBackend, LogOptions
from bench_cli.wal import segment as segments
from bench_cli.wal.ahead import LEAST, Ahead
from bench_cli.wal.files import MappedSegment, Segment
from tests.contract.log_backends import STORED, crashed, label, load, read

OPTIONS = LogOptions(segment_size=LEAST)
RECORD = b"0123456789abcdef" * 4096  # 64 KiB
FULL = (LEAST - 1024 - 256) // (len(RECORD) + 28)
"""Records that fit a segment beside its link and its end."""
NATIVE = [place for place in STORED if "native" in place]


@pytest.fixture(params=NATIVE, ids=label)
def native(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


class Done:
    """The jobs that the thread has done, to wait for the next one."""

    def __init__(self) -> None:
        self._done = threading.Semaphore(0)
        self.segments: list[Segment] = []

    def note(self, job: Ahead) -> None:
        if job._made is not None:
            self.segments.append(job._made)
        self._done.release()

    def wait(self) -> Segment:
        assert self._done.acquire(timeout=30)
        return self.segments[-1]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    found, run = Done(), Ahead.run

    def noted(job: Ahead) -> None:
        run(job)
        found.note(job)

    monkeypatch.setattr(Ahead, "run", noted)
    return found


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files of full segments that were synced, in order."""
    names: list[str] = []
    real = Segment.sync_file

    def sync_file(segment: Segment) -> None:
        names.append(segment.path.name)
        real(segment)

    monkeypatch.setattr(Segment, "sync_file", sync_file)
    yield names


def fill(log: Any, done: Done, count: int = FULL) -> Segment:
    """Append up to a record before a rotation; the segment made for it."""
    for _ in range(count):
        log.append(RECORD)
    return done.wait()


def python_code_run_by(call: Callable[[], object]) -> list[str]:
    names: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return names


def test_the_append_that_rotates_runs_no_python_code(
    native: LogBackend, home: Path, done: Done
) -> None:
    log = native.open(home, OPTIONS)
    assert log.stats().rotations == 0
    for rotations in (1, 2, 3):
        fill(log, done, FULL if rotations == 1 else FULL - 1)
        assert python_code_run_by(partial(log.append, RECORD)) == []
        assert log.stats().rotations == rotations
    log.close()
    assert read(native, home, OPTIONS)[0].records == 3 * FULL + 1


def test_the_append_that_rotates_by_time_runs_no_python_code(
    native: LogBackend, home: Path, done: Done
) -> None:
    log = native.open(home, LogOptions(segment_size=LEAST, rotate_after_ns=1))
    done.wait()  # one is made at once
    log.append(RECORD)
    assert python_code_run_by(partial(log.append, RECORD)) == []
    assert log.stats().rotations == 1
    log.close()


@pytest.mark.parametrize("storage", ["Basic", "Mmap"])
def test_twins_write_the_same_bytes(storage: str, home: Path, done: Done) -> None:
    written: list[dict[str, bytes]] = []
    for module in ("log", "native"):
        salts = itertools.count(1)
        backend = load(
            f"bench_cli.wal.{module}:{storage}Backend", salts=lambda salts=salts: next(salts)
        )
        log = backend.open(home / module, OPTIONS)
        for index in range(3 * FULL):
            log.append(RECORD)
            if index == FULL + 5:
                log.sync()
            if module == "native" and index % FULL == FULL - 1:
                done.wait()
        assert (log.stats().rotations, log.stats().durable_sequence) == (2, FULL + 6)
        log.close()
        files = sorted((home / module).iterdir())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]


def expect_rotated(log: Any) -> None:
    stats = log.stats()
    assert (stats.rotations, stats.segments, stats.last_sequence) == (1, 2, FULL + 1)
    assert stats.file_size == 2 * 1024 + 40 + (FULL + 1) * (len(RECORD) + 32)


def expect_synced(log: Any) -> None:
    log.sync()
    assert log.stats().durable_sequence == FULL + 1


def expect_removed(log: Any) -> None:
    assert log.truncate_front(FULL) == FULL + 1
    assert log.stats().segments == 1


def expect_emptied(log: Any) -> None:
    log.reset()
    stats = log.stats()
    assert (stats.segments, stats.durable_sequence, stats.file_size) == (1, FULL + 1, 1024)


def expect_closed(log: Any) -> None:
    log.close()


def expect_appended(log: Any) -> None:
    assert log.append(b"more") == FULL + 2
    assert log.stats().segments == 2


@pytest.mark.parametrize(
    "expected",
    [expect_rotated, expect_synced, expect_removed, expect_emptied, expect_closed, expect_appended],
)
@pytest.mark.parametrize("policy", [None, FlushPolicy("never"), FlushPolicy("group")])
def test_the_first_call_after_a_rotation_knows_of_it(
    native: LogBackend,
    home: Path,
    done: Done,
    synced: list[str],
    policy: FlushPolicy | None,
    expected: Callable[[Any], None],
) -> None:
    options = LogOptions(segment_size=LEAST, flush=policy)
    log = native.open(home, options)
    fill(log, done)
    log.append(RECORD)
    expected(log)
    log.close()
    if expected is not expect_emptied and expected is not expect_removed:
        assert synced == ["00000001.wal"]
    found, records = read(native, home, options)
    left = {"expect_emptied": 0, "expect_removed": 1, "expect_appended": FULL + 2}
    records_left = left.get(expected.__name__, FULL + 1)
    assert (found.records, found.tail) == (records_left, "clean")
    assert all(payload in (RECORD, b"more") for _, _, payload in records)


def test_a_process_killed_after_a_rotation_lost_nothing(
    native: LogBackend, home: Path, done: Done
) -> None:
    log = native.open(home, OPTIONS)
    fill(log, done)
    log.append(RECORD)
    found, _ = read(native, crashed(home), OPTIONS)
    assert (found.records, found.segments, found.tail) == (FULL + 1, 2, "clean")
    log.close()


def test_no_more_than_so_many_full_segments_wait_for_a_sync(
    native: LogBackend, home: Path, done: Done, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MAX_UNSYNCED", 2)
    log = native.open(home, OPTIONS)
    for rotations in range(1, 5):
        fill(log, done, FULL if rotations == 1 else FULL - 1)
        log.append(RECORD)
    assert synced == ["00000001.wal", "00000002.wal"]
    assert log.stats().durable_sequence == 0
    log.close()
    assert read(native, home, OPTIONS)[0].records == 4 * FULL + 1


def test_the_next_segment_of_a_log_that_rotates_by_time_is_made_without_a_further_call(
    native: LogBackend, home: Path, done: Done
) -> None:
    log = native.open(home, LogOptions(segment_size=LEAST, rotate_after_ns=1))
    done.wait()
    log.append(b"first")
    for sequence in (2, 3, 4):
        log.append(b"rotates")
        assert done.wait().path.name == f"{sequence + 1:08}.wal"
    assert log.stats().rotations == 3
    log.close()
    assert read(native, home, OPTIONS)[0].records == 4


def test_a_link_that_cannot_be_written_poisons_the_log(home: Path, done: Done) -> None:
    backend = load("bench_cli.wal.native:BasicBackend")
    log = backend.open(home, OPTIONS)
    offered = fill(log, done)
    unwritable = os.open(offered.path, os.O_RDONLY)
    os.dup2(unwritable, offered.fd)
    os.close(unwritable)
    with pytest.raises(LogWriteFailed) as failed:
        log.append(RECORD)
    assert failed.value.errno == errno.EBADF
    with pytest.raises(LogPoisoned):
        log.append(RECORD)
    assert log.stats().last_sequence == FULL
    log.close()
    assert "wal-ahead" not in [thread.name for thread in threading.enumerate()]
    log = backend.open(home, OPTIONS)
    assert log.append(RECORD) == FULL + 1
    log.close()


def test_a_segment_that_cannot_be_warmed_is_removed_and_an_error_of_the_rotation(
    home: Path, done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(segment: Segment) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    backend = load("bench_cli.wal.native:BasicBackend")
    log = backend.open(home, OPTIONS)
    with monkeypatch.context() as disk:
        disk.setattr(Segment, "warm", broken)
        fill(log, done)
        with pytest.raises(LogWriteFailed) as failed:
            log.append(RECORD)
    assert failed.value.errno == errno.EIO
    log.close()
    assert [path.name for path in home.iterdir()] == ["00000001.wal"]


def test_threads_that_commit_across_rotations_lose_nothing(native: LogBackend, home: Path) -> None:
    options = LogOptions(segment_size=LEAST, flush=FlushPolicy("group"))
    log: Any = native.open(home, options)

    def work(mark: bytes) -> None:
        for index in range(FULL):
            log.append(mark * len(RECORD))
            if index % 8 == 0:
                log.commit(mark)
                log.stats()

    threads = [threading.Thread(target=work, args=(b"%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.stats().rotations >= 3
    log.close()
    found, records = read(native, home, options)
    assert (found.records, found.tail) == (4 * FULL + 4 * -(-FULL // 8), "clean")
    assert all(payload == payload[:1] * len(payload) for _, _, payload in records)


def test_a_log_that_is_dropped_leaves_no_thread_looking_after_it(
    native: LogBackend, home: Path, done: Done
) -> None:
    log = native.open(home, LogOptions(segment_size=LEAST, rotate_after_ns=10**6))
    done.wait()
    makers = [thread for thread in threading.enumerate() if thread.name == "wal-ahead"]
    del log
    gc.collect()
    for thread in makers:
        thread.join(30)
        assert not thread.is_alive()


def test_a_full_segment_is_unmapped_although_the_log_rotates_no_more(
    home: Path, done: Done
) -> None:
    log = load("bench_cli.wal.native:MmapBackend").open(home, OPTIONS)
    first = fill(log, done)
    log.append(RECORD)
    assert isinstance(first, MappedSegment)
    log.stats()
    done.wait()
    assert str(home / "00000001.wal") not in Path("/proc/self/maps").read_text()
    assert str(home / "00000002.wal") in Path("/proc/self/maps").read_text()
    log.close()


@pytest.mark.parametrize("rotated", [False, True])
def test_a_log_in_a_cycle_is_collected(
    native: LogBackend, home: Path, done: Done, rotated: bool
) -> None:
    """Its memory is then taken apart in an order that nobody knows."""
    log: Any = native.open(home, OPTIONS)
    fill(log, done)
    if rotated:
        log.append(RECORD)
    held = [log]
    held.append(held)
    done.segments.clear()
    del log, held
    gc.collect()
    assert "00000001.wal" not in Path("/proc/self/maps").read_text()
