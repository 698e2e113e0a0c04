"""How much slower or faster, with an interval: two independent groups of processes.

The estimate is Hodges-Lehmann's: the median of all pairwise log-ratios. Its interval comes from
the exact null distribution of the Mann-Whitney statistic (Hollander & Wolfe, Nonparametric
Statistical Methods, 4.3), so that a single disturbed process cannot widen it without bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

CONFIDENCE = 0.95
_MOST = 30  # processes per side that enter the exact distribution; more are thinned


@dataclass(frozen=True, slots=True)
class Change:
    """``head`` over ``base`` as fractions: 0.1 is 10 % more. ``confidence`` is what the interval
    reaches; small groups cannot reach 95 % even with their whole range."""

    estimate: float
    low: float
    high: float
    confidence: float


def change(base: Sequence[float], head: Sequence[float]) -> Change | None:
    """None unless both sides have a value and all values are positive."""
    if not base or not head or min(*base, *head) <= 0:
        return None
    base, head = _thin(base), _thin(head)
    ratios = sorted(math.log(h / b) for b in base for h in head)
    cut, confidence = _cut(len(base), len(head))
    return Change(
        math.expm1(median(ratios)),
        math.expm1(ratios[cut]),
        math.expm1(ratios[len(ratios) - 1 - cut]),
        confidence,
    )


def _thin(values: Sequence[float]) -> Sequence[float]:
    step = math.ceil(len(values) / _MOST)
    return values[::step]


@cache
def _cut(m: int, n: int) -> tuple[int, float]:
    """How many of the sorted pairwise differences to leave out at each end so that the interval
    still covers ``CONFIDENCE``, and what it covers."""
    counts = _mann_whitney(m, n)
    total = sum(counts)
    below, cut = 0, 0
    while 1 - 2 * (below + counts[cut]) / total >= CONFIDENCE:
        below += counts[cut]
        cut += 1
    # The interval from the cut-th to the cut-th last difference misses with probability
    # P(U <= cut - 1) at each end, and the outermost differences (cut 0) still miss P(U = 0).
    return (cut - 1, 1 - 2 * below / total) if cut else (0, 1 - 2 * counts[0] / total)


@cache
def _mann_whitney(m: int, n: int) -> tuple[int, ...]:
    """How many of the orderings of m and n values have U = 0, 1, ... m*n."""
    if m == 0 or n == 0:
        return (1,)
    counts = [0] * (m * n + 1)
    for u, number in enumerate(_mann_whitney(m - 1, n)):
        counts[u + n] += number
    for u, number in enumerate(_mann_whitney(m, n - 1)):
        counts[u] += number
    return tuple(counts)
