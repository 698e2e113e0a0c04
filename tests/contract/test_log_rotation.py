"""Rotation by time (``LogOptions.rotate_after_ns``), over every backend that rotates."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli.errors import RecordTooLarge
from bench_cli.interfaces import Capability, LogBackend, LogOptions
from tests.contract.log_backends import (
    BACKENDS,
    FORMATS,
    SEGMENT,
    label,
    load,
    need,
    read,
)

AFTER = 1000


class Hands:
    """A clock that a test moves. Its wall time may step anywhere."""

    def __init__(self) -> None:
        self.now, self.wall, self.asked = 5_000_000, 0, 0

    def now_ns(self) -> int:
        self.asked += 1
        return self.now

    def wall_ns(self) -> int:
        return self.wall


@pytest.fixture(params=BACKENDS, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    found = load(request.param)
    need(found, Capability.ROTATION, Capability.RECOVERY)
    return found


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture(params=FORMATS)
def options(request: pytest.FixtureRequest, backend: LogBackend, clock: Hands) -> LogOptions:
    if request.param != "binary":
        need(backend, Capability(request.param))
    return LogOptions(request.param, SEGMENT, clock=clock, rotate_after_ns=AFTER)


def test_a_record_that_comes_late_begins_a_segment(
    backend: LogBackend, options: LogOptions, clock: Hands, home: Path
) -> None:
    log = backend.open(home, options)
    for step, segments in ((0, 1), (AFTER - 1, 1), (1, 2), (AFTER - 1, 2), (1, 3), (0, 3)):
        clock.now += step
        log.append(b"x")
        assert log.stats().segments == segments
    clock.now += AFTER
    assert log.append_many([b"a", b"b"]) == 8
    assert log.stats().rotations == 3
    log.close()
    found, records = read(backend, home, options)
    assert (found.tail, found.segments, len(records)) == ("clean", 4, 8)


def test_an_idle_log_does_not_rotate(
    backend: LogBackend, options: LogOptions, clock: Hands, home: Path
) -> None:
    """The age of a segment is that of its first record."""
    log = backend.open(home, options)
    for _ in range(3):
        clock.now += 100 * AFTER
        log.sync()
    log.append(b"first")
    clock.now += AFTER - 1
    log.append(b"second")
    assert log.stats().segments == 1
    clock.now += 100 * AFTER
    log.reset()
    log.append(b"third")
    assert log.stats().rotations == 0
    clock.now += AFTER
    log.append(b"fourth")
    assert log.stats().rotations == 1
    log.close()


def test_a_step_of_the_wall_clock_is_not_noticed(
    backend: LogBackend, options: LogOptions, clock: Hands, home: Path
) -> None:
    log = backend.open(home, options)
    for wall in (0, 10**18, -(10**18), 7):
        clock.wall = wall
        log.append(b"x")
    assert log.stats().rotations == 0
    log.close()


def test_a_reopened_segment_is_as_old_as_its_opening(
    backend: LogBackend, options: LogOptions, clock: Hands, home: Path
) -> None:
    log = backend.open(home, options)
    log.append(b"x")
    log.close()
    clock.now += 10 * AFTER
    log = backend.open(home, options)
    log.append(b"y")
    assert log.stats().rotations == 0
    clock.now += AFTER
    log.append(b"z")
    assert log.stats().rotations == 1
    log.close()
    assert [payload for _, _, payload in read(backend, home, options)[1]] == [b"x", b"y", b"z"]


def test_a_full_segment_rotates_before_its_time(
    backend: LogBackend, options: LogOptions, clock: Hands, home: Path
) -> None:
    log = backend.open(home, options)
    while log.stats().rotations < 2:
        log.append(bytes(900))
    clock.now += AFTER - 1
    log.append(b"the segment is as old as its first record")
    assert log.stats().rotations == 2
    log.close()


def test_a_record_that_is_too_large_rotates_nothing(
    backend: LogBackend, options: LogOptions, clock: Hands, home: Path
) -> None:
    log = backend.open(home, options)
    log.append(b"x")
    clock.now += AFTER
    with pytest.raises(RecordTooLarge):
        log.append(bytes(2 * SEGMENT))
    assert log.stats().rotations == 0
    log.append(b"y")
    assert log.stats().rotations == 1
    log.close()


def test_without_it_no_clock_is_read(backend: LogBackend, clock: Hands, home: Path) -> None:
    log = backend.open(home, LogOptions("binary", SEGMENT, clock=clock))
    asked = clock.asked
    for _ in range(2000):
        log.append(b"payload")
    assert log.stats().rotations > 0
    assert clock.asked == asked
    log.close()


def test_a_negative_time_is_refused(backend: LogBackend, home: Path) -> None:
    with pytest.raises(ValueError, match="rotate_after_ns"):
        backend.open(home, LogOptions(rotate_after_ns=-1))
