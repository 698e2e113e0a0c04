"""Which cells get how many pairs next: screen all, confirm suspects, look again where it helps,
and have what was confirmed repeated.

How many pairs a stage has is settled before it begins; nothing looks at significance in order to
stop, so that more time never means more false alarms.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench_cli.stats.verdict import (
    CONFIRM_PAIRS,
    MOST_PAIRS,
    REPEAT_PAIRS,
    SCREEN_PAIRS,
    Trial,
    Verdict,
    confirmed,
    judge,
)

SCREEN, CONFIRM, REPEAT, EXTRA = "screen", "confirm", "repeat", "extra"


@dataclass(frozen=True, slots=True)
class Due:
    """``pairs`` more pairs of one cell, to be added to its trial's list of that name."""

    cell: int
    pairs: int
    purpose: str


def stages(
    trials: Sequence[Trial], *, pairs: int = SCREEN_PAIRS, gates: bool = True, extend: bool = False
) -> Iterator[list[Due]]:
    """Yields stages that are not empty; the caller runs each and adds its log-ratios to the
    trials before asking for the next. ``gates``: whether suspects are confirmed, what was confirmed
    is repeated, and undecided cells that are worth it are screened on. ``extend``: whether all
    undecided cells get more pairs, up to ``MOST_PAIRS``."""
    everything = range(len(trials))
    yield from _stage(trials, dict.fromkeys(everything, pairs), SCREEN)
    if not gates:
        return
    suspects = [n for n in everything if trials[n].screen and trials[n].suspect()]
    yield from _stage(trials, _to_confirm(trials, suspects), CONFIRM)
    quiet = _undecided(
        trials, lambda trial: not trial.direction and (extend or trial.worth_more_pairs())
    )
    more = MOST_PAIRS - CONFIRM_PAIRS - pairs
    yield from _stage(trials, dict.fromkeys(quiet, more), SCREEN)
    late = [n for n in quiet if trials[n].suspect()]
    yield from _stage(trials, _to_confirm(trials, late), CONFIRM)
    yield from _stage(trials, dict.fromkeys(confirmed(trials), REPEAT_PAIRS), REPEAT)
    if not extend:
        return
    left = _undecided(trials, lambda trial: len(trial.pairs) < MOST_PAIRS)
    yield from _stage(trials, {n: MOST_PAIRS - len(trials[n].pairs) for n in left}, EXTRA)


def _stage(trials: Sequence[Trial], pairs: Mapping[int, int], purpose: str) -> Iterator[list[Due]]:
    """``pairs`` by the number of the cell."""
    due = [
        Due(number, more, purpose)
        for number, more in pairs.items()
        if more > 0 and not trials[number].over
    ]
    if due:
        yield due


def _to_confirm(trials: Sequence[Trial], suspects: Sequence[int]) -> dict[int, int]:
    return {number: trials[number].confirm_pairs() for number in suspects}


def _undecided(trials: Sequence[Trial], wanted: Callable[[Trial], bool]) -> list[int]:
    known = [n for n, trial in enumerate(trials) if trial.pairs]
    judged = zip(known, judge([trials[n] for n in known]), strict=True)
    undecided = [n for n, found in judged if found.verdict is Verdict.UNDECIDED]
    return [n for n in undecided if not trials[n].over and wanted(trials[n])]


def balanced_order(pairs: int, rng: random.Random) -> list[bool]:
    """For each pair whether base runs first: in blocks of ABBA or BAAB, so that a drift hits both
    sides alike and nobody can align with the order."""
    order: list[bool] = []
    while len(order) < pairs:
        first = rng.random() < 0.5
        order += [first, not first]
    return order[:pairs]
