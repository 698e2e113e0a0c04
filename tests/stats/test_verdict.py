"""The rule of A/B verdicts: exact against other implementations, and its edges."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench_cli.stats import verdict
from bench_cli.stats.ranks import surest
from bench_cli.stats.verdict import Trial, Verdict, holm, judge, log_ratios, weigh


def noise(count: int, seed: int, *, shift: float = 0.0, deviation: float = 0.02) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(math.log1p(shift), deviation) for _ in range(count)]


@pytest.mark.parametrize("pairs", [1, 2, 5, 12])
def test_the_estimate_is_the_median_of_all_averages(pairs: int) -> None:
    values = noise(pairs, 3)
    averages = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)]
    assert weigh(values).estimate == pytest.approx(float(np.median(averages)))


def wilcoxon(values: list[float], alternative: str) -> float:
    found = scipy_stats.wilcoxon(values, alternative=alternative, method="exact")
    return float(found.pvalue)


@pytest.mark.parametrize(("pairs", "level"), [(12, 0.025), (24, 0.0025), (9, 0.005)])
def test_the_interval_leaves_out_what_the_test_rejects(pairs: int, level: float) -> None:
    values = noise(pairs, 5)
    low, high = weigh(values).bounds(level)
    just = 1e-9
    assert wilcoxon([v - (low - just) for v in values], "greater") <= level
    assert wilcoxon([v - (low + just) for v in values], "greater") > level
    assert wilcoxon([v - (high + just) for v in values], "less") <= level
    assert wilcoxon([v - (high - just) for v in values], "less") > level


def test_few_pairs_have_no_interval_rather_than_a_narrow_one() -> None:
    assert weigh([0.01, 0.02, 0.03, 0.04]).bounds(0.025) == (-math.inf, math.inf)


def test_pairs_without_any_difference_speak_for_no_change() -> None:
    assert judge([Trial(0.03, [0.0] * 12)])[0].verdict is Verdict.SAME


def test_ratios_are_positive_where_head_is_worse() -> None:
    assert log_ratios([100.0], [110.0])[0] > 0
    assert log_ratios([100.0], [110.0], higher_is_better=True)[0] < 0


def test_holm_is_stricter_the_more_there_are() -> None:
    assert holm([0.006], 0.01) == [True]
    assert holm([0.006, 0.5], 0.01) == [False, False]
    assert holm([0.009, 0.004, 0.5], 0.01) == [False, False, False]
    assert holm([0.004, 0.003, 0.001], 0.01) == [True, True, True]
    assert holm([0.02, 0.0001], 0.01) == [False, True]
    assert holm([], 0.01) == []


def trial(shift: float, *, deviation: float = 0.02, limit: float = 0.03) -> Trial:
    found = Trial(limit, noise(12, 1, shift=shift, deviation=deviation))
    if found.suspect():
        found.confirm = noise(24, 2, shift=shift, deviation=deviation)
        found.repeat = noise(24, 3, shift=shift, deviation=deviation)
    return found


@pytest.mark.parametrize(
    ("shift", "deviation", "expected"),
    [
        (0.0, 0.01, Verdict.SAME),
        (0.08, 0.02, Verdict.REGRESSED),
        (-0.08, 0.02, Verdict.IMPROVED),
        (0.0, 0.2, Verdict.UNDECIDED),
        (0.02, 0.005, Verdict.SAME),  # certain, and too small to matter
    ],
)
def test_each_verdict_has_its_case(shift: float, deviation: float, expected: Verdict) -> None:
    assert judge([trial(shift, deviation=deviation)])[0].verdict is expected


def test_a_suspect_that_was_never_confirmed_is_undecided() -> None:
    found = Trial(0.03, noise(12, 1, shift=0.08))
    assert found.suspect()
    assert judge([found])[0].verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("repeat", [[], noise(24, 3), noise(24, 3, shift=-0.08)])
def test_what_was_confirmed_and_not_repeated_is_no_change(repeat: list[float]) -> None:
    found = trial(0.08)
    assert judge([found])[0].verdict is Verdict.REGRESSED
    found.repeat = repeat
    assert judge([found])[0].verdict is Verdict.UNDECIDED


def test_a_suspicion_in_one_direction_is_not_confirmed_by_the_other() -> None:
    found = Trial(
        0.03, noise(12, 1, shift=0.08), noise(24, 2, shift=-0.08), noise(24, 3), direction=1
    )
    assert judge([found])[0].verdict is not Verdict.IMPROVED


def test_extra_pairs_confirm_nothing() -> None:
    found = Trial(0.03, noise(12, 1, shift=0.08), extra=noise(36, 2, shift=0.08), direction=1)
    assert judge([found])[0].verdict is Verdict.UNDECIDED


def test_one_pair_or_a_few_decide_nothing() -> None:
    for count in range(1, 6):
        found = Trial(0.03, [0.5] * count)
        assert not found.suspect()
        assert judge([found])[0].verdict is Verdict.UNDECIDED
    assert judge([Trial(0.03, [0.01])])[0].detectable is None


def test_spiked_processes_do_not_move_the_estimate_far() -> None:
    values = noise(12, 1)
    values[3] = values[8] = 2.0
    assert abs(weigh(values).estimate) < 0.02


def test_the_detectable_change_is_found_four_times_in_five() -> None:
    deviation = 0.03
    told = [verdict.detectable(weigh(noise(12, seed, deviation=deviation))) for seed in range(200)]
    change = math.log1p(float(np.median([one for one in told if one is not None])))
    found = sum(
        2 * surest(values, 1)[0] < verdict.SCREEN_LEVEL
        for values in (
            [change + v for v in noise(12, 1000 + seed, deviation=deviation)] for seed in range(400)
        )
    )
    assert 0.72 < found / 400 < 0.9


def test_more_noise_needs_more_pairs() -> None:
    quiet, loud = judge([trial(0.0, deviation=0.05), trial(0.0, deviation=0.1)])
    first, second = verdict.pairs_to_decide(quiet), verdict.pairs_to_decide(loud)
    assert first is not None
    assert second is not None
    assert second > 3 * first > 36
