"""The timer: what is timed, what is subtracted, how a warm-up calibrates."""

from __future__ import annotations

import gc

import pytest

from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import BodyInfo
from bench_cli.runner.loop import Sample, calibrate, loop_overhead_ns, take_sample
from bench_cli.runner.measure import _noisy_metrics
from bench_cli.workloads.base import PlainBody, laps


class FakeClock:
    """Time passes only when something says so, and one tick at each reading."""

    def __init__(self, tick: int = 0) -> None:
        self.time = 0
        self.tick = tick

    def __call__(self) -> int:
        self.time += self.tick
        return self.time


class FakeBody(PlainBody):
    """Each batch takes the next of ``costs`` (the last one for ever)."""

    def __init__(self, clock: FakeClock, costs: list[int], ops: int = 10, batches: int = 0) -> None:
        self.clock = clock
        self.costs = costs
        self.info = BodyInfo(ops, batches=batches)
        self.calls: list[str] = []

    def prepare(self) -> None:
        self.calls.append("prepare")
        self.clock.time += 1_000_000

    def run(self) -> None:
        self.calls.append("run")
        self.clock.time += self.costs.pop(0) if len(self.costs) > 1 else self.costs[0]

    def verify(self) -> None:
        self.calls.append("verify")
        self.clock.time += 5_000_000


def test_preparation_and_verification_are_not_in_the_timed_region() -> None:
    clock = FakeClock()
    sample = take_sample(FakeBody(clock, [700]), 3, 0.0, clock)
    assert sample.raw_ns == 2100
    assert sample.prepare_ns == 3_000_000


def test_each_batch_is_prepared_and_the_sample_is_verified_once() -> None:
    clock = FakeClock()
    body = FakeBody(clock, [700])
    take_sample(body, 2, 0.0, clock)
    assert body.calls == ["prepare", "run", "prepare", "run", "verify"]


def test_a_sustained_body_is_prepared_once_for_all_its_batches() -> None:
    clock = FakeClock()
    body = FakeBody(clock, [700], batches=3)
    take_sample(body, 3, 0.0, clock)
    assert body.calls == ["prepare", "run", "run", "run", "verify"]


def test_the_loop_overhead_is_subtracted_per_batch_and_never_below_zero() -> None:
    clock = FakeClock()
    assert take_sample(FakeBody(clock, [700]), 2, 100.0, clock).time_ns == 1200
    assert take_sample(FakeBody(clock, [700]), 2, 9999.0, clock).time_ns == 0


def test_overhead_is_the_time_of_the_same_loop_without_the_operation() -> None:
    class CountingLaps:
        walked = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            CountingLaps.walked += 1
            return iter(laps(10))

    assert loop_overhead_ns(CountingLaps(), FakeClock(tick=7)) == 7
    assert CountingLaps.walked == 5


def test_the_smallest_overhead_trial_counts_so_that_an_interruption_flatters_nobody() -> None:
    steps = iter([0, 50, 100, 5000, 6000, 6010, 7000, 7090, 8000, 8090])
    assert loop_overhead_ns(None, lambda: next(steps)) == 10


def test_a_calibrated_sample_is_at_least_as_long_as_asked() -> None:
    clock = FakeClock()
    settled = calibrate(FakeBody(clock, [1_000_000]), 50_000_000, clock)
    assert settled.batches * 1_000_000 >= 50_000_000
    assert not settled.short


def test_one_slow_first_batch_does_not_make_samples_too_short() -> None:
    clock = FakeClock()
    settled = calibrate(FakeBody(clock, [40_000_000, 1_000_000]), 50_000_000, clock)
    assert settled.batches * 1_000_000 >= 50_000_000
    assert not settled.short


def test_a_body_with_long_preparation_does_not_calibrate_for_ever() -> None:
    clock = FakeClock()
    body = FakeBody(clock, [10])
    settled = calibrate(body, 50_000_000, clock)
    assert settled.short
    assert clock.time < 50 * 50_000_000
    before = clock.time
    take_sample(body, settled.batches, 0.0, clock)
    assert clock.time - before < 22 * 50_000_000


def test_one_preparation_that_is_held_up_does_not_make_every_sample_a_single_batch() -> None:
    class HeldUp(FakeBody):
        def prepare(self) -> None:
            if not self.calls:
                self.clock.time += 30_000_000
            super().prepare()

    clock = FakeClock()
    assert calibrate(HeldUp(clock, [10_000]), 1_000_000, clock).batches > 1


def test_a_sustained_body_keeps_its_own_number_of_batches() -> None:
    clock = FakeClock()
    body = FakeBody(clock, [10], batches=16)
    assert calibrate(body, 50_000_000, clock).batches == 16
    assert body.calls.count("run") == 16


def test_a_sample_whose_work_cannot_be_verified_is_an_error() -> None:
    class Wrong(FakeBody):
        def verify(self) -> None:
            raise VerificationFailed("records: found 9, must be 10")

    clock = FakeClock()
    with pytest.raises(VerificationFailed):
        take_sample(Wrong(clock, [1]), 1, 0.0, clock)


def test_the_collector_is_emptied_before_timing_stays_on_and_its_runs_are_counted() -> None:
    class Collects(FakeBody):
        def run(self) -> None:
            assert gc.isenabled()
            assert gc.get_count()[0] < 100  # emptied just before
            gc.collect(0)
            gc.collect(1)

    clock = FakeClock()
    counters = take_sample(Collects(clock, [1]), 1, 0.0, clock).counters
    assert (counters.gc_gen0, counters.gc_gen1) == (1, 1)
    gc.unfreeze()


def test_a_sustained_row_tells_how_long_its_slowest_interval_was_blocked() -> None:
    sample = Sample(120.0, 120, 0.0, 0, [10, 100, 10], run_ns=[10, 90, 10], cpu_ns=[9, 30, 9])
    quick = Sample(60.0, 60, 0.0, 0, [20, 20, 20], run_ns=[20, 20, 20], cpu_ns=[1, 1, 1])
    told = _noisy_metrics([quick, sample], ops=30, batch_ops=10, payload=1, sustained=True)
    assert told["slowest_bytes_per_s"] == pytest.approx(10 / 100e-9)
    assert told["slowest_blocked_share"] == pytest.approx(0.6)
