"""``bench run``, ``plan`` and ``list``: from scenario files to tables, a file and an exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench_cli import registry, results
from bench_cli.cli.running import exit_code
from bench_cli.errors import ExitCode, OutputError
from bench_cli.results import RequirementOutcome, RunResult
from bench_cli.run_store import Entry
from bench_cli.runner import run as runner
from tests.cli.conftest import Bench
from tests.report.rows import make_result, make_row


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> RunResult:
    """Stands in for the runner: every cell is answered with the same row, at once. Tests change
    the result it returns."""
    result = make_result()

    def execute(plan: Any, limit_cells: Any, **rest: Any) -> RunResult:
        rest["reporter"].started(len(plan.cells), plan.processes, plan.estimate_s)
        for cell in plan.cells:
            rest["store"].append(Entry(cell.id, 0, {}))
            rest["reporter"].process_done(cell.id, True, None)
            row = make_row(cell.id, scenario=cell.scenario, params=dict(cell.params),
                           backend=cell.backend, core=cell.core)  # fmt: skip
            result.results.append(row)
        rest["reporter"].finished()
        return result

    monkeypatch.setattr(runner, "execute", execute)
    return result


def stored(project: Path) -> list[Path]:
    return sorted((project / "results").glob("*"))


def test_a_run_measures_verifies_saves_and_reports(bench: Bench, project: Path) -> None:
    """The real runner: one process of one small cell on the Python twin."""
    found = bench("run", "-k", "wal.none,core=python,record=64B")
    assert found.code == 0, found.out + found.err
    assert "python twin" in found.out
    (path,) = stored(project)
    assert path.name.endswith("-wal.json")
    assert found.out.rstrip().endswith(f"results/{path.name}")
    result = results.read(path)
    assert [row.status for row in result.results if row.backend] == ["ok"]
    assert [outcome.status for outcome in result.requirements] == ["met"]
    assert result.scenario_files[0]["path"] == "scenarios/wal.yaml"
    assert result.environment["cpus"] == os.cpu_count()


def test_a_requirement_on_a_percentile_is_judged_by_what_the_run_told(
    bench: Bench, project: Path
) -> None:
    """The real runner again: each operation timed, and what both requirements need is there."""
    path = project / "scenarios" / "wal.yaml"
    text = path.read_text().replace("min_sample: 1ms", "min_sample: 1ms, latency: true")
    path.write_text(f"{text}      - {{metric: p99_ns, at_most: 1h}}\n")
    found = bench("run", "-k", "wal.none,core=python,record=64B", "-o", "mine.json")
    assert found.code == ExitCode.OK, found.out + found.err
    result = results.read(project / "mine.json")
    [row] = [row for row in result.results if row.backend]
    times = [row.metrics[name] for name in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")]
    assert times == sorted(times)
    assert [one.status for one in result.requirements] == ["met", "met"]


def test_json_on_stdout_is_only_json(bench: Bench, project: Path, measured: RunResult) -> None:
    found = bench("run", "wal", "--json", "-")
    assert len(json.loads(found.out)["results"]) == 4
    assert found.err == ""
    assert len(stored(project)) == 1


def test_progress_goes_to_stderr(bench: Bench, project: Path, measured: RunResult) -> None:
    found = bench("run")
    assert "4 cells in 4 processes" in found.err
    assert "4 of 4 processes done" in found.err
    assert "processes done" not in found.out


def test_the_result_goes_where_it_is_wanted(
    bench: Bench, project: Path, measured: RunResult
) -> None:
    found = bench("run", "wal", "-o", "my.json", "-P", "record=1KiB", "--seed", "7")
    assert found.code == 0
    result = results.read(project / "my.json")
    assert result.settings["seed"] == 7
    assert result.settings["params"] == ["record=1KiB"]
    assert stored(project) == []


def test_no_journal_is_left_behind(bench: Bench, project: Path, measured: RunResult) -> None:
    bench("run", "wal", "-o", "my.json")
    assert not list(project.glob("*journal*"))


def test_the_journal_stays_when_the_result_cannot_be_written(
    bench: Bench, project: Path, measured: RunResult
) -> None:
    measured.settings = {}
    measured.environment = {"odd": float("nan")}
    found = bench("run", "wal", "-o", "my.json")
    assert found.code == ExitCode.USAGE
    assert not (project / "my.json").exists()
    assert len(list(project.glob("my.journal.jsonl"))) == 1


def test_an_unwritable_place_is_found_before_anything_runs(
    bench: Bench, project: Path, measured: RunResult
) -> None:
    found = bench("run", "wal", "-o", "no/such/folder.json")
    assert found.code == ExitCode.USAGE
    assert "no/such/folder.json" in found.err
    assert measured.results == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ExitCode.OK),
        ({"status": "skipped"}, ExitCode.RUN_FAILED),  # nothing was measured
        ({"outcome": "unjudged"}, ExitCode.OK),
        ({"outcome": "missed"}, ExitCode.REQUIREMENT_MISSED),
        ({"status": "failed"}, ExitCode.RUN_FAILED),
        ({"status": "failed", "outcome": "missed"}, ExitCode.RUN_FAILED),
        ({"status": "failed", "interrupted": True}, ExitCode.INTERRUPTED),
    ],
)
def test_the_most_serious_thing_decides_the_exit_code(changes: dict[str, Any], code: int) -> None:
    outcome = RequirementOutcome("s", "r", "ns_per_op", "at_most", "1us",
                                 changes.get("outcome", "met"))  # fmt: skip
    row = make_row("a.b", status=changes.get("status", "ok"))
    result = make_result(row, requirements=[outcome], interrupted=changes.get("interrupted", False))
    assert exit_code(result) == code


def test_a_missed_requirement_fails_the_run_and_is_shown(
    bench: Bench, project: Path, measured: RunResult
) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("at_most: 1s", "at_most: 1ns"))
    found = bench("run")
    assert found.code == ExitCode.REQUIREMENT_MISSED
    assert "missed by" in found.out


def test_an_interrupted_run_prints_and_saves_what_is_there(
    bench: Bench, project: Path, measured: RunResult
) -> None:
    measured.interrupted = True
    found = bench("run")
    assert found.code == ExitCode.INTERRUPTED
    assert "Interrupted" in found.out
    journal, path = stored(project)
    assert results.read(path).interrupted
    assert f"`bench run --resume results/{journal.name}` finishes the run." in (
        found.err.replace(f"{project}/", "")
    )


# --- plan and list ---------------------------------------------------------------------------


def test_plan_shows_cells_and_time_and_runs_nothing(
    bench: Bench, project: Path, measured: RunResult
) -> None:
    found = bench("plan", "--cells")
    assert found.code == 0
    assert "wal.append[backend=wal.basic,core=python,record=512B]" in found.out
    assert "4 cells, 4 processes" in found.out
    assert "Nothing has run." in found.out
    assert measured.results == []
    assert not (project / "results").exists()


def test_list_shows_scenarios_cells_and_workloads(bench: Bench, project: Path) -> None:
    assert "a small log" in bench("list").out
    cells = bench("list", "wal", "--cells").out.splitlines()
    assert len(cells) == 4
    assert all(cell.startswith("wal.append[") for cell in cells)
    assert "wal.append" in bench("list", "--workloads").out


def test_a_scenario_is_named_by_file_by_shipped_name_or_by_its_own(
    bench: Bench, project: Path
) -> None:
    for word in ("scenarios/wal.yaml", "wal", "append"):
        assert "4 cells" in bench("plan", word).out


def test_a_scenario_is_found_by_name_in_a_file_that_does_not_run_by_default(
    bench: Bench, project: Path
) -> None:
    folder = project / "scenarios"
    text = (folder / "wal.yaml").read_text()
    (folder / "more.yaml").write_text(text.replace("name: append", "name: elsewhere"))
    assert "elsewhere" in bench("plan", "elsewhere").out
    assert "elsewhere" not in bench("plan").out


@pytest.mark.parametrize("command", ["run", "plan", "list"])
def test_an_unknown_scenario_offers_the_closest(bench: Bench, project: Path, command: str) -> None:
    found = bench(command, "apend")
    assert found.code == ExitCode.USAGE
    assert "did you mean append" in found.err


def test_where_no_name_is_near_no_more_are_listed_than_can_be_read() -> None:
    names = [f"scenario-{number:03}" for number in range(registry.LISTED + 7)]
    told = registry.closest("qqq", names)
    assert told.endswith(f"{names[registry.LISTED - 1]} and 7 more")
    assert registry.closest("qqq", names[:3]) == "known: " + ", ".join(names[:3])


def test_a_mistake_in_a_scenario_file_is_named_by_line(bench: Bench, project: Path) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("wal.append", "wal.apend", 1))
    found = bench("run")
    assert found.code == ExitCode.USAGE
    assert "scenarios/wal.yaml:4" in found.err


def test_backends_say_what_they_survive_and_can(bench: Bench) -> None:
    found = bench("backends")
    assert found.code == 0
    assert "wal.mmap" in found.out
    assert "D1 I1 C2, declared" in found.out


def test_a_foreign_backend_that_breaks_is_a_line_of_the_list(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, core: str | None) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(registry, "resolve", broken)
    found = bench("backends")
    assert found.code == 0
    assert "cannot be used: ZeroDivisionError: division by zero" in found.out


def test_the_schema_is_json(bench: Bench) -> None:
    assert json.loads(bench("schema").out)["$schema"]


def test_latencies_are_told_when_a_plan_asks_for_them(bench: Bench, project: Path) -> None:
    """The real runner, closed and open, on the Python twin."""
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("min_sample: 1ms", "min_sample: 1ms, rate: 50 k/s"))
    cell = "wal.none,core=python,rate=50000/s,record=64B"
    found = bench("run", "wal", "-k", cell, "-o", "out.json")
    assert found.code == 0, found.out + found.err
    assert ": latencies" in found.out
    row = results.read(project / "out.json").results[0]
    assert row.latency["mode"] == "open"
    assert row.latency["response"]["count"] == row.latency["service"]["count"] > 0
    assert row.latency["response"]["max"] >= row.latency["service"]["max"]


def test_a_folder_that_fills_up_meanwhile_loses_nothing(
    bench: Bench,
    project: Path,
    measured: RunResult,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    write = results.write

    def full(path: Path, result: RunResult) -> None:
        if path.parent.name == "results":
            raise OutputError(f"cannot write {path}: No space left on device")
        write(path, result)

    monkeypatch.setattr(results, "write", full)
    spares = tmp_path / "spare"
    spares.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spares))
    found = bench("run", "-k", "wal.none,core=python,record=64B")
    assert found.code == ExitCode.USAGE
    assert "1 row: 1 ok." in found.out  # the tables were shown all the same
    assert "Result:" not in found.out
    assert "No space left" in found.err
    (spare,) = spares.glob("*-wal.json")
    assert str(spare) in found.err
    assert results.read(spare).results


def test_an_output_without_a_name_is_one_error(bench: Bench) -> None:
    found = bench("run", "-o", "")
    assert found.code == ExitCode.USAGE
    assert "-o" in found.err


def test_no_time_at_all_is_no_budget(bench: Bench) -> None:
    assert bench("run", "--budget", "0s").code == ExitCode.USAGE
