"""``bench ab --resume``: a session that stopped anywhere ends as if it had not stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli import results
from bench_cli.errors import ExitCode, OutputError
from bench_cli.results import RunResult
from bench_cli.runner.worker import Job
from tests.cli.conftest import Bench
from tests.runner.virtual import answer, both_sides

SCENARIOS = """\
scenarios:
  - name: quiet
    workload: synthetic.op
    params: {backend: synthetic.clock, within: 5, between: 20, bytes: 16}
    matrix: {seed: [1, 2]}
    plan: {processes: 1, samples: 3, min_sample: 1ms}
"""
SLOWER = ("ab", "--base", "backend:synthetic.clock", "--head", "backend:synthetic.slower", "quiet")
ALL = 2 * 2 * (12 + 24 + 24)  # processes of the whole session
JOURNAL = "mine.journal.jsonl"


class Killed(BaseException):
    """The tool is gone at once: nothing after it runs but what the system does."""


@pytest.fixture
def stopping(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``stopping(after)`` answers that many processes and then stops; returns who was started."""
    (project / "scenarios" / "wal.yaml").write_text(SCENARIOS)

    def use(after: int, how: type[BaseException] = KeyboardInterrupt) -> list[str]:
        started: list[str] = []

        def run(job: Job, timeout_ns: int) -> dict[str, Any]:
            if len(started) >= after:
                raise how
            started.append(job.cell_id)
            return answer(job, timeout_ns)

        both_sides(monkeypatch, run)
        return started

    return use


def rows(project: Path, name: str = "mine.json") -> list[results.Row]:
    return results.read(project / name).results


@pytest.fixture
def whole(bench: Bench, project: Path, stopping: Any) -> tuple[RunResult, RunResult]:
    """The same session without a stop."""
    stopping(ALL)
    assert bench(*SLOWER, "-o", "whole.json").code == ExitCode.REGRESSION
    return results.read(project / "whole.base.json"), results.read(project / "whole.json")


def test_a_session_that_stops_anywhere_is_finished_with_exact_counts(
    bench: Bench, project: Path, stopping: Any, whole: tuple[RunResult, RunResult]
) -> None:
    base, head = whole
    for after in random.Random(4).sample(range(ALL), 20):
        stopping(after)
        assert bench(*SLOWER, "-o", "mine.json").code == ExitCode.INTERRUPTED
        started = stopping(ALL)
        found = bench("ab", "--resume", JOURNAL)
        assert found.code == ExitCode.REGRESSION
        assert len(started) == ALL - after
        assert rows(project) == head.results
        assert rows(project, "mine.base.json") == base.results
        assert not (project / JOURNAL).exists()


def test_a_killed_session_leaves_its_journal_and_no_result(
    bench: Bench, project: Path, stopping: Any, whole: tuple[RunResult, RunResult]
) -> None:
    stopping(31, Killed)
    with pytest.raises(Killed):
        bench(*SLOWER, "-o", "mine.json")
    assert not (project / "mine.json").exists()
    with (project / JOURNAL).open("a") as file:
        file.write('{"cell": "base synth')  # the line it was writing
    stopping(ALL)
    assert bench("ab", "--resume", JOURNAL).code == ExitCode.REGRESSION
    assert rows(project) == whole[1].results


def test_a_session_may_stop_twice(bench: Bench, project: Path, stopping: Any, whole: Any) -> None:
    stopping(20)
    bench(*SLOWER, "-o", "mine.json")
    stopping(15)
    again = bench("ab", "--resume", "mine.json")
    assert again.code == ExitCode.INTERRUPTED
    assert "bench ab --resume mine.journal.jsonl" in again.err
    stopping(ALL)
    assert bench("ab", "--resume", JOURNAL).code == ExitCode.REGRESSION
    assert rows(project) == whole[1].results


def test_a_disk_that_is_full_at_the_end_loses_nothing(
    bench: Bench, project: Path, stopping: Any, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping(ALL)

    def full(path: Path, result: RunResult) -> None:
        raise OutputError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(results, "write", full)
        found = bench(*SLOWER, "-o", "mine.json")
    assert found.code == ExitCode.USAGE
    assert "Verdict: regression" in found.out
    assert "bench ab --resume mine.journal.jsonl" in found.err
    started = stopping(0, Killed)
    assert bench("ab", "--resume", JOURNAL).code == ExitCode.REGRESSION
    assert started == []
    assert rows(project) == whole[1].results


@pytest.fixture
def stopped(bench: Bench, project: Path, stopping: Any) -> Path:
    """The journal of a session that stopped."""
    stopping(20)
    bench(*SLOWER, "-o", "mine.json")
    stopping(0, Killed)  # nothing may be started from here on
    return project / JOURNAL


def test_nothing_is_resumed_when_the_scenario_changed(
    bench: Bench, project: Path, stopped: Path
) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("between: 20", "between: 21"))
    found = bench("ab", "--resume", JOURNAL)
    assert found.code == ExitCode.USAGE
    assert "scenario file scenarios/wal.yaml" in found.err
    assert stopped.exists()


@pytest.mark.parametrize("words", [("--base", "here"), ("--seed", "1"), ("quiet",), ("-k", "x")])
def test_what_to_run_is_not_said_twice(bench: Bench, stopped: Path, words: tuple[str, ...]) -> None:
    found = bench("ab", "--resume", JOURNAL, *words)
    assert found.code == ExitCode.USAGE
    assert "leave" in found.err


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:1] + lines[2:],  # a process is missing
        lambda lines: [*lines[:2], lines[1], *lines[2:]],  # one is there twice
        lambda lines: [lines[0].replace('"kind": "ab"', '"kind": "run"'), *lines[1:]],
        lambda lines: [lines[0], *(line.replace('"time_ns"', '"times"') for line in lines[1:])],
        lambda lines: [lines[0], "[" * 200_000, *lines[1:]],
        lambda lines: lines[1:],
    ],
)
def test_a_journal_that_was_changed_is_refused(
    bench: Bench, stopped: Path, change: Callable[[list[str]], list[str]]
) -> None:
    stopped.write_text("\n".join(change(stopped.read_text().splitlines())) + "\n")
    found = bench("ab", "--resume", JOURNAL)
    assert found.code == ExitCode.USAGE
    assert found.err.splitlines()[-2].startswith("error: ") or "error: " in found.err


def test_a_session_is_not_resumed_as_a_run_nor_a_run_as_a_session(
    bench: Bench, project: Path, stopped: Path
) -> None:
    assert bench("run", "--resume", JOURNAL).code == ExitCode.USAGE
    header = json.loads(stopped.read_text().splitlines()[0])
    header["order"] = {"words": []}
    stopped.write_text(json.dumps(header) + "\n")
    assert bench("ab", "--resume", JOURNAL).code == ExitCode.USAGE


def test_a_session_that_would_replace_another_names_the_command_that_finishes_that(
    bench: Bench, project: Path, stopped: Path
) -> None:
    result = stopped.with_name(JOURNAL.removesuffix(".journal.jsonl") + ".json")
    found = bench("run", "scenarios/wal.yaml", "-o", result)
    assert found.code == ExitCode.USAGE
    assert "`bench ab --resume" in found.err
    stopped.write_text(stopped.read_text()[:100])  # killed while it wrote the first line
    assert "`bench run --resume" in bench("run", "scenarios/wal.yaml", "-o", result).err
