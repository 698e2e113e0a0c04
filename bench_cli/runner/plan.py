"""What will run, in which order, and how long that takes.

Cells run in rounds: each round starts every cell once in a fresh process, in a seeded order of
its own, so that a drift of the machine spreads over all cells instead of hitting the last.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench_cli.cells import Cell

START_S = 0.35
"""A worker's start, imports and preparation; a typical value, for the estimate only."""
LIMIT_S = 0.06
PREPARE_FACTOR = 1.6
"""Samples take longer than their timed part: preparation, verification, the counting pass."""


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
    return START_S + PREPARE_FACTOR * timed + LIMIT_S * len(cell.limits)


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
