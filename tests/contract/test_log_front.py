"""Forgetting the oldest segments of a log (``interfaces.TruncatableLog``), over every backend that
declares it, both twins and both formats."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from bench_cli.errors import LogClosed, LogPoisoned, LogWriteFailed
from bench_cli.interfaces import Capability, LogBackend, LogOptions, TruncatableLog
from tests.contract.log_backends import (
    BACKENDS,
    FORMATS,
    SEGMENT,
    crashed,
    fill,
    label,
    load,
    need,
    need_ours,
    read,
    small,
)
from tests.faults.faulty_files import FaultyFiles, Stopped, every_stop


@pytest.fixture(params=BACKENDS, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    found = load(request.param)
    need(found, Capability.TRUNCATE)
    return found


@pytest.fixture(params=FORMATS)
def options(request: pytest.FixtureRequest, backend: LogBackend) -> LogOptions:
    if request.param != "binary":
        need(backend, Capability(request.param))
    return small(request.param)


def opened(backend: LogBackend, home: Path, options: LogOptions) -> TruncatableLog:
    return cast(TruncatableLog, backend.open(home, options))


def numbers(backend: LogBackend, home: Path, options: LogOptions) -> list[int]:
    found, records = read(backend, crashed(home), options)
    assert (found.tail, found.damages) == ("clean", ())
    return [sequence for sequence, _, _ in records]


def test_a_log_that_can_be_cut_says_so(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log = backend.open(home, options)
    assert isinstance(log, TruncatableLog)
    log.close()


def test_whole_segments_at_or_below_the_number_go_and_the_rest_stays(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    payloads = fill(log, 1500)
    assert log.stats().segments > 3
    left, first = log.stats().segments, 1
    for cut in (1, 700, 700, 300, 1100):
        before, first = first, log.truncate_front(cut)
        assert before <= first <= max(before, cut + 1)
        assert numbers(backend, home, options) == list(range(first, 1501))
        assert log.stats().segments <= left
        left = log.stats().segments
    found, records = read(backend, crashed(home), options)
    assert [payload for _, _, payload in records] == payloads[found.first_sequence - 1 :]
    assert found.segments == left
    log.close()
    assert len(list(home.iterdir())) == left


def test_the_segment_in_use_stays_and_numbers_go_on(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    fill(log, 800)
    first = log.truncate_front(10**9)
    assert 1 < first <= 801
    assert (log.stats().segments, log.stats().last_sequence) == (1, 800)
    assert log.append(b"after") == 801
    assert numbers(backend, home, options) == list(range(first, 802))
    log.close()
    log = opened(backend, home, options)
    assert log.append(b"reopened") == 802
    assert log.truncate_front(0) == first
    log.close()
    assert read(backend, home, options)[0].first_sequence == first


def test_a_log_of_one_segment_keeps_everything(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    log = opened(backend, home, options)
    assert log.truncate_front(5) == 1
    fill(log, 3)
    assert log.truncate_front(3) == 1
    assert numbers(backend, home, options) == [1, 2, 3]
    log.close()


def test_cutting_emptying_and_reopening_follow_each_other(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION, Capability.RESET)
    log = opened(backend, home, options)
    last = 0
    for _ in range(3):
        fill(log, 700)
        log.truncate_front(log.stats().last_sequence)
        fill(log, 700)
        first = log.truncate_front(log.stats().last_sequence - 200)
        last = log.stats().last_sequence
        assert numbers(backend, home, options) == list(range(first, last + 1))
        log.reset()
        assert numbers(backend, home, options) == []
        assert log.truncate_front(last) == last + 1
        log.close()
        log = opened(backend, home, options)
        assert log.append(b"on") == last + 1
    log.close()


def test_a_cut_makes_room_on_the_disk(backend: LogBackend, options: LogOptions, home: Path) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    for _ in range(8):
        fill(log, 600)
        log.truncate_front(log.stats().last_sequence)
        assert log.stats().allocated <= 3 * SEGMENT  # one file waits to be used again
        assert len(list(home.iterdir())) <= 3
    log.close()


def test_what_comes_before_a_cut_is_no_longer_synced(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    """The open files of removed segments are let go of."""
    need(backend, Capability.RECOVERY, Capability.FAULTS, Capability.ROTATION)
    files = FaultyFiles()
    log = opened(backend, home, small(options.format, file_system=files))
    fill(log, 1500)
    log.truncate_front(1500)
    files.notes.clear()
    log.sync()
    assert files.count("sync") == 1
    assert log.stats().durable_sequence == 1500
    log.close()


def test_a_cut_log_is_closed_to_all_use(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log = opened(backend, home, options)
    log.close()
    with pytest.raises(LogClosed):
        log.truncate_front(1)


def test_a_failed_cut_poisons_the_log_and_loses_nothing(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.FAULTS, Capability.ROTATION)
    for operation in ("sync", "unlink"):
        place, files = home.with_name(operation), FaultyFiles()
        log = opened(backend, place, small(options.format, file_system=files))
        fill(log, 1000)
        files.fail(operation, 5)
        with pytest.raises(LogWriteFailed):
            log.truncate_front(600)
        with pytest.raises(LogPoisoned):
            log.truncate_front(600)
        log.close()
        left = numbers(backend, place, options)
        assert left == list(range(left[0], 1001)) and left[0] <= 601


def test_a_cut_stopped_anywhere_keeps_every_record_behind_it(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.FAULTS, Capability.ROTATION)

    def cut(files: FaultyFiles) -> None:
        directory = home.with_name(f"stopped-{files.stop_at}")
        stop, files.stop_at = files.stop_at, -1
        log = opened(backend, directory, small(options.format, file_system=files))
        fill(log, 1200)
        files.notes.clear()
        files.stop_at = stop
        with contextlib.ExitStack() as check:
            check.callback(whole, directory)
            log.truncate_front(800)
            files.stop_at = -1
            log.close()

    def whole(directory: Path) -> None:
        left = numbers(backend, directory, options)
        assert left == list(range(left[0], 1201)) and left[0] <= 801
        killed = crashed(directory)
        log = opened(backend, killed, options)
        assert log.append(b"after") == 1201
        log.close()
        assert numbers(backend, killed, options) == [*left, 1201]

    assert every_stop(cut) > 3


@pytest.mark.parametrize("last", [800, 1200])
def test_a_signal_in_the_midst_of_a_cut_poisons_the_log_and_loses_nothing(
    backend: LogBackend, options: LogOptions, home: Path, last: int
) -> None:
    """Its handler may raise wherever Python code runs: here before each operation."""
    need(backend, Capability.FAULTS, Capability.ROTATION)

    def cut(files: FaultyFiles) -> None:
        directory = home.with_name(f"interrupted-{files.stop_at}")
        stop, files.stop_at = files.stop_at, -1
        log = opened(backend, directory, small(options.format, file_system=files))
        fill(log, 1200)
        files.notes.clear()
        files.stop_at = stop
        try:
            log.truncate_front(last)
        except Stopped:
            files.stop_at = -1
            poisoned(log)
            log.close()
            left = numbers(backend, directory, options)
            assert left == list(range(left[0], 1201)) and left[0] <= last + 1
            goes_on(directory, left)
            raise
        log.close()

    def poisoned(log: TruncatableLog) -> None:
        calls: tuple[Callable[[], object], ...] = (
            lambda: log.append(b"x"), log.sync, log.reset, lambda: log.truncate_front(last)
        )  # fmt: skip
        for call in calls:
            with pytest.raises(LogPoisoned) as told:
                call()
            assert told.value.errno == errno.EINTR

    def goes_on(directory: Path, left: list[int]) -> None:
        log = opened(backend, directory, options)
        assert log.append(b"after") == 1201
        first = log.truncate_front(last)
        log.close()
        assert read(backend, directory, options)[0].first_sequence == first >= left[0]

    assert every_stop(cut) > 3


def test_a_cut_to_what_is_no_number_changes_nothing(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    need_ours(backend)
    log = opened(backend, home, options)
    fill(log, 700)
    with pytest.raises(TypeError):
        log.truncate_front("12")  # type: ignore[arg-type]  # refused
    assert log.append(b"goes on") == 701
    log.close()
    assert read(backend, home, options)[0].first_sequence == 1


def test_segments_missing_at_the_front_are_still_damage(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    """Only a log that was cut may begin anywhere."""
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    fill(log, 1500)
    first = log.truncate_front(500)
    log.close()
    min(home.iterdir()).unlink()
    found, _ = read(backend, home, options)
    assert found.tail == "corrupt"
    assert found.damages[0].lost_last >= first


def test_no_flipped_bit_of_the_first_header_goes_unnoticed(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    """The header that was there before is not taken for the newer one."""
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    fill(log, 700)
    log.truncate_front(700)
    log.close()
    (path,) = home.iterdir()
    whole = path.read_bytes()
    right = read(backend, home, options)
    for at in range(512, 512 + 56):
        for bit in (0, 5):
            hurt = bytearray(whole)
            hurt[at] ^= 1 << bit
            path.write_bytes(hurt)
            found, records = read(backend, home, options)
            assert (found, records) == right or found.tail == "corrupt"


# --- files that are used again ---------------------------------------------------------------


def recycled(backend: LogBackend, home: Path, options: LogOptions) -> tuple[TruncatableLog, Path]:
    """A log in the first records of a segment whose file was another one's, and that segment."""
    log = opened(backend, home, options)
    fill(log, 1200)
    inodes = {path.stat().st_ino for path in home.iterdir()}
    log.truncate_front(1200)
    while log.stats().segments == 1:
        log.append(b"until it rotates" * 9)
    newest = max(home.iterdir())
    assert newest.stat().st_ino in inodes
    assert len({path.stat().st_ino for path in home.iterdir()} | inodes) == len(inodes)
    return log, newest


def test_the_file_of_a_removed_segment_is_the_next_one(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log, newest = recycled(backend, home, options)
    assert newest.stat().st_size == SEGMENT
    left = numbers(backend, home, options)
    assert left == list(range(left[0], log.stats().last_sequence + 1))
    log.close()
    assert numbers(backend, home, options) == left


def test_a_file_of_another_size_is_not_used_again(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    fill(log, 700)
    log.close()
    larger = small(options.format, 2 * SEGMENT)
    log = opened(backend, home, larger)
    fill(log, 700)
    log.truncate_front(1400)
    fill(log, 1400)
    assert max(home.iterdir()).stat().st_size == 2 * SEGMENT
    log.close()
    assert numbers(backend, home, larger)[-1] == 2800


def test_old_bytes_of_a_file_used_again_are_no_records(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    """A crash may bring back what stood there before: whole frames of this very log."""
    need(backend, Capability.RECOVERY, Capability.ROTATION)
    log = opened(backend, home, options)
    fill(log, 1200)
    before = {path.stat().st_ino: path.read_bytes() for path in home.iterdir()}
    log.truncate_front(1200)
    while log.stats().segments == 1:
        log.append(b"until it rotates" * 9)
    log.sync()
    killed = crashed(home)
    newest = max(home.iterdir())
    stale, whole = before[newest.stat().st_ino], (killed / newest.name).read_bytes()
    right = read(backend, killed, options)
    end = len(whole.rstrip(b"\0")) + 511 & ~511
    assert end < 3000 and any(stale[end:])
    (killed / newest.name).write_bytes(whole[:end] + stale[end:])
    found, records = read(backend, killed, options)
    assert records == right[1]
    assert (found.damages, found.discarded_records) == ((), 0)
    log.close()
    log = opened(backend, killed, options)
    assert log.append(b"after") == found.last_sequence + 1
    log.close()
    assert read(backend, killed, options)[1][:-1] == records


def test_using_a_file_again_may_stop_anywhere(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.FAULTS, Capability.ROTATION)

    def rotate(files: FaultyFiles) -> None:
        directory = home.with_name(f"stopped-{files.stop_at}")
        stop, files.stop_at = files.stop_at, -1
        log = opened(backend, directory, small(options.format, file_system=files))
        fill(log, 1200)
        first = log.truncate_front(1200)
        room = log.stats()
        while log.stats().segments == 1 and room.last_sequence < 5000:
            files.notes.clear()
            files.stop_at = stop
            with contextlib.ExitStack() as check:
                last = log.stats().last_sequence
                check.callback(whole, directory, first, last)
                log.append(b"until it rotates" * 9)
                files.stop_at = -1
        log.close()

    def whole(directory: Path, first: int, last: int) -> None:
        left = numbers(backend, directory, options)
        assert left in (list(range(first, last + 1)), list(range(first, last + 2)))
        killed = crashed(directory)
        log = opened(backend, killed, options)
        assert log.append(b"after") == left[-1] + 1
        log.close()

    assert every_stop(rotate) > 5
