"""Percentiles from log buckets: close to the exact ones, and merging is pooling."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.stats.histogram import LARGEST, PERCENTILES, Histogram, summary


def of(values: list[int]) -> Histogram:
    found = Histogram()
    found.add(values)
    return found


def exact(values: list[int], share: float) -> int:
    return int(np.quantile(np.array(values), share, method="inverted_cdf"))


VALUES = st.lists(st.integers(0, LARGEST), min_size=1, max_size=60)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from(list(PERCENTILES.values())))
def test_every_percentile_is_within_half_a_percent(values: list[int], share: float) -> None:
    found, wanted = of(values).quantile(share), exact(values, share)
    assert found == pytest.approx(wanted, rel=0.004, abs=0)


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES)
def test_merging_is_pooling(left: list[int], right: list[int]) -> None:
    merged, pooled = of(left), of(left + right)
    merged.merge(of(right))
    assert merged.as_json() == pooled.as_json()


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_what_is_stored_is_what_is_read(values: list[int]) -> None:
    stored = json.loads(json.dumps(of(values).as_json()))
    assert Histogram.from_json(stored).as_json() == of(values).as_json()


def test_a_long_tail_over_three_processes_pools_to_the_exact_percentiles() -> None:
    rng = random.Random(4)
    parts = [[int(rng.lognormvariate(7, 2)) for _ in range(5000)] for _ in range(3)]
    merged = Histogram()
    for part in parts:
        merged.merge(of(part))
    pooled = [value for part in parts for value in part]
    for share in PERCENTILES.values():
        assert merged.quantile(share) == pytest.approx(exact(pooled, share), rel=0.01)
    assert (merged.smallest, merged.largest) == (min(pooled), max(pooled))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 257, 511, 512, 10**9, LARGEST])
def test_values_at_the_edges_of_buckets_are_kept(value: int) -> None:
    assert of([value]).quantile(0.5) == value


def test_values_beyond_the_ends_are_held_at_them() -> None:
    assert of([-5, LARGEST + 5]).as_json()["min"] == 0
    assert of([LARGEST + 5]).largest == LARGEST


@pytest.mark.parametrize(
    ("count", "missing"),
    [
        (0, ["p50", "p90", "p99", "p99.9"]),
        (19, ["p50", "p90", "p99", "p99.9"]),
        (999, ["p99", "p99.9"]),
        (1000, ["p99.9"]),
        (9_999, ["p99.9"]),
        (10_000, []),
    ],
)
def test_percentiles_need_ten_operations_beyond_them(count: int, missing: list[str]) -> None:
    told = summary(of([7] * count))
    assert [name for name in PERCENTILES if told[name] is None] == missing
    assert list(told["reasons"]) == missing
    assert told["count"] == count
    if 0 < count < 10_000:
        assert told["reasons"]["p99.9"] == f"n too small: {count:,} of 10,000 operations"


@pytest.mark.parametrize(
    "changes",
    [{"buckets": [1, 2]}, {"buckets": [-1]}, {"buckets": [10**6]}, {"counts": [-1]},
     {"buckets": ["x"]}, {"counts": None}],
)  # fmt: skip
def test_a_stored_histogram_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Histogram.from_json({**of([5]).as_json(), **changes})


def test_many_values_take_no_more_room_than_few() -> None:
    few, many = of([1]), of([1])
    many.add(list(range(100_000)))
    assert many.counts.nbytes == few.counts.nbytes < 100_000
