"""The warm-up goes on until its level is steady, and not for ever."""

from __future__ import annotations

import random

import pytest

from bench_cli.runner.loop import calibrate, repeat
from bench_cli.runner.steady import MOST_ROUNDS, drift, settle
from tests.runner.test_loop import FakeBody, FakeClock

MS = 1_000_000


def warmed(
    costs: list[int], min_sample_ns: int = 10 * MS, batches: int = 0
) -> tuple[float | None, int]:
    """(what drift was left, how often the body ran) of a body whose batches take ``costs``."""
    clock = FakeClock()
    body = FakeBody(clock, costs, batches=batches)
    left = settle(body, calibrate(body, min_sample_ns, clock), min_sample_ns, clock)
    return left, body.calls.count("run")


def test_a_level_that_is_steady_costs_nothing_more() -> None:
    left, runs = warmed([MS])
    assert left is None
    assert runs == 11  # what calibration needs


def test_a_slow_start_is_warmed_away() -> None:
    left, runs = warmed([MS + int(9 * MS * 0.5**n) for n in range(20)] + [MS])
    assert left is None
    assert runs > 5


def test_a_level_that_never_settles_ends_at_the_cap_and_is_told() -> None:
    left, runs = warmed([int(MS * 1.12**n) for n in range(80)], min_sample_ns=MS)
    assert left is not None
    assert left > 0.05
    assert runs <= 2 + 2 * MOST_ROUNDS


def test_long_batches_are_not_repeated_without_end() -> None:
    left, runs = warmed([30_000 * MS, 20_000 * MS, 10_000 * MS], min_sample_ns=50 * MS)
    assert left is None  # one batch says nothing about a level
    assert runs == 1


def test_a_body_with_batches_of_its_own_is_not_judged() -> None:
    left, runs = warmed([n * MS for n in range(1, 99)], batches=16)
    assert (left, runs) == (None, 16)


def test_a_process_that_calibrates_no_more_still_settles() -> None:
    clock = FakeClock()
    body = FakeBody(clock, [9 * MS, 5 * MS, 3 * MS, 2 * MS, MS])
    assert settle(body, repeat(body, 2, clock), 10 * MS, clock) is None
    assert body.calls.count("run") >= 6


@pytest.mark.parametrize("scatter", [0.02, 0.1, 0.3])
def test_a_row_that_scatters_is_not_one_that_drifts(scatter: float) -> None:
    rng = random.Random(1)
    told = sum(
        warmed([int(MS * rng.lognormvariate(0, scatter)) for _ in range(400)], 20 * MS)[0]
        is not None
        for _ in range(200)
    )
    assert told <= 2


@pytest.mark.parametrize(
    ("batches", "change"),
    [
        ([], None),
        ([5], None),
        ([5, 5], 0.0),
        ([10, 8], -0.2),
        ([99, 99, 10, 10, 12, 12], 0.2),
        ([99, 99, 99, 99, 99, 10, 12, 8, 11, 9, 10, 11, 9, 10, 10], 0.0),
        ([0, 0], 0.0),
        ([99] * 50 + [10] * 5 + [12] * 5, 0.2),
    ],
)
def test_the_drift_is_that_of_the_last_window_against_the_one_before(
    batches: list[float], change: float | None
) -> None:
    assert drift(batches, 5) == (change if change is None else pytest.approx(change))
