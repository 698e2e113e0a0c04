"""What will run, in which order, and how long that takes.

Cells run in rounds: each round starts every cell once in a fresh process, in a seeded order of
its own, so that a drift of the machine spreads over all cells instead of hitting the last.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench_cli.cells import Cell, PlanSettings

START_S = 0.35
"""A worker's start, imports and preparation; a typical value, for the estimate only."""
LIMIT_S = 0.06
PREPARE_FACTOR = 1.6
"""Samples take longer than their timed part: preparation, verification, the counting pass."""
TOLD_OPS = 10_000
"""Operations that the processes of a row tell the times of together: as p99.9 needs."""
LEAST_TOLD_OPS = 1_000
OPEN_CAP = 200
"""An open loop takes at most this many times the shortest sample: 10 s."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One process of one cell. ``round`` counts from 0."""

    cell: Cell
    round: int


@dataclass(frozen=True, slots=True)
class Plan:
    cells: tuple[Cell, ...]
    turns: tuple[Turn, ...]
    seed: int

    @property
    def processes(self) -> int:
        return len(self.turns)

    @property
    def estimate_s(self) -> float:
        return sum(turn_estimate_s(turn.cell) for turn in self.turns)

    @property
    def limits(self) -> tuple[str, ...]:
        """Ids of the limits measured beside the cells."""
        return tuple(sorted({limit for cell in self.cells for limit in cell.limits}))


def turn_estimate_s(cell: Cell) -> float:
    timed = (cell.plan.samples + 1) * cell.plan.min_sample_ns / 1e9
    told = _latency_s(cell.plan)
    return START_S + PREPARE_FACTOR * timed + told + LIMIT_S * len(cell.limits)


def latency_ops(plan: PlanSettings) -> int:
    """Operations per process of the latency pass, at least; 0 without one. A tenth more than
    needed: a process that is disturbed may tell fewer."""
    if not plan.latency and not plan.rate_per_s:
        return 0
    return max(LEAST_TOLD_OPS, TOLD_OPS * 11 // 10 // plan.processes + 1)


def _latency_s(plan: PlanSettings) -> float:
    if plan.rate_per_s:
        return min(latency_ops(plan) / plan.rate_per_s, OPEN_CAP * plan.min_sample_ns / 1e9)
    return PREPARE_FACTOR * plan.min_sample_ns / 1e9 if plan.latency else 0.0


def make_plan(cells: Sequence[Cell], *, seed: int) -> Plan:
    """Skipped cells get no turn; they stand in ``cells`` so that their row says why."""
    rng = random.Random(seed)
    runnable = [cell for cell in cells if cell.skip is None]
    turns: list[Turn] = []
    for number in range(max((cell.plan.processes for cell in runnable), default=0)):
        due = [cell for cell in runnable if number < cell.plan.processes]
        rng.shuffle(due)
        turns += [Turn(cell, number) for cell in due]
    return Plan(tuple(cells), tuple(turns), seed)
