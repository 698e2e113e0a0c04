"""``bench run --find-rate`` from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli import results
from bench_cli.errors import ExitCode
from bench_cli.runner import seek as runner
from bench_cli.runner.worker import Job
from tests.cli.conftest import Bench
from tests.runner.test_find_rate import worker

RUN = ("run", "wal", "-k", "wal.none", "-o", "out.json", "--find-rate")


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Workers whose operations take so many virtual nanoseconds."""

    def use(cost_ns: int) -> None:
        monkeypatch.setitem(runner.seek.__kwdefaults__, "runner", worker(cost_ns))

    return use


def test_the_rate_is_printed_and_saved(bench: Bench, project: Path, taking: Any) -> None:
    plan = project / "scenarios" / "wal.yaml"
    plan.write_text(plan.read_text().replace("min_sample: 1ms", "min_sample: 50ms"))
    taking(50_000)
    found = bench(*RUN, "p99<=1ms", width=120)
    assert found.code == ExitCode.OK, found.err
    assert "highest rate with p99<=1ms" in found.out
    assert "latencies" in found.out
    result = results.read(project / "out.json")
    assert result.settings["find_rate"] == "p99<=1ms"
    assert all(19_000 < row.latency["holds_per_s"] < 21_000 for row in result.results)
    assert bench("show", "out.json", width=120).out == found.out
    assert list(project.glob("*journal*")) == []


def test_a_goal_no_rate_keeps_is_a_missed_requirement(
    bench: Bench, project: Path, taking: Any
) -> None:
    plan = project / "scenarios" / "wal.yaml"
    plan.write_text(plan.read_text().replace("min_sample: 1ms", "min_sample: 50ms"))
    taking(50_000)
    found = bench(*RUN, "p99<=1us")
    assert found.code == ExitCode.REQUIREMENT_MISSED
    assert "none" in found.out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("p98<=1ms",), "known: p50, p90, p99, p99.9"),
        (("p99<=1",), "needs a unit"),
        (("fast",), "as in p99<=1ms"),
        (("p99<=1ms", "--budget", "1m"), "leave --budget away"),
        (("p99<=1ms", "--resume", "latest"), "--resume runs what its journal says"),
    ],
)
def test_a_wrong_goal_runs_nothing(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, hint: str
) -> None:
    def never(job: Job, timeout_ns: int) -> dict[str, Any]:
        raise AssertionError("a trial ran")

    monkeypatch.setitem(runner.seek.__kwdefaults__, "runner", never)
    found = bench(*RUN, *arguments)
    assert found.code == ExitCode.USAGE
    assert hint in found.err
    assert not (project / "out.json").exists()


def test_a_real_search_ends(bench: Bench, project: Path) -> None:
    """One cell on the Python twin; trials of 200 ms at most, and a goal that is soon missed."""
    found = bench("run", "wal", "-k", "wal.none,core=python,record=64B", "-o", "out.json",
                  "--find-rate", "p50<=1ns")  # fmt: skip
    assert found.code == ExitCode.REQUIREMENT_MISSED, found.err
    [row] = results.read(project / "out.json").results
    assert row.latency["holds_per_s"] is None
    assert len(row.latency["trials"]) >= 2


def test_rows_that_differ_in_a_rate_of_their_own_are_searched_once(
    bench: Bench, project: Path, taking: Any
) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("record: [64B, 512B]", "rate: [1 k/s, 2 k/s]"))
    taking(1_000)
    assert bench(*RUN, "p99<=1ms").code == ExitCode.OK
    [row] = results.read(project / "out.json").results
    assert "rate=" not in row.id
