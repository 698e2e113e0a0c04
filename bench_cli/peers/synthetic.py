"""An engine that does nothing on a clock that is not real: its times are drawn, not measured.

It stands in for every kind of machine, so that plans, comparisons and gates can be tried in full
without waiting for one and without luck: the same seed gives the same times.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench_cli.interfaces import Capability, Durability


@dataclass(frozen=True, slots=True)
class Noise:
    """All in thousandths. ``within``, ``between``: deviation of samples and of processes;
    ``spiked_samples``, ``spiked_processes``: how many take twice as long; ``skew``: mean of an
    exponential tail per process; ``drift``: slower per 100 processes; ``step``: slower from
    process number ``step_at`` on."""

    within: int = 0
    between: int = 0
    spiked_samples: int = 0
    spiked_processes: int = 0
    skew: int = 0
    drift: int = 0
    step: int = 0
    step_at: int = 0

    def of_process(self, number: int, rng: random.Random) -> float:
        """How many times the nominal cost an operation takes in that process of a session."""
        factor = math.exp(rng.gauss(0.0, self.between / 1000))
        factor *= math.exp(self.skew / 1000 * rng.expovariate(1.0))
        factor *= 2.0 if rng.random() < self.spiked_processes / 1000 else 1.0
        factor *= 1.0 + self.drift / 1000 * number / 100
        return factor * (1.0 + self.step / 1000 if number >= self.step_at else 1.0)

    def of_sample(self, rng: random.Random) -> float:
        spiked = rng.random() < self.spiked_samples / 1000
        return math.exp(rng.gauss(0.0, self.within / 1000)) * (2.0 if spiked else 1.0)


class Machine:
    """Operations of ``cost_ns`` on a virtual clock."""

    def __init__(self, cost_ns: float, noise: Noise, number: int, rng: random.Random) -> None:
        self._noise, self._rng = noise, rng
        self._cost_ns = cost_ns * noise.of_process(number, rng)
        self._clock_ns = 0.0
        self.done = 0
        self.next_sample()

    def now(self) -> int:
        return round(self._clock_ns)

    def work(self, ops: int) -> None:
        self._clock_ns += ops * self._cost_ns * self._factor
        self.done += ops

    def next_sample(self) -> None:
        self._factor = self._noise.of_sample(self._rng)


class Backend:
    """As fast as its parameters say."""

    name = "synthetic.clock"
    core = "python"
    capabilities: frozenset[Capability] = frozenset()
    factor = 1.0

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D0")

    def open(self, cost_ns: int, noise: Mapping[str, int], *, number: int, seed: int) -> Machine:
        """``noise``: the fields of ``Noise``. ``number`` of the process in its session; with
        ``seed`` it settles every time."""
        rng = random.Random(f"{seed}/{number}")
        return Machine(cost_ns * self.factor, Noise(**noise), number, rng)


class SlowerBackend(Backend):
    """A tenth slower, to be found out."""

    name = "synthetic.slower"
    factor = 1.1
