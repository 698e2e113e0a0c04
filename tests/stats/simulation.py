"""Whole A/B sessions on invented processes: how often the rule is wrong under each kind of noise.

``python -m tests.stats.simulation --suites 2000`` measures the figures of docs/measurement.md;
``test_simulation.py`` runs a small, seeded part of it.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench_cli.runner.measure import RUN_SHARE
from bench_cli.stats.stages import Due, balanced_order, stages
from bench_cli.stats.verdict import Trial, Verdict, judge, log_ratios

SAMPLES = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """Spreads as coefficients of variation. ``step``: how much slower everything is in the second
    half of every stage; ``ramp``: by the end of it. ``spiked_*``: the share that takes ``spike``
    times as long. ``skew``: mean of an exponential tail per process. ``bimodal``: one process in
    five is slower by that much."""

    within: float = 0.02
    between: float = 0.0
    step: float = 0.0
    ramp: float = 0.0
    spiked_samples: float = 0.0
    spiked_processes: float = 0.0
    spike: float = 2.0
    skew: float = 0.0
    bimodal: float = 0.0


MODELS = {
    "independent, CV 2 %": Noise(),
    "between processes 2 %": Noise(between=0.02),
    "between processes 5 %": Noise(between=0.05),
    "between processes 16 %": Noise(between=0.16),
    "step of 3 % half-way": Noise(between=0.02, step=0.03),
    "step of 10 % half-way": Noise(between=0.02, step=0.10),
    "ramp of 10 %": Noise(between=0.02, ramp=0.10),
    "3 % of samples doubled": Noise(between=0.02, spiked_samples=0.03),
    "a third of samples doubled": Noise(between=0.02, spiked_samples=0.33),
    "3 % of processes doubled": Noise(between=0.02, spiked_processes=0.03),
    "a tenth of processes doubled": Noise(between=0.02, spiked_processes=0.10),
    "a fifth of processes doubled": Noise(between=0.02, spiked_processes=0.20),
    "skewed by 5 %": Noise(between=0.02, skew=0.05),
    "one process in five 10 % slower": Noise(between=0.02, bimodal=0.10),
}


def values(noise: Noise, times: Floats, rng: np.random.Generator) -> Floats:
    """One value per process; ``times`` is when each ran, 0..1 of its stage."""
    samples = np.exp(noise.within * rng.standard_normal((*times.shape, SAMPLES)))
    samples *= np.where(rng.random(samples.shape) < noise.spiked_samples, noise.spike, 1.0)
    found: Floats = np.quantile(samples, RUN_SHARE, axis=-1)
    found *= np.exp(noise.between * rng.standard_normal(times.shape))
    found *= np.exp(noise.skew * rng.standard_exponential(times.shape))
    found *= np.where(rng.random(times.shape) < noise.spiked_processes, noise.spike, 1.0)
    found *= np.where(rng.random(times.shape) < 0.2, 1.0 + noise.bimodal, 1.0)
    found *= np.where(times >= 0.5, 1.0 + noise.step, 1.0) * (1.0 + noise.ramp * times)
    return found


def run_stage(
    due: Sequence[Due], effect: float, noise: Noise, rng: np.random.Generator, order: random.Random
) -> list[list[float]]:
    """Log-ratios per cell, in rounds: each round runs one pair of every cell that is due."""
    rounds = max(one.pairs for one in due)
    cells = len(due)
    starts = np.arange(rounds)[:, None] * cells + rng.permuted(
        np.tile(np.arange(cells), (rounds, 1)), axis=1
    )
    times = (starts[..., None] * 2 + np.arange(2)) / (rounds * cells * 2)
    found = values(noise, times, rng)
    ratios = []
    for number, one in enumerate(due):
        first = np.array(balanced_order(one.pairs, order))
        pair = found[: one.pairs, number]
        base = np.where(first, pair[:, 0], pair[:, 1])
        head = np.where(first, pair[:, 1], pair[:, 0]) * (1.0 + effect)
        ratios.append(log_ratios(base.tolist(), head.tolist()))
    return ratios


@dataclass(slots=True)
class Tally:
    suites: int = 0
    red: int = 0
    """Suites with at least one regression."""
    verdicts: Counter[Verdict] = field(default_factory=Counter)

    def share(self, verdict: Verdict) -> float:
        return self.verdicts[verdict] / max(1, self.verdicts.total())

    @property
    def red_share(self) -> float:
        return self.red / max(1, self.suites)


def simulate(
    noise: Noise,
    *,
    suites: int,
    cells: int = 20,
    effect: float = 0.0,
    pairs: int = 12,
    extend: bool = False,
    limit: float = 0.03,
    seed: int = 1,
) -> Tally:
    rng, order = np.random.default_rng(seed), random.Random(seed)
    tally = Tally()
    for _ in range(suites):
        trials = [Trial(limit) for _ in range(cells)]
        for due in stages(trials, pairs=pairs, extend=extend):
            for one, ratios in zip(due, run_stage(due, effect, noise, rng, order), strict=True):
                getattr(trials[one.cell], one.purpose).extend(ratios)
        found = [judgement.verdict for judgement in judge(trials)]
        tally.suites += 1
        tally.red += Verdict.REGRESSED in found
        tally.verdicts.update(found)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--suites", type=int, default=2000)
    parser.add_argument("--extend", action="store_true", help="with pairs up to 48")
    wanted = parser.parse_args()
    write = sys.stdout.write
    write(
        f"{'noise':34}{'A/A red':>9}{'+5 % found':>12}{'as same':>9}{'+10 % found':>13}"
        f"{'all 20 cells +5 %: found':>26}{'as same':>9}\n"
    )
    for name, noise in MODELS.items():
        quiet = simulate(noise, suites=wanted.suites, extend=wanted.extend)
        five = simulate(noise, suites=wanted.suites, cells=1, effect=0.05, extend=wanted.extend)
        ten = simulate(noise, suites=wanted.suites, cells=1, effect=0.10, extend=wanted.extend)
        every = simulate(noise, suites=wanted.suites, effect=0.05, extend=wanted.extend)
        write(
            f"{name:34}{quiet.red_share:9.2%}{five.share(Verdict.REGRESSED):12.1%}"
            f"{five.share(Verdict.SAME):9.2%}{ten.share(Verdict.REGRESSED):13.1%}"
            f"{every.share(Verdict.REGRESSED):26.1%}{every.share(Verdict.SAME):9.2%}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
