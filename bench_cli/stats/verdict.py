"""Did it get slower? The rule, as pure functions of log-ratios.

Base and head run as pairs of fresh processes, one right after the other, in balanced order (AB as
often as BA). Each pair gives one log-ratio; processes, not samples, are the independent values.
Under "no change" a log-ratio is symmetric about zero whatever the noise looks like, which is all
that the tests of ``ranks.py`` and the Hodges-Lehmann estimate ask for (Hollander & Wolfe,
Nonparametric Statistical Methods, 3.1-3.3). Estimate and interval come from the Walsh averages,
which a few disturbed processes cannot move far.

Three stages, because correcting for all cells at once would spend the alarm budget on cells where
nothing happens: every cell is *screened*; only suspects get fresh pairs, and are judged on these
alone with Holm's correction over the suspects. The screened pairs may so be looked at freely: they
also tell which scores suit a cell's noise and how many fresh pairs it needs. However many cells
are screened, the chance that any unchanged one passes is below ``CONFIRM_LEVEL``. A gate is asked
a hundred times a month, so whoever passes must *repeat* it on fresh pairs once more, which few
unchanged ones do: about ``CONFIRM_LEVEL`` times ``REPEAT_LEVEL`` remains. To ask for that level in
one stage would cost more pairs of every suspect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench_cli.stats.ranks import Floats, Scores, chance_of, signed_rank_cdf, surest

SCREEN_PAIRS = 12
CONFIRM_PAIRS = 24
"""Twice as many where the screened pairs scatter so that they would not show ``WORTH`` times the
limit."""
REPEAT_PAIRS = 24
MOST_PAIRS = 48
WORTH = 2
"""A cell that scatters so that even ``MOST_PAIRS`` would not show this many times its limit is not
screened on: no number of pairs that anybody waits for would decide it."""
SCREEN_LEVEL = 0.05
"""Two-sided, uncorrected, by either scores."""
SUSPECT_SHARE = 0.5
"""A suspect's estimate is beyond this share of the smallest effect that matters."""
CONFIRM_LEVEL = 0.01
"""Over all suspects together, each one-sided in the direction it was suspected of."""
REPEAT_LEVEL = 0.1
"""Of each cell that was confirmed, one-sided in the same direction."""
SAME_LEVEL = 0.01
"""One-sided, of the upper bound that must lie below the limit. Stricter than the interval that is
shown, because a cell may be looked at up to four times while pairs are added."""
_SHOWN_LEVEL = 0.025  # one-sided, of the interval that is printed: 95 % in all
_POWER = 0.8  # a change is "detectable" when it would be found this often
_NORMAL = NormalDist()
_BLOCK = 1 << 17  # Walsh averages: 1 MiB, which stays in a core's cache


class Verdict(StrEnum):
    """In the order in which rows are shown."""

    REGRESSED = "regressed"
    IMPROVED = "improved"
    UNDECIDED = "undecided"
    SAME = "same"


# --- evidence --------------------------------------------------------------------------------


@cache
def _cut(pairs: int, level: float) -> int:
    """How many Walsh averages lie outside the interval at each end; -1 when so few pairs cannot
    reach ``level`` even with their whole range."""
    return int(np.searchsorted(signed_rank_cdf(pairs), level, side="right")) - 1


@cache
def _upper_triangle(pairs: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.triu_indices(pairs)
    return rows, columns


@dataclass(frozen=True, slots=True)
class Evidence:
    """What log-ratios say; a positive one means worse. ``walsh``: the averages of all pairs of
    them, sorted."""

    pairs: int
    walsh: Floats

    @property
    def estimate(self) -> float:
        """Hodges-Lehmann's: the median of the Walsh averages."""
        middle = len(self.walsh) // 2
        if len(self.walsh) % 2:
            return float(self.walsh[middle])
        return float(self.walsh[middle - 1] + self.walsh[middle]) / 2

    def bounds(self, level: float) -> tuple[float, float]:
        """The interval that misses the truth with at most ``level`` at each end; infinite where
        the pairs are too few for that."""
        cut = _cut(self.pairs, level)
        if cut < 0:
            return -math.inf, math.inf
        return float(self.walsh[cut]), float(self.walsh[len(self.walsh) - 1 - cut])

    def deviation(self) -> float:
        """Standard deviation of the estimate, from the width of the widest interval up to 95 %."""
        cut, deviations = _widest(self.pairs)
        if not deviations:
            return math.inf
        width = float(self.walsh[len(self.walsh) - 1 - cut] - self.walsh[cut])
        return width / 2 / deviations


@cache
def _widest(pairs: int) -> tuple[int, float]:
    """Of the widest interval up to 95 %: its cut, and half its width in standard deviations of the
    estimate; 0.0 for a single pair, which says nothing about spread."""
    cut = max(0, _cut(pairs, _SHOWN_LEVEL))
    outside = float(signed_rank_cdf(pairs)[cut])
    return cut, 0.0 if outside >= 0.5 else -_NORMAL.inv_cdf(outside)


def weigh(ratios: Sequence[float]) -> Evidence:
    """At least one log-ratio."""
    [(_, evidence)] = weigh_all([ratios])
    return evidence


def weigh_all(cells: Sequence[Sequence[float]]) -> Iterator[tuple[int, Evidence]]:
    """Each cell's number with its evidence; every cell has at least one log-ratio. Cells of as many
    pairs are weighed together, some ``_BLOCK`` averages at a time, so they come in another order.
    An evidence keeps its whole block in memory."""
    by_pairs: dict[int, list[int]] = {}
    for number, ratios in enumerate(cells):
        by_pairs.setdefault(len(ratios), []).append(number)
    for pairs, numbers in by_pairs.items():
        rows, columns = _upper_triangle(pairs)
        step = max(1, _BLOCK // len(rows))
        for block in (numbers[at : at + step] for at in range(0, len(numbers), step)):
            values = np.array([cells[number] for number in block], dtype=np.float64)
            averages = np.sort((values[:, rows] + values[:, columns]) / 2, axis=1)
            for number, walsh in zip(block, averages, strict=True):
                yield number, Evidence(pairs, walsh)


def log_ratios(
    base: Sequence[float], head: Sequence[float], *, higher_is_better: bool = False
) -> list[float]:
    """One per pair, positive where head is worse. Both sides hold the pairs in the same order;
    values are positive."""
    sign = -1.0 if higher_is_better else 1.0
    return [sign * math.log(h / b) for b, h in zip(base, head, strict=True)]


# --- judging ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Trial:
    """The log-ratios of one cell. ``limit``: the smallest change that matters, as a fraction.
    ``confirm`` holds only pairs that ran after the cell had become a suspect, in the number that
    was fixed then, ``repeat`` those that ran after it was confirmed; ``extra`` pairs narrow the
    interval and confirm nothing. ``direction``: +1 suspected worse, -1 suspected better, 0 no
    suspect."""

    limit: float
    screen: list[float] = field(default_factory=list)
    confirm: list[float] = field(default_factory=list)
    repeat: list[float] = field(default_factory=list)
    extra: list[float] = field(default_factory=list)
    direction: int = 0
    over: bool = False
    """No further pair of this cell can run: one of its sides failed."""

    @property
    def pairs(self) -> list[float]:
        return [*self.screen, *self.confirm, *self.repeat, *self.extra]

    def worth_more_pairs(self) -> bool:
        """Whether it leans to the worse, significant or not, or is quiet enough that the most
        pairs would make ``WORTH`` times its limit detectable."""
        evidence, limit = weigh(self.pairs), math.log1p(self.limit)
        if evidence.estimate > SUSPECT_SHARE * limit:
            return True
        found = detectable(evidence)
        return found is not None and (
            math.log1p(found) * math.sqrt(evidence.pairs / MOST_PAIRS) <= WORTH * limit
        )

    def suspect(self) -> bool:
        """Look at the screened pairs and remember the direction."""
        evidence = weigh(self.screen)
        beyond = abs(evidence.estimate) > SUSPECT_SHARE * math.log1p(self.limit)
        towards = 1 if evidence.estimate > 0 else -1
        suspected = beyond and 2 * surest(self.screen, towards)[0] < SCREEN_LEVEL
        self.direction = towards if suspected else 0
        return suspected

    def confirm_pairs(self) -> int:
        """How many a suspect gets."""
        found = detectable(weigh(self.screen))
        loud = found is None or found > WORTH * self.limit
        return (2 if loud else 1) * CONFIRM_PAIRS

    def scores(self) -> Scores:
        """Those that showed a suspect's change best when it was screened."""
        return surest(self.screen, self.direction)[1]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reasons. Changes are fractions of base, positive = worse. ``low`` and
    ``high``: 95 %, None where so few pairs cannot tell. ``detectable``: the smallest change that
    would be found four times in five; None after a single pair."""

    verdict: Verdict
    estimate: float
    low: float | None
    high: float | None
    pairs: int
    detectable: float | None
    limit: float
    chance: float | None = None
    """One-sided, of the confirming pairs without a change; None for cells never suspected."""


def judge(trials: Sequence[Trial]) -> list[Judgement]:
    """All cells of a session together: Holm's correction is over its suspects."""
    chances = _chances(trials, _suspects(trials), "confirm")
    repeats = _chances(trials, _passed(chances), "repeat")
    sure = {number for number, chance in repeats.items() if chance <= REPEAT_LEVEL}
    found = {
        number: _judgement(trials[number], evidence, chances.get(number), number in sure)
        for number, evidence in weigh_all([trial.pairs for trial in trials])
    }
    return [found[number] for number in range(len(trials))]


def confirmed(trials: Sequence[Trial]) -> list[int]:
    """The suspects whose confirming pairs say the same as those that were screened."""
    return _passed(_chances(trials, _suspects(trials), "confirm"))


def _suspects(trials: Sequence[Trial]) -> list[int]:
    return [number for number, trial in enumerate(trials) if trial.direction]


def _passed(chances: Mapping[int, float]) -> list[int]:
    passed = holm(list(chances.values()), CONFIRM_LEVEL)
    return [number for number, good in zip(chances, passed, strict=True) if good]


def _chances(trials: Sequence[Trial], numbers: Sequence[int], purpose: str) -> dict[int, float]:
    """Of each of these suspects, the chance of its pairs of that purpose without a change."""
    return {
        number: chance_of(getattr(trial, purpose), trial.direction, trial.scores())
        for number in numbers
        for trial in (trials[number],)
    }


def holm(chances: Sequence[float], level: float) -> list[bool]:
    """Which of the tests pass so that any false one among them has at most ``level``."""
    passed = [False] * len(chances)
    order = sorted(range(len(chances)), key=chances.__getitem__)
    for rank, number in enumerate(order):
        if chances[number] > level / (len(chances) - rank):
            break
        passed[number] = True
    return passed


def _judgement(trial: Trial, evidence: Evidence, chance: float | None, sure: bool) -> Judgement:
    low, high = evidence.bounds(_SHOWN_LEVEL)
    return Judgement(
        verdict=_verdict(trial, evidence, sure),
        estimate=math.expm1(evidence.estimate),
        low=None if math.isinf(low) else math.expm1(low),
        high=None if math.isinf(high) else math.expm1(high),
        pairs=evidence.pairs,
        detectable=detectable(evidence),
        limit=trial.limit,
        chance=chance,
    )


def _verdict(trial: Trial, evidence: Evidence, sure: bool) -> Verdict:
    limit = math.log1p(trial.limit)
    if sure and trial.direction * evidence.estimate > limit:
        return Verdict.REGRESSED if trial.direction > 0 else Verdict.IMPROVED
    if evidence.bounds(SAME_LEVEL)[1] < limit:
        return Verdict.SAME
    return Verdict.UNDECIDED


def detectable(evidence: Evidence) -> float | None:
    """The change that pairs like these would tell from none at the screening level four times in
    five, as a fraction; None where one pair says nothing about spread."""
    deviation = evidence.deviation()
    if math.isinf(deviation):
        return None
    return math.expm1(deviation * (_NORMAL.inv_cdf(_POWER) - _NORMAL.inv_cdf(SCREEN_LEVEL / 2)))


def pairs_to_decide(judgement: Judgement) -> int | None:
    """About how many pairs would make the limit itself detectable; None where that is unknown."""
    if judgement.detectable is None or judgement.limit <= 0:
        return None
    ratio = math.log1p(judgement.detectable) / math.log1p(judgement.limit)
    return max(judgement.pairs + 1, math.ceil(judgement.pairs * ratio**2))
