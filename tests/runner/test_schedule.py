"""Where a budget's time goes, under a clock that moves one second per process."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from math import inf
from statistics import median
from typing import Any

import pytest
from scipy import stats

from bench_cli.runner.assemble import Outcome
from bench_cli.runner.plan import make_plan
from bench_cli.runner.schedule import MOST_PROCESSES, budgeted
from bench_cli.stats.precision import relative_half_width
from tests.runner.test_run import cell


def answer(ns: float) -> dict[str, Any]:
    return {"ok": True, "cell": {"time_ns": [ns], "ops": 1, "batches": 1}, "limits": {}}


def shared(noise: dict[str, float], budget_s: float, took_s: float = 1.0) -> list[str]:
    """The cells in the order they ran, each with its coefficient of variation."""
    plan = make_plan([cell(name) for name in noise], seed=1)
    outcomes = {one.id: Outcome(one) for one in plan.cells}
    rng, ran = random.Random(5), list[str]()
    for turn in budgeted(plan, outcomes, budget_s, lambda: took_s * len(ran)):
        assert turn.round == len(outcomes[turn.cell.id].answers)
        ran.append(turn.cell.id)
        outcomes[turn.cell.id].add(answer(rng.gauss(100, 100 * noise[turn.cell.id])), took_s)
    return ran


def test_every_cell_runs_once_before_any_runs_twice() -> None:
    ran = shared({"a": 0.5, "b": 0.0, "c": 0.1}, 8)
    assert sorted(ran[:3]) == ["a", "b", "c"]
    assert len(ran) == 8


def test_time_goes_where_the_interval_is_widest() -> None:
    counts = Counter(shared({"wide": 0.2, "narrow": 0.005}, 20))
    assert counts["wide"] > 2 * counts["narrow"] >= 6


def test_precise_rows_end_the_run_early_but_not_below_their_plan() -> None:
    assert Counter(shared({"a": 0.0, "b": 0.0}, 1000)) == {"a": 3, "b": 3}


def test_a_row_that_stays_wide_does_not_take_for_ever() -> None:
    assert Counter(shared({"a": 0.5}, 1000)) == {"a": MOST_PROCESSES}


def test_no_cell_takes_two_turns_in_a_row_while_another_waits() -> None:
    ran = shared({"a": 0.5, "b": 0.4}, 20)
    assert all(one != other for one, other in itertools.pairwise(ran))


def test_a_process_that_would_not_end_in_time_is_not_started() -> None:
    assert len(shared({"a": 0.5}, 10.5, took_s=2.0)) == 5


def test_a_failed_cell_gets_nothing_more() -> None:
    plan = make_plan([cell("a")], seed=1)
    outcomes = {"a": Outcome(plan.cells[0])}
    turns = budgeted(plan, outcomes, 10, lambda: 0)
    next(turns)
    outcomes["a"].add({"ok": False, "reason": "killed", "limits": {}}, 1.0)
    assert list(turns) == []


@pytest.mark.parametrize("count", [2, 3, 5, 11, 12, 30])
def test_the_half_width_is_students(count: int) -> None:
    values = [100 + (7 * index) % 11 for index in range(count)]
    low, high = stats.t.interval(0.95, count - 1, 0, stats.sem(values))
    wanted = (high - low) / 2 / median(values)
    assert relative_half_width(values) == pytest.approx(wanted, rel=0.001)


def test_the_half_width_of_one_value_is_infinite_and_of_nothing_zero() -> None:
    assert relative_half_width([5.0]) == inf
    assert relative_half_width([0.0, 0.0]) == 0
