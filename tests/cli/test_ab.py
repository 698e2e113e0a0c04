"""``bench ab`` from the command line on a virtual clock: every exit code, output, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli import results
from bench_cli.cli import ab
from bench_cli.errors import ExitCode
from bench_cli.runner.worker import Job
from tests.cli.conftest import Bench
from tests.runner.virtual import answer, both_sides

SCENARIOS = """\
scenarios:
  - name: quiet
    workload: synthetic.op
    params: {backend: synthetic.clock, within: 5, between: 5, bytes: 16}
    matrix: {seed: [1, 2]}
    plan: {processes: 1, samples: 3, min_sample: 1ms}
    requirements:
      - {metric: ns_per_op, at_most: 1s}
"""
SLOWER = ("ab", "--base", "backend:synthetic.clock", "--head", "backend:synthetic.slower", "quiet")
EQUAL = ("ab", "--base", "backend:synthetic.clock", "quiet")


@pytest.fixture
def synthetic(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A project with one scenario and workers that answer at once. ``synthetic(runner)`` takes
    another worker."""
    (project / "scenarios" / "wal.yaml").write_text(SCENARIOS)

    def use(runner: Any) -> None:
        both_sides(monkeypatch, runner)

    use(answer)
    return use


@pytest.fixture(autouse=True)
def _always(synthetic: Any) -> None:
    """Every test here runs on it."""


def skipping(job: Job, timeout_ns: int) -> dict[str, Any]:
    return {"ok": False, "skipped": True, "reason": "no such thing", "limits": {}}


def test_0_identical_code_ends_well(bench: Bench) -> None:
    found = bench(*EQUAL)
    assert found.code == ExitCode.OK, found.out
    assert "2 rows on both sides" in found.out
    assert "Verdict: no regression (exit 0)" in found.out


def test_1_an_unforeseen_error_is_internal(bench: Bench, synthetic: Any) -> None:
    def broken(job: Job, timeout_ns: int) -> dict[str, Any]:
        raise RuntimeError("unforeseen")

    synthetic(broken)
    assert bench(*EQUAL).code == ExitCode.INTERNAL


@pytest.mark.parametrize(
    "words",
    [
        ("ab", "quiet"),
        ("ab", "--base", "main"),
        ("ab", "--base", "git:no-such-revision"),
        ("ab", "--base", "python:no-such-python"),
        ("ab", "--base", "backend:synthetic.fast"),
        ("ab", "--base", "set:sed=1"),
        ("ab", "--base", "here", "--quick", "--rigorous"),
        ("ab", "--base", "here", "--limit", "nan"),
        ("ab", "--base", "here", "-k", "nothing"),
        ("ab", "--base", "here", "-o", "no/such/folder.json"),
        ("ab", "--base", "set:seed=1", "quiet"),
    ],
)
def test_2_bad_input_is_one_error_before_anything_runs(
    bench: Bench, synthetic: Any, project: Path, words: tuple[str, ...]
) -> None:
    synthetic(None)  # would be called in vain
    found = bench(*words)
    assert found.code == ExitCode.USAGE
    assert found.err.startswith("error: ")
    assert found.out == ""
    assert not list(project.glob("results/*.json"))


@pytest.mark.parametrize("side", ["--base", "--head"])
@pytest.mark.parametrize("spec", ["backend:synthetic.fast", "set:sed=1", "set:seed=x"])
def test_a_side_that_cannot_be_is_told_as_it_was_typed(bench: Bench, side: str, spec: str) -> None:
    other = {"--base": "--head", "--head": "--base"}[side]
    found = bench("ab", side, spec, other, "here", "quiet")
    assert found.err.splitlines()[0].startswith(f"error: {side} '{spec}': ")


def test_10_a_slower_head_is_a_regression_and_named_with_its_command(bench: Bench) -> None:
    found = bench(*SLOWER)
    assert found.code == ExitCode.REGRESSION
    *_, verdict, _, command, files = found.out.splitlines()
    assert verdict == "Verdict: regression (exit 10)"
    assert command.startswith("  bench ab --base backend:synthetic.clock --head backend:")
    assert files.startswith("Results: ")


def test_the_command_that_is_offered_runs_that_row_alone(bench: Bench) -> None:
    import shlex

    command = bench(*SLOWER).out.splitlines()[-2]
    again = bench(*shlex.split(command)[1:])
    assert again.code == ExitCode.REGRESSION
    assert "1 row on both sides" in again.out


def test_10_one_more_byte_is_a_regression(bench: Bench) -> None:
    found = bench("ab", "--base", "set:bytes=16", "--head", "set:bytes=17", "quiet")
    assert found.code == ExitCode.REGRESSION
    assert "WAL B/op" in found.out


def test_11_undecided_fails_only_where_that_is_asked(bench: Bench) -> None:
    loud = (*EQUAL, "-P", "between=160")
    found = bench(*loud)
    assert found.code == ExitCode.OK
    assert "undecided" in found.out
    assert "detectable" in found.out
    assert bench(*loud, "--fail-on", "undecided").code == ExitCode.UNDECIDED


def test_12_nothing_in_common_is_no_pass(bench: Bench, synthetic: Any) -> None:
    synthetic(skipping)
    found = bench(*EQUAL)
    assert found.code == ExitCode.NOTHING_COMPARED
    assert "nothing could be compared (exit 12)" in found.out


def one_side_lacks_a_row(job: Job, timeout_ns: int) -> dict[str, Any]:
    lacking = job.backend == "synthetic.clock" and job.params["seed"] == 2
    return skipping(job, timeout_ns) if lacking else answer(job, timeout_ns)


def test_13_a_row_on_one_side_only_is_missing(bench: Bench, synthetic: Any) -> None:
    synthetic(one_side_lacks_a_row)
    found = bench(*SLOWER, "--limit", "50%")
    assert found.code == ExitCode.ROW_MISSING
    assert "in base: synthetic.op[" in found.out
    assert "To fill the gap: bench ab " in found.out


def test_14_a_missed_requirement_fails(bench: Bench, project: Path) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("at_most: 1s", "at_most: 1ns"))
    found = bench(*EQUAL)
    assert found.code == ExitCode.REQUIREMENT_MISSED
    assert "missed by" in found.out


def test_20_a_failed_row_fails(bench: Bench, synthetic: Any) -> None:
    synthetic(lambda job, timeout_ns: {"ok": False, "reason": "bytes lost", "limits": {}})
    found = bench(*EQUAL)
    assert found.code == ExitCode.RUN_FAILED
    assert "bytes lost" in found.err
    assert "(exit 20)" in found.out


def test_130_ctrl_c_judges_and_saves_what_is_there(
    bench: Bench, synthetic: Any, project: Path
) -> None:
    calls = 0

    def interrupted(job: Job, timeout_ns: int) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise KeyboardInterrupt
        return answer(job, timeout_ns)

    synthetic(interrupted)
    found = bench(*EQUAL, "-o", "mine.json")
    assert found.code == ExitCode.INTERRUPTED
    assert "(exit 130)" in found.out
    assert results.read(project / "mine.json").interrupted


# --- what it leaves and prints ---------------------------------------------------------------


def test_the_stored_results_compare_to_the_same_verdict(bench: Bench, project: Path) -> None:
    first = bench(*SLOWER, "-o", "mine.json")
    again = bench("compare", "mine.base.json", "mine.json")
    assert again.code == first.code == ExitCode.REGRESSION
    assert first.out.startswith(again.out)
    assert bench("compare", "mine.json", "mine.base.json").code != ExitCode.REGRESSION


def test_head_is_the_latest_of_the_two(bench: Bench, project: Path) -> None:
    bench(*EQUAL)
    assert bench("show", "latest").code == 0
    latest = results.resolve("latest", project / "results")
    assert not latest.name.endswith(".base.json")


def test_a_quick_look_never_fails(bench: Bench) -> None:
    found = bench(*SLOWER, "--quick")
    assert found.code == ExitCode.OK
    assert "Verdict: none, this was a quick look (exit 0)" in found.out


def test_as_json_nothing_else_is_printed(bench: Bench) -> None:
    found = bench(*SLOWER, "--format", "json")
    told = json.loads(found.out)
    assert told["exit_code"] == found.code == ExitCode.REGRESSION
    assert {row["timing"]["verdict"] for row in told["rows"]} == {"regressed"}
    assert found.err == ""


def test_as_markdown_it_is_a_comment(bench: Bench) -> None:
    found = bench(*SLOWER, "--format", "markdown")
    assert found.out.startswith("<!-- bench-compare -->\n### ❌ Benchmarks: regression (exit 10)")
    assert "| regressed |" in found.out


def test_progress_tells_each_stage(bench: Bench) -> None:
    err = bench(*SLOWER).err
    assert "2 cells in 48 processes" in err
    assert "2 cells in 96 processes" in err


def test_more_pairs_are_had_by_asking(bench: Bench) -> None:
    assert "2 cells in 96 processes" in bench(*EQUAL, "--rigorous").err
    assert (ab.QUICK_PAIRS, ab.PAIRS, ab.RIGOROUS_PAIRS) == (4, 12, 24)


def test_a_scenario_says_what_matters_and_the_command_line_overrules_it(
    bench: Bench, project: Path
) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("min_sample: 1ms", "min_sample: 1ms, limit: 20%"))
    assert bench(*SLOWER).code == ExitCode.OK
    assert bench(*SLOWER, "--limit", "3%").code == ExitCode.REGRESSION


@pytest.mark.parametrize("limit", ["-1%", "2000%", "x", "true"])
def test_a_limit_that_makes_no_sense_is_a_mistake_of_the_file(
    bench: Bench, project: Path, limit: str
) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("min_sample: 1ms", f"min_sample: 1ms, limit: {limit}"))
    found = bench(*EQUAL)
    assert found.code == ExitCode.USAGE
    assert "wal.yaml:6" in found.err


# --- stored sessions that somebody changed ---------------------------------------------------


def change(path: Path, *replacements: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"side": "head"', '"side": "both"', "ab.side"),
        ('"direction": 1', '"direction": 7', "ab.cells[0]"),
        ('"screen": 12', '"screen": -1', "ab.cells[0]"),
        ('"screen": 12', '"screen": NaN', "NaN"),
        ('"limit": 0.03', '"limit": -1', "ab.cells[0]"),
        ('"head": "synthetic.op[', '"head": "other.op[', "its row is not there"),
        ('"gates": true', '"gates": true, "extra": 1', "unknown field"),
        ('"schema": 1', '"schema": 2', "newer version"),
    ],
)
def test_a_session_file_that_was_edited_is_one_error(
    bench: Bench, project: Path, old: str, new: str, told: str
) -> None:
    bench(*SLOWER, "-o", "mine.json")
    change(project / "mine.json", (old, new))
    found = bench("compare", "mine.base.json", "mine.json")
    assert found.code == ExitCode.USAGE
    assert found.out == ""
    assert told in found.err


def test_pairs_that_are_not_there_are_not_judged(bench: Bench, project: Path) -> None:
    bench(*SLOWER, "-o", "mine.json")
    for name in ("mine.json", "mine.base.json"):
        change(project / name, ('"screen": 12', '"screen": 999'))
    found = bench("compare", "mine.base.json", "mine.json")
    assert found.code == ExitCode.OK  # their bytes were judged
    assert "do not stand in pairs" in found.out


def test_a_claim_of_countless_pairs_is_not_computed(bench: Bench, project: Path) -> None:
    bench(*EQUAL, "-o", "mine.json")
    for name in ("mine.json", "mine.base.json"):
        found = results.read(project / name)
        assert found.ab is not None
        for cell, row in zip(found.ab.cells, found.results, strict=True):
            cell.screen = 50_000
            row.per_process["ns_per_op"] = [1.0] * 50_000
        results.write(project / name, found)
    told = bench("compare", "mine.base.json", "mine.json")
    assert "do not stand in pairs" in told.out


def test_sides_of_different_sessions_are_two_separate_runs(bench: Bench, project: Path) -> None:
    bench(*EQUAL, "-o", "one.json")
    bench(*EQUAL, "-o", "other.json")
    found = bench("compare", "one.base.json", "other.json")
    assert "advisory, never judged" in found.out
