"""Spread and intervals from one value per process."""

from __future__ import annotations

import itertools
import random

import pytest
from scipy import stats as scipy_stats

from bench_cli.stats import interval, summary


def test_spread_is_half_the_range_over_the_median() -> None:
    assert summary.spread([100.0, 110.0, 98.0]) == pytest.approx(0.06)


@pytest.mark.parametrize("values", [[], [5.0], [0.0, 0.0]])
def test_spread_is_undefined_where_it_says_nothing(values: list[float]) -> None:
    assert summary.spread(values) is None


def test_the_centre_of_nothing_is_none() -> None:
    assert summary.centre([]) is None
    assert summary.centre([3.0, 1.0, 2.0]) == 2.0


def test_a_doubling_is_plus_one_hundred_percent() -> None:
    found = interval.change([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize(("base", "head"), [([], [1.0]), ([1.0], []), ([0.0], [1.0])])
def test_a_change_needs_positive_values_on_both_sides(base: list[float], head: list[float]) -> None:
    assert interval.change(base, head) is None


@pytest.mark.parametrize(("count", "least"), [(3, 0.9), (4, 0.95), (5, 0.95), (12, 0.95)])
def test_the_confidence_is_what_that_many_processes_can_reach(count: int, least: float) -> None:
    values = [1.0 + n / 100 for n in range(count)]
    found = interval.change(values, values)
    assert found is not None
    assert found.confidence >= least


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 5), (3, 3), (4, 4), (5, 5)])
def test_the_null_distribution_is_the_one_of_all_orderings(m: int, n: int) -> None:
    counts = [0] * (m * n + 1)
    for places in itertools.combinations(range(m + n), m):
        others = [place for place in range(m + n) if place not in places]
        counts[sum(mine > other for mine in places for other in others)] += 1
    assert interval._mann_whitney(m, n) == tuple(counts)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(7)
    trials, hits = 600, 0
    for _ in range(trials):
        base = [rng.lognormvariate(0.0, 0.05) for _ in range(5)]
        head = [rng.lognormvariate(0.1, 0.05) for _ in range(5)]
        found = interval.change(base, head)
        assert found is not None
        hits += found.low <= 1.10517 - 1 <= found.high
    stated = interval.change([1.0] * 5, [1.0] * 5)
    assert stated is not None
    assert scipy_stats.binomtest(hits, trials, stated.confidence).pvalue > 0.001


def test_one_disturbed_process_does_not_move_the_estimate_far() -> None:
    base = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98]
    found = interval.change(base, [*base[:-1], 50.0])
    assert found is not None
    assert abs(found.estimate) < 0.03


def test_many_processes_are_thinned_rather_than_refused() -> None:
    values = [1.0 + n / 1000 for n in range(200)]
    assert interval.change(values, values) is not None
