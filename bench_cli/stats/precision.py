"""How well a row is known so far: what decides where a budget's time goes, and when it is enough.

The half-width of Student's interval for the mean of the processes. It serves for sharing time
only: no verdict is taken from it, so looking at it after every process costs no error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from statistics import median, stdev

# The 97.5 % points of Student's t for 1, 2, 3 ... degrees of freedom; beyond, the first two terms
# of the expansion around the normal (Abramowitz & Stegun 26.7.5) are right to three digits.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def relative_half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval, as a fraction of the median. Infinite for fewer than two values; 0
    where the median is 0, because nothing relative to it can be told."""
    if len(values) < 2:
        return inf
    middle = median(values)
    if middle == 0:
        return 0.0
    return _t(len(values) - 1) * stdev(values) / sqrt(len(values)) / abs(middle)


def _t(freedom: int) -> float:
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = 1.959964
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return z + (z**3 + z) / (4 * freedom) + second
