"""The search for the highest rate, on rows whose behaviour is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli.cells import Cell
from bench_cli.errors import OutputError
from bench_cli.runner.find_rate import CLOSE, HIGHEST, BadGoal, Goal, Search, Trial, parse_goal
from bench_cli.runner.latency import Pass, tell
from bench_cli.runner.run import RunSettings
from bench_cli.runner.seek import seek
from bench_cli.runner.worker import Job
from tests.runner.test_latency import Stepping
from tests.runner.test_run import Watcher, cell

MS = 1_000_000
GOAL = Goal("p99", MS)


def trial(rate: int, value: float | None, kept: float = 1.0, late: float = 0.0) -> Trial:
    reasons = {"p99": "n too small: 5 of 1,000 operations"} if value is None else {}
    response = {"p99": value, "reasons": reasons}
    told = {"achieved_per_s": rate * kept, "response": response, "late": {"p99": late}}
    return Trial(rate, told)


def found(holds: Callable[[int], bool], lowest: int = 100) -> Search:
    search = Search(GOAL, lambda rate: trial(rate, MS if holds(rate) else MS + 1))
    search.run(lowest)
    return search


@pytest.mark.parametrize("edge", [100, 101, 137, 5_000, 10_000, 10_001, 123_456, 7_654_321])
def test_the_edge_is_found_to_five_percent(edge: int) -> None:
    search = found(lambda rate: rate <= edge)
    assert search.holds is not None
    assert search.fails is not None
    assert search.holds <= edge < search.fails
    assert search.fails <= CLOSE * search.holds + 1
    assert len(search.trials) < 40
    assert search.why_fails() == "p99 1 ms"


def test_a_row_that_holds_nowhere_and_one_that_holds_everywhere_end() -> None:
    nowhere = found(lambda rate: False)
    assert (nowhere.holds, nowhere.fails) == (None, 100)
    everywhere = found(lambda rate: True)
    assert (everywhere.holds, everywhere.fails) == (HIGHEST, None)
    assert everywhere.why_fails() is None


def test_one_unlucky_trial_decides_nothing() -> None:
    calls = {10_000: iter([False, True, True])}

    def try_rate(rate: int) -> Trial:
        holds = next(calls[rate]) if rate in calls else rate < 20_000
        return trial(rate, MS if holds else 2 * MS)

    search = Search(GOAL, try_rate)
    search.run(100)
    assert search.holds is not None
    assert search.holds > 19_000


def test_a_noisy_edge_is_found_nearby() -> None:
    rng = random.Random(1)
    search = found(lambda rate: rate * rng.uniform(0.9, 1.1) <= 50_000)
    assert search.holds == pytest.approx(50_000, rel=0.15)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (trial(1000, 2 * MS), "p99 2 ms"),
        (trial(1000, 2 * MS, late=1.5 * MS), "p99 2 ms, machine busy"),
        (trial(1000, 1000, kept=0.5), "500/s kept"),
        (trial(1000, None), "n too small: 5 of 1,000 operations"),
        (trial(1000, MS), None),
    ],
)
def test_a_trial_says_why_it_does_not_hold(one: Trial, why: str | None) -> None:
    assert one.why_not(GOAL) == why
    assert one.holds(GOAL) == (why is None)


@pytest.mark.parametrize(
    ("text", "goal"),
    [("p99<=1ms", Goal("p99", MS)), (" p99.9 <= 50 us", Goal("p99.9", 50_000)),
     ("p50<=3s", Goal("p50", 3_000 * MS))],
)  # fmt: skip
def test_a_goal_is_a_percentile_and_a_time(text: str, goal: Goal) -> None:
    assert parse_goal(text) == goal
    assert parse_goal(str(goal)) == goal


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not PERCENTILE<=TIME"),
        ("p99", "is not PERCENTILE<=TIME"),
        ("p99>=1ms", "is not PERCENTILE<=TIME"),
        ("p98<=1ms", "known: p50, p90, p99, p99.9"),
        ("p99<=1", "needs a unit"),
        ("p99<=1MB", "is not a unit of time"),
        ("p99<=0ms", "nothing takes no time"),
        ("p99<=-1ms", "negative"),
        ("\x1b[2J<=1ms", "is not PERCENTILE<=TIME"),
    ],
)
def test_a_goal_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadGoal) as caught:
        parse_goal(text)
    assert reason in caught.value.message


# --- through the runner ----------------------------------------------------------------------


def worker(cost_ns: int) -> Callable[[Job, int], dict[str, Any]]:
    """A worker whose operations take ``cost_ns`` on a virtual clock."""

    def run(job: Job, timeout_ns: int) -> dict[str, Any]:
        assert job.samples == 0
        wanted = Pass(job.latency, job.rate_per_s, job.min_sample_ns)
        return {"ok": True, "cell": {"latency": tell(Stepping(lambda _: cost_ns), wanted)}}

    return run


def sought(tmp_path: Path, cells: list[Cell], runner: Any) -> Any:
    return seek(
        cells, GOAL, settings=RunSettings(tmp_path / "scratch"), reporter=Watcher(),
        environment={}, runner=runner,
    )  # fmt: skip


def test_operations_of_50_us_hold_up_to_20_000_per_second(tmp_path: Path) -> None:
    [row] = sought(tmp_path, [cell("a")], worker(50_000)).results
    assert row.status == "ok"
    assert row.latency["goal"] == "p99<=1ms"
    assert 19_000 <= row.latency["holds_per_s"] <= 20_000 * 1.05
    assert row.latency["fails_per_s"] > 20_000
    assert row.latency["rate_per_s"] == row.latency["holds_per_s"]
    assert row.latency["response"]["p99"] <= MS
    assert len(row.latency["trials"]) >= 10


def test_rows_that_cannot_be_tried_say_why(tmp_path: Path) -> None:
    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        if job.cell_id == "dies":
            return {"ok": False, "reason": "killed by SIGKILL", "limits": {}}
        if job.cell_id == "lacks":
            return {"ok": False, "skipped": True, "reason": "no sync", "limits": {}}
        return {"ok": True, "cell": {"latency": {"reason": "not one at a time"}}}

    cells = [cell(name) for name in ("dies", "lacks", "whole")] + [cell("core", skip="not built")]
    rows = sought(tmp_path, cells, runner).results
    assert [(row.status, row.reason) for row in rows] == [
        ("failed", "killed by SIGKILL"),
        ("skipped", "no sync"),
        ("skipped", "not one at a time"),
        ("skipped", "not built"),
    ]


def test_ctrl_c_keeps_the_rows_that_were_found(tmp_path: Path) -> None:
    real = worker(50_000)

    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        if job.cell_id == "b":
            raise KeyboardInterrupt
        return real(job, timeout_ns)

    result = sought(tmp_path, [cell("a"), cell("b")], runner)
    assert result.interrupted
    assert [row.id for row in result.results] == ["a"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_scratch_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "scratch").write_text("in the way")
    with pytest.raises(OutputError, match="scratch"):
        sought(tmp_path, [cell("a")], worker(1))
