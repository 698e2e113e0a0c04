"""What a region waited for a core is told apart from its own time; clock and kernel are faked."""

from __future__ import annotations

import pytest

from bench_cli.interfaces import BodyInfo
from bench_cli.runner import loop, waiting
from bench_cli.runner.loop import take_sample
from bench_cli.runner.measure import _run_ns_per_op
from bench_cli.runner.waiting import time_apart
from bench_cli.workloads.base import PlainBody


class Machine:
    """Readings of the kernel before and after a region of 1,000 ns. ``around``: what the readings
    themselves took."""

    def __init__(self, waited: int = 0, others: int = 0, around: int = 0) -> None:
        self.waited, self.others, self.around = waited, others, around
        self.ran = False

    def region(self) -> int:
        self.ran = True
        return 1_000

    def after(self, value: int) -> int:
        return 5_000 + (value if self.ran else 0)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(waiting, "_waited_ns", lambda: self.after(self.waited))
        patch.setattr(waiting, "_others_ns", lambda: self.after(self.others))
        patch.setattr(waiting.time, "perf_counter_ns", lambda: self.after(1_000 + self.around))


@pytest.mark.parametrize(
    ("machine", "waited"),
    [
        (Machine(), 0),
        (Machine(waited=400), 400),
        (Machine(waited=400, others=100), 300),
        (Machine(waited=400, others=900), 0),
        (Machine(waited=400, around=150), 250),
        (Machine(waited=9_000), 1_000),
    ],
    ids=[
        "none", "for other processes", "in part for its own threads", "for its own threads alone",
        "in part before or after the region", "more than the region took",
    ],
)  # fmt: skip
def test_waiting_for_a_core_is_told(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, waited: int
) -> None:
    machine.install(monkeypatch)
    assert time_apart(machine.region) == (1_000, waited)


def test_a_system_that_does_not_count_it_takes_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_opened", lambda: None)
    assert waiting._waited_ns() == 0


def test_this_thread_has_waited_less_than_it_has_lived() -> None:
    assert 0 <= waiting._waited_ns() < waiting.time.perf_counter_ns()


class Body(PlainBody):
    info = BodyInfo(10)

    def run(self) -> None:
        """Nothing: its times are invented."""


def test_a_sample_keeps_both_times_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "time_apart", lambda region: (1_000, 300))
    sample = take_sample(Body(), 2, 0.0)
    assert (sample.batch_ns, sample.run_ns) == ([1_000, 1_000], [700, 700])
    assert sample.time_ns == 2_000


def samples(*batches: list[int]) -> list[loop.Sample]:
    return [loop.Sample(0.0, 0, 0.0, 0, run_ns=list(times)) for times in batches]


def test_the_quickest_tenth_of_a_process_is_its_value() -> None:
    taken = samples([110] * 9 + [100], [110] * 8 + [100, 100], [500] * 10)
    assert _run_ns_per_op(taken, BodyInfo(10), 0.0) == pytest.approx(10.9)
    assert _run_ns_per_op(samples([100] * 4 + [500] * 6), BodyInfo(10), 20.0) == pytest.approx(8)


def test_batches_that_are_unlike_by_design_count_together() -> None:
    taken = samples([10, 20, 60], [10, 20, 60])
    assert _run_ns_per_op(taken, BodyInfo(10, batches=3), 0.0) == pytest.approx(3)


def test_a_time_below_its_loop_is_zero() -> None:
    assert _run_ns_per_op(samples([10, 10]), BodyInfo(10), 20.0) == 0.0
