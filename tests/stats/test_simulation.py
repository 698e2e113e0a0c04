"""A small, seeded part of the simulation: the bars hold, and would not with simpler rules."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from bench_cli.stats import stages, verdict
from bench_cli.stats.stages import balanced_order
from bench_cli.stats.verdict import Trial, Verdict
from tests.stats.simulation import MODELS, Noise, simulate

QUIET = Noise(between=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_identical_code_is_not_called_slower(name: str) -> None:
    """Of 200 sessions: with 0.1 % red ones, more than one comes up once in sixty times."""
    assert simulate(MODELS[name], suites=200).red <= 1


@pytest.mark.parametrize("name", MODELS)
def test_more_pairs_for_undecided_cells_raise_no_alarm_either(name: str) -> None:
    assert simulate(MODELS[name], suites=30, extend=True).red <= 1


def test_ten_percent_is_found_at_the_usual_noise() -> None:
    assert simulate(QUIET, suites=200, cells=1, effect=0.10).share(Verdict.REGRESSED) >= 0.99


def test_five_percent_is_found_at_the_usual_noise() -> None:
    assert simulate(QUIET, suites=200, cells=1, effect=0.05).share(Verdict.REGRESSED) >= 0.95


def test_a_fifth_of_the_processes_at_half_the_speed_hides_little() -> None:
    """0.86; bounded scores alone find 0.53, with twice the pairs 0.80; both scores, but always
    24 pairs, 0.82."""
    noise = MODELS["a fifth of processes doubled"]
    assert simulate(noise, suites=300, cells=1, effect=0.10).share(Verdict.REGRESSED) >= 0.83


@pytest.mark.parametrize("name", MODELS)
def test_five_percent_slower_is_never_called_the_same(name: str) -> None:
    found = simulate(MODELS[name], suites=300, cells=1, effect=0.05, extend=True)
    assert found.share(Verdict.SAME) <= 0.01


def test_five_percent_faster_is_an_improvement() -> None:
    assert simulate(QUIET, suites=100, cells=1, effect=-0.05).share(Verdict.IMPROVED) >= 0.95


def test_more_pairs_decide_more() -> None:
    noise = Noise(between=0.03)
    few = simulate(noise, suites=40, cells=5)
    more = simulate(noise, suites=40, cells=5, extend=True)
    assert more.share(Verdict.UNDECIDED) < few.share(Verdict.UNDECIDED) / 2


def test_without_confirmation_identical_code_would_be_called_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The simulation sees false alarms where there are some."""

    def never_by_chance(
        trials: Sequence[verdict.Trial], numbers: Sequence[int], purpose: str
    ) -> dict[int, float]:
        return dict.fromkeys(numbers, 0.0)

    monkeypatch.setattr(verdict, "_chances", never_by_chance)
    monkeypatch.setattr(verdict, "CONFIRM_PAIRS", 0)
    monkeypatch.setattr(stages, "REPEAT_PAIRS", 0)
    assert simulate(Noise(between=0.16), suites=60).red_share > 0.1


def test_without_balanced_order_a_drift_would_be_called_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = "tests.stats.simulation.balanced_order"
    monkeypatch.setattr(order, lambda pairs, rng: [True] * pairs)
    assert simulate(Noise(within=0.001, ramp=3.0), suites=20, cells=1).red_share > 0.5


def test_the_order_is_balanced_and_seeded() -> None:
    order = balanced_order(12, random.Random(3))
    assert sum(order) == 6
    assert all(first != second for first, second in np.reshape(order, (6, 2)))
    assert order == balanced_order(12, random.Random(3))
    assert len({tuple(balanced_order(12, random.Random(seed))) for seed in range(20)}) > 5


# --- stages ----------------------------------------------------------------------------------


def drive(
    trials: list[Trial], ratio: float, scatter: float = 0.01, **options: bool | int
) -> list[list[tuple[str, int]]]:
    """Answers every pair with about the same ratio; what each stage asked for."""
    rng, asked = random.Random(5), []
    for due in stages.stages(trials, **options):  # type: ignore[arg-type]
        asked.append([(one.purpose, one.pairs) for one in due])
        for one in due:
            getattr(trials[one.cell], one.purpose).extend(
                rng.gauss(ratio, scatter) for _ in range(one.pairs)
            )
    return asked


def test_a_quiet_cell_is_screened_and_done() -> None:
    assert drive([Trial(0.03)], 0.0, extend=True) == [[("screen", 12)]]


def test_a_suspect_gets_fresh_pairs() -> None:
    assert drive([Trial(0.03)], 0.1)[:2] == [[("screen", 12)], [("confirm", 24)]]


def test_a_suspect_that_scatters_gets_twice_as_many() -> None:
    assert drive([Trial(0.03)], 0.3, scatter=0.05)[:2] == [[("screen", 12)], [("confirm", 24)]]
    assert drive([Trial(0.03)], 0.3, scatter=0.15)[:2] == [[("screen", 12)], [("confirm", 48)]]


def test_what_was_confirmed_is_repeated() -> None:
    trials = [Trial(0.03), Trial(0.03)]
    asked = []
    for number, due in enumerate(stages.stages(trials)):
        asked.append([(one.cell, one.purpose, one.pairs) for one in due])
        for one in due:  # both are suspects, one of them no more than that
            ratio = 0.1 if one.cell or not number else 0.0
            getattr(trials[one.cell], one.purpose).extend(
                [ratio - 0.01, ratio + 0.01] * (one.pairs // 2)
            )
    assert asked[1:] == [[(0, "confirm", 24), (1, "confirm", 24)], [(1, "repeat", 24)]]


def test_a_quick_look_confirms_nothing() -> None:
    assert drive([Trial(0.03)], 0.1, pairs=4, gates=False) == [[("screen", 4)]]


def test_a_cell_that_leans_to_the_worse_is_screened_on_and_then_confirmed() -> None:
    """Twelve pairs that scatter widely around + 5 %, and clearer ones after them."""
    trials = [Trial(0.03)]
    spread = [-0.30, 0.40, -0.28, 0.38, -0.26, 0.36, -0.24, 0.34, -0.22, 0.32, -0.2, 0.3]
    answers = {0: spread, 1: [0.45] * 12, 2: [0.05] * 48, 3: [0.05] * 24}
    asked = []
    for number, due in enumerate(stages.stages(trials)):
        asked.append((due[0].purpose, due[0].pairs))
        getattr(trials[0], due[0].purpose).extend(answers[number])
    assert asked == [("screen", 12), ("screen", 12), ("confirm", 48), ("repeat", 24)]
    assert verdict.judge(trials)[0].verdict is verdict.Verdict.REGRESSED


def test_an_undecided_cell_that_can_be_decided_is_screened_on() -> None:
    trials = [Trial(0.03)]
    asked = drive(trials, 0.0, extend=False, scatter=0.06)
    assert asked[:2] == [[("screen", 12)], [("screen", 12)]]


def test_a_cell_that_scatters_beyond_hope_is_not_asked_again() -> None:
    trials = [Trial(0.03)]
    for due in stages.stages(trials):
        assert (due[0].purpose, due[0].pairs, trials[0].screen) == ("screen", 12, [])
        trials[0].screen.extend([0.30, -0.32] * 6)


def test_undecided_cells_get_pairs_up_to_the_most() -> None:
    trials = [Trial(0.001)]
    asked = drive(trials, 0.0004, extend=True)
    assert asked[0] == [("screen", 12)]
    assert sum(pairs for stage in asked for _, pairs in stage) == verdict.MOST_PAIRS
    assert len(trials[0].pairs) == verdict.MOST_PAIRS


def test_a_cell_that_cannot_run_is_asked_for_nothing_more() -> None:
    trials = [Trial(0.03), Trial(0.03)]
    trials[0].over = True
    assert drive(trials, 0.0) == [[("screen", 12)]]
    assert trials[0].pairs == []
