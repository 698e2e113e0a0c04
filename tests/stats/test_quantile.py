"""Quantiles, against the standard library's."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from bench_cli.stats.quantile import quantile

VALUES = st.lists(st.integers(-(10**12), 10**12), min_size=2, max_size=40)


@given(VALUES)
def test_the_middle_quantile_is_the_median(values: list[int]) -> None:
    assert quantile(values, 0.5) == statistics.median(values)


@given(VALUES)
def test_quarters_are_those_of_the_standard_library(values: list[int]) -> None:
    found = [quantile(values, share) for share in (0.25, 0.5, 0.75)]
    assert found == statistics.quantiles(values, n=4, method="inclusive")


@given(VALUES)
def test_the_ends_are_the_least_and_the_greatest(values: list[int]) -> None:
    assert (quantile(values, 0.0), quantile(values, 1.0)) == (min(values), max(values))
