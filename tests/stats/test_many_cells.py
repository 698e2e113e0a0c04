"""Results of thousands of rows: judged together as they would be one by one, with work that does
not grow where C can do it."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli import results
from bench_cli.report.comparison import Compared, render
from bench_cli.stats import verdict
from bench_cli.stats.compare import compare
from bench_cli.stats.ranks import chance_of
from bench_cli.stats.verdict import (
    CONFIRM_LEVEL,
    REPEAT_LEVEL,
    SAME_LEVEL,
    Evidence,
    Judgement,
    Trial,
    Verdict,
    detectable,
    holm,
    judge,
)
from tests import big_results

# --- one by one ------------------------------------------------------------------------------


def weigh_slowly(ratios: list[float]) -> Evidence:
    averages = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(ratios, 2)]
    return Evidence(len(ratios), np.array(sorted(averages)))


def chance_for(trial: Trial, pairs: list[float]) -> float | None:
    if not trial.direction or not pairs:
        return 1.0 if trial.direction else None
    return chance_of(pairs, trial.direction, trial.scores())


def judge_slowly(trials: list[Trial]) -> list[Judgement]:
    """The rule of ``judge``, one cell after the other."""
    chances = [chance_for(trial, trial.confirm) for trial in trials]
    passed = iter(holm([chance for chance in chances if chance is not None], CONFIRM_LEVEL))
    found = []
    for trial, chance in zip(trials, chances, strict=True):
        sure = chance is not None and next(passed)
        again = chance_for(trial, trial.repeat)
        sure = sure and again is not None and again <= REPEAT_LEVEL
        evidence, limit = weigh_slowly(trial.pairs), math.log1p(trial.limit)
        told = Verdict.UNDECIDED
        if sure and trial.direction * evidence.estimate > limit:
            told = Verdict.REGRESSED if trial.direction > 0 else Verdict.IMPROVED
        elif evidence.bounds(SAME_LEVEL)[1] < limit:
            told = Verdict.SAME
        low, high = (None if math.isinf(b) else math.expm1(b) for b in evidence.bounds(0.025))
        found.append(Judgement(told, math.expm1(evidence.estimate), low, high, evidence.pairs,
                               detectable(evidence), trial.limit, chance))  # fmt: skip
    return found


RATIOS = st.one_of(
    st.floats(-0.2, 0.2, allow_subnormal=False),
    st.sampled_from([0.0, 0.03, 0.1, -0.1]),  # ties, and no difference at all
)


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    shift = draw(st.sampled_from([0.0, 0.0, 0.01, 0.1, -0.1]))

    def pairs(least: int, most: int) -> list[float]:
        return [shift + one for one in draw(st.lists(RATIOS, min_size=least, max_size=most))]

    return Trial(
        draw(st.sampled_from([0.03, 0.1])),
        pairs(1, 12),
        pairs(0, 24),
        pairs(0, 12),
        pairs(0, 3),
        draw(st.sampled_from([-1, 0, 1])),
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(trials(), max_size=12), st.sampled_from([1, 100, 1 << 17]))
def test_cells_judged_together_get_the_verdicts_of_cells_judged_one_by_one(
    given_trials: list[Trial], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verdict, "_BLOCK", block)
        assert judge(given_trials) == judge_slowly(given_trials)


def test_every_verdict_is_among_those_of_many_cells() -> None:
    rng = np.random.default_rng(7)
    many = []
    for shift, deviation, direction in ((0.0, 0.01, 0), (0.1, 0.02, 1), (-0.1, 0.02, -1),
                                        (0.0, 0.3, 0), (0.0, 0.02, 1)) * 10:  # fmt: skip
        values = rng.normal(shift, deviation, 60).tolist()
        more = (values[12:36], values[36:]) if direction else ([], [])
        many.append(Trial(0.03, values[:12], *more, direction=direction))
    found = judge(many)
    assert found == judge_slowly(many)
    assert {one.verdict for one in found} == set(Verdict)


# --- the work --------------------------------------------------------------------------------


def test_cells_of_as_many_pairs_are_weighed_in_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_at_once = []
    sort = np.sort

    def counting(values: Any, **options: Any) -> Any:
        sorted_at_once.append(len(values))
        return sort(values, **options)

    monkeypatch.setattr(np, "sort", counting)
    judge([Trial(0.03, [0.01 * n] * (12 + 24 * (n % 2))) for n in range(300)])
    assert sum(sorted_at_once) == 300
    assert len(sorted_at_once) <= 3


def python_calls(work: Callable[[], object]) -> int:
    """How many functions written in Python ``work`` calls."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def calls_to_read(folder: Path, cells: int, pairs: int, samples: int) -> int:
    [path, _] = big_results.write(folder, "a", big_results.session(cells, pairs, samples))
    results.read(path)  # what is looked up once is looked up now
    return python_calls(lambda: results.read(path))


def test_reading_calls_no_function_per_number(tmp_path: Path) -> None:
    few = calls_to_read(tmp_path, cells=10, pairs=6, samples=1)
    assert calls_to_read(tmp_path, cells=10, pairs=36, samples=1) == few
    assert calls_to_read(tmp_path, cells=10, pairs=6, samples=30) == few


def test_reading_calls_a_bounded_number_of_functions_per_row(tmp_path: Path) -> None:
    ten, thirty = (calls_to_read(tmp_path, cells, pairs=12, samples=3) for cells in (10, 30))
    assert (thirty - ten) / 20 <= 120


def test_comparing_and_telling_call_a_bounded_number_of_functions_per_row() -> None:
    def calls(cells: int) -> int:
        base, head = big_results.session(cells, pairs=36, samples=1)
        return python_calls(lambda: render(Compared(compare(base, head, []), ("a", "b")), 80))

    calls(10)
    assert (calls(300) - calls(200)) / 100 <= 110


def test_a_session_of_many_cells_finds_those_that_are_slower() -> None:
    base, head = big_results.session(200, pairs=36, samples=1)
    found = compare(base, head, [])
    slower = {row.id for row in found.rows if row.verdict is Verdict.REGRESSED}
    assert slower == {base.results[99].id, base.results[199].id}
    assert found.counts()[Verdict.SAME] > 150
