"""The highest rate at which a row keeps a promise on its response, such as "p99<=1ms".

Each trial is a fresh process with an open loop at one rate. A rate holds when the percentile is
within its limit and the rate was kept, in two trials of at most three: at the edge one trial is a
coin. From a first guess the rate is quadrupled or quartered until one rate holds and another does
not; halving the ratio between them then goes on to 5 %.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from bench_cli.errors import UsageError
from bench_cli.runner.latency import KEPT, busy
from bench_cli.runner.plan import OPEN_CAP
from bench_cli.stats.histogram import BEYOND, PERCENTILES
from bench_cli.units import UnitError, format_time, parse_time, shorten

FIRST = 10_000
HIGHEST = 100_000_000
STEP = 4
CLOSE = 1.05
"""A search ends when the rate that fails is within this of the one that holds."""
SHORTEST_S = 0.25
"""A trial at a high rate: long enough for what comes now and then to come."""
SECOND = 1_000_000_000
_GOAL = re.compile(r"\s*([a-z0-9.]{1,10})\s*<=\s*(\S.*)")


class BadGoal(UsageError):
    """Text that is no promise on a percentile."""

    slug = "goal"


@dataclass(frozen=True, slots=True)
class Goal:
    """``percentile`` of the response, at most ``limit_ns``."""

    percentile: str
    limit_ns: int

    def __str__(self) -> str:
        return f"{self.percentile}<={format_time(self.limit_ns)}"

    @property
    def needed(self) -> int:
        """Operations below which the percentile is not told."""
        return round(BEYOND / (1 - PERCENTILES[self.percentile]))

    def ops(self, rate_per_s: int) -> int:
        """Of one trial."""
        return max(2 * self.needed, int(rate_per_s * SHORTEST_S))

    def lowest_rate(self, min_sample_ns: int) -> int:
        """Below it a trial ends at its cap of time before the percentile can be told."""
        return max(1, -(-self.needed * SECOND // (OPEN_CAP * min_sample_ns)))


def parse_goal(text: str) -> Goal:
    """``p99<=1ms``. Raises BadGoal."""
    found = _GOAL.fullmatch(text)
    if found is None:
        raise BadGoal(f"{shorten(text)} is not PERCENTILE<=TIME, as in p99<=1ms")
    if found[1] not in PERCENTILES:
        raise BadGoal(f"no percentile {shorten(found[1])}; known: {', '.join(PERCENTILES)}")
    try:
        limit = parse_time(found[2])
    except UnitError as error:
        raise BadGoal(f"{shorten(text)}: {error.message}") from None
    if not limit:
        raise BadGoal(f"{shorten(text)}: nothing takes no time")
    return Goal(found[1], limit)


@dataclass(frozen=True, slots=True)
class Trial:
    """One process at one rate. ``told``: its latencies as they stand in a row."""

    rate_per_s: int
    told: Mapping[str, Any]

    def value_ns(self, goal: Goal) -> float | None:
        value: float | None = self.told["response"][goal.percentile]
        return value

    def kept(self) -> bool:
        achieved = self.told["achieved_per_s"]
        return achieved is not None and achieved >= KEPT * self.rate_per_s

    def holds(self, goal: Goal) -> bool:
        value = self.value_ns(goal)
        return value is not None and value <= goal.limit_ns and self.kept()

    def why_not(self, goal: Goal) -> str | None:
        """None when it holds."""
        value = self.value_ns(goal)
        if not self.kept():
            return f"{self.told['achieved_per_s'] or 0:,.0f}/s kept"
        if value is None:
            return str(self.told["response"]["reasons"][goal.percentile])
        if value <= goal.limit_ns:
            return None
        blame = ", machine busy" if busy(self.told) else ""
        return f"{goal.percentile} {value / 1e6:.3g} ms{blame}"


@dataclass(slots=True)
class Search:
    """What is known of one row so far."""

    goal: Goal
    try_rate: Callable[[int], Trial]
    trials: list[Trial] = field(default_factory=list)
    holds: int | None = None
    fails: int | None = None

    def run(self, lowest: int) -> None:
        """Narrow ``holds`` and ``fails`` down; ``holds`` stays None when even ``lowest`` fails,
        ``fails`` when even HIGHEST holds."""
        self._bracket(max(FIRST, lowest), lowest)
        while self.holds and self.fails and self.fails > CLOSE * self.holds:
            middle = round(sqrt(self.holds * self.fails))
            if not self.holds < middle < self.fails:
                return
            self._judge(middle)

    def _bracket(self, rate: int, lowest: int) -> None:
        while self._judge(rate):
            if rate >= HIGHEST or self.fails is not None:
                return
            rate = min(rate * STEP, HIGHEST)
        while self.holds is None and rate > lowest:
            rate = max(rate // STEP, lowest)
            self._judge(rate)

    def _judge(self, rate: int) -> bool:
        """Two trials that agree, or the majority of three."""
        found = [self._try(rate), self._try(rate)]
        if found[0] != found[1]:
            found.append(self._try(rate))
        held = sum(found) >= 2
        if held:
            self.holds = rate
        else:
            self.fails = rate
        return held

    def _try(self, rate: int) -> bool:
        trial = self.try_rate(rate)
        self.trials.append(trial)
        return trial.holds(self.goal)

    def why_fails(self) -> str | None:
        """Of the last trial that failed at ``fails``."""
        told = [t.why_not(self.goal) for t in self.trials if t.rate_per_s == self.fails]
        return next((why for why in reversed(told) if why is not None), None)
