"""Tests of "no change" by signed ranks, as pure functions of log-ratios.

Without a change a log-ratio is symmetric about zero, so each sign is a fair coin whatever the sizes
are, and any scores of the sizes give an exact test (Hettmansperger & McKean, Robust Nonparametric
Statistical Methods, chapter 1). Wilcoxon's own, the ranks, take the farthest pair for the strongest
evidence. Here that often is one of which one process ran on a core at half its speed, and says
nothing; four of them among 24 pairs hide a change that the other 20 agree on. So there are two
kinds of scores, and which suits the noise of a cell is found out on pairs that are not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


class Scores(StrEnum):
    """``BOUNDED``: the half of the pairs that is farthest from zero counts alike; for noise that
    scatters evenly. ``FALLING``: of that half, the farther a pair is, the less it counts, down to
    as much as the nearest; for pairs that agree closely but for some far away."""

    BOUNDED = "bounded"
    FALLING = "falling"


@cache
def scores_of(kind: Scores, pairs: int) -> Ints:
    """From the pair nearest to zero to the farthest; each at least 1."""
    ranks = np.arange(1, pairs + 1)
    half = (pairs + 1) // 2
    beyond = half if kind is Scores.BOUNDED else np.maximum(1, half - 2 * (ranks - half))
    return np.where(ranks <= half, ranks, beyond)


@cache
def signed_rank_cdf(pairs: int) -> Floats:
    """P(W <= w) for w = 0 .. n(n+1)/2: each rank 1..n is positive with probability 1/2."""
    return _sums_cdf(np.arange(1, pairs + 1))


@cache
def _scores_cdf(kind: Scores, pairs: int) -> Floats:
    return _sums_cdf(scores_of(kind, pairs))


def _sums_cdf(scores: Ints) -> Floats:
    """P(S <= s) of the sum of those scores that are positive, each with probability 1/2."""
    chances = np.zeros(int(scores.sum()) + 1)
    chances[0] = 1.0
    for score in scores:
        shifted = np.zeros_like(chances)
        shifted[score:] = chances[:-score]
        chances = (chances + shifted) / 2
    return np.cumsum(chances)


def chance_of(ratios: Sequence[float], direction: int, kind: Scores) -> float:
    """How likely, without a change, log-ratios speak at least as much for one in that direction
    (+1 worse, -1 better): the sum of the scores that do. 1.0 of none. A zero speaks for no change,
    and of sizes that are equal those that speak for one get the lower score."""
    towards = direction * np.array(ratios, dtype=np.float64)
    sizes, speaks = np.abs(towards), towards > 0
    order = np.lexsort((~speaks, sizes))
    scores = scores_of(kind, len(towards))
    scores = scores[np.lexsort((scores, sizes[order]))]
    total = int(scores[speaks[order]].sum())
    return 1.0 - float(_scores_cdf(kind, len(towards))[total - 1]) if total else 1.0


def surest(ratios: Sequence[float], direction: int) -> tuple[float, Scores]:
    """The least chance by any scores, and by which; the first of them where they say the same. It
    is not a level of its own: having the choice makes it too small."""
    return min(((chance_of(ratios, direction, kind), kind) for kind in Scores), key=lambda f: f[0])
