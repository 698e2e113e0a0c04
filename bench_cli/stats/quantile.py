"""Quantiles without the ``statistics`` module, whose import is a twentieth of a worker's start."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between order statistics, so that 0 is the least value, 1 the greatest and 0.5 the
    median ("type 7" of Hyndman & Fan, Sample Quantiles in Statistical Packages, 1996)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    if below + 1 == len(ordered):
        return ordered[below]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)
