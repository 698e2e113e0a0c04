"""The exact tests against the enumeration of all signs, and what each kind of scores is for."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench_cli.stats import ranks
from bench_cli.stats.ranks import Scores, chance_of, scores_of, surest
from bench_cli.stats.verdict import CONFIRM_LEVEL

BY_HAND = {
    Scores.BOUNDED: {1: [1], 2: [1, 1], 5: [1, 2, 3, 3, 3], 8: [1, 2, 3, 4, 4, 4, 4, 4]},
    Scores.FALLING: {1: [1], 2: [1, 1], 5: [1, 2, 3, 1, 1], 8: [1, 2, 3, 4, 2, 1, 1, 1]},
}


def noise(count: int, seed: int, shift: float = 0.0, deviation: float = 0.02) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(shift, deviation) for _ in range(count)]


@pytest.mark.parametrize("pairs", [1, 2, 3, 6, 9])
def test_the_null_distribution_is_the_one_of_all_signs(pairs: int) -> None:
    sums = [
        sum(rank for rank, positive in enumerate(signs, 1) if positive)
        for signs in itertools.product([False, True], repeat=pairs)
    ]
    expected = [sum(s <= w for s in sums) / len(sums) for w in range(max(sums) + 1)]
    assert ranks.signed_rank_cdf(pairs) == pytest.approx(expected)


@pytest.mark.parametrize("kind", Scores)
@pytest.mark.parametrize("pairs", [1, 2, 5, 8])
def test_the_chance_is_the_share_of_all_signs_that_say_as_much(kind: Scores, pairs: int) -> None:
    by_rank = BY_HAND[kind][pairs]
    assert scores_of(kind, pairs).tolist() == by_rank
    for seed in range(5):
        values = noise(pairs, seed, shift=0.01)
        sizes = sorted(map(abs, values))
        scores = [by_rank[sizes.index(abs(value))] for value in values]
        observed = sum(score for score, value in zip(scores, values, strict=True) if value > 0)
        sums = [
            sum(itertools.compress(scores, signs))
            for signs in itertools.product([False, True], repeat=pairs)
        ]
        share = sum(one >= observed for one in sums) / len(sums)
        assert chance_of(values, 1, kind) == pytest.approx(share)
        assert chance_of([-value for value in values], -1, kind) == pytest.approx(share)


@pytest.mark.parametrize("kind", Scores)
@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_equal_sizes_never_make_a_chance_too_small(kind: Scores, sizes: list[int]) -> None:
    """Over all signs of these sizes, no more have a chance of at most p than the share p."""
    chances = [
        chance_of([size * sign for size, sign in zip(sizes, signs, strict=True)], 1, kind)
        for signs in itertools.product([-1, 1], repeat=len(sizes))
    ]
    for chance in set(chances):
        share = sum(one <= chance for one in chances) / len(chances)
        assert share <= chance + 1e-9


@pytest.mark.parametrize("kind", Scores)
def test_pairs_without_any_difference_speak_for_no_change(kind: Scores) -> None:
    assert chance_of([0.0] * 12, 1, kind) == chance_of([0.0] * 12, -1, kind) == 1.0
    assert chance_of([], 1, kind) == 1.0


def test_a_few_processes_at_half_the_speed_do_not_hide_what_all_others_show() -> None:
    """Wilcoxon's ranks, by which the farthest pairs count most, would."""
    values = [*noise(20, 1, shift=0.05, deviation=0.01), -0.6, -0.61, -0.62, -0.63]
    wilcoxon = scipy_stats.wilcoxon(values, alternative="greater", method="exact")
    assert wilcoxon.pvalue > 4 * CONFIRM_LEVEL
    assert chance_of(values, 1, Scores.BOUNDED) < CONFIRM_LEVEL


def disturbed(count: int, seed: int) -> list[float]:
    """Pairs that agree on 5 %, but for three in ten of which one process ran at half its speed."""
    rng = random.Random(seed)
    return [
        value + rng.choices((0.0, 0.6, -0.6), weights=(70, 15, 15))[0]
        for value in noise(count, seed, shift=0.05)
    ]


def test_many_processes_at_half_the_speed_hide_less_from_falling_scores() -> None:
    found = {
        kind: sum(chance_of(disturbed(24, seed), 1, kind) < CONFIRM_LEVEL for seed in range(200))
        for kind in Scores
    }
    assert found[Scores.BOUNDED] < 160
    assert found[Scores.FALLING] > 180


def test_the_noise_decides_which_scores_are_the_surest() -> None:
    chosen = [surest(disturbed(12, seed), 1)[1] for seed in range(50)]
    assert chosen.count(Scores.FALLING) > 25
    even = [surest(noise(12, seed, shift=0.03, deviation=0.03), 1)[1] for seed in range(50)]
    assert even.count(Scores.BOUNDED) > 25
