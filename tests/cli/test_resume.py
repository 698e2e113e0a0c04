"""``bench run --resume`` from outside, with real workers on the Python twin."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_cli import environment, results
from bench_cli.cli.order import Order, order_of, stored
from bench_cli.errors import ExitCode
from bench_cli.run_store import Header, Journal
from bench_cli.runner import run as runner
from bench_cli.scenario import Overrides
from tests.cli.conftest import Bench

RUN = ("run", "wal", "-k", "wal.none", "-o", "out.json")
ROWS = 2


@pytest.fixture
def interrupted(bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal of a run that Ctrl-C ended after its first process."""
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("processes: 1", "processes: 2"))
    real, calls = runner.run_worker, []

    def one_then_ctrl_c(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setitem(runner.execute.__kwdefaults__, "runner", one_then_ctrl_c)
        assert bench(*RUN).code == ExitCode.INTERRUPTED
    return project / "out.journal.jsonl"


def measured(path: Path) -> list[int]:
    return [len(row.samples.time_ns) for row in results.read(path).results if row.backend]


@pytest.mark.parametrize("name", ["out.journal.jsonl", "out.json"])
def test_an_interrupted_run_is_finished(
    bench: Bench, project: Path, interrupted: Path, name: str
) -> None:
    assert results.read(project / "out.json").interrupted
    before = results.read(project / "out.json").created
    found = bench("run", "--resume", name)
    assert found.code == ExitCode.OK, found.err
    assert "3 of 3 processes done" in found.err
    result = results.read(project / "out.json")
    assert (result.interrupted, result.created) == (False, before)
    assert result.settings["resumed"] is True
    assert measured(project / "out.json") == [2] * ROWS
    assert not interrupted.exists()
    again = bench("run", "--resume", name)
    assert again.code == ExitCode.USAGE


def test_latest_is_the_newest_journal(bench: Bench, project: Path, interrupted: Path) -> None:
    (project / "results").mkdir(exist_ok=True)
    interrupted.rename(project / "results" / interrupted.name)
    assert bench("run", "--resume", "latest").code == ExitCode.OK
    assert measured(project / "results" / "out.json") == [2] * ROWS


DIES = """
import os, signal, sys
from bench_cli.cli.main import run
from bench_cli.run_store import RunStore

append = RunStore.append

def append_and_die(self, entry):
    append(self, entry)
    os.kill(os.getpid(), signal.SIGKILL)

RunStore.append = append_and_die
run(sys.argv[1:])
"""


def test_a_run_killed_while_it_works_is_finished(bench: Bench, project: Path) -> None:
    """The tool in a process of its own, dead as soon as one process is journalled."""
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("processes: 1", "processes: 3"))
    done = subprocess.run(
        [sys.executable, "-c", DIES, *RUN], capture_output=True, check=False, cwd=project
    )
    assert done.returncode == -signal.SIGKILL
    assert not (project / "out.json").exists()
    found = bench("run", "--resume", "out.json")
    assert found.code == ExitCode.OK, found.err
    assert measured(project / "out.json") == [3] * ROWS


def test_an_order_comes_back_from_a_journal_as_it_went_in(tmp_path: Path) -> None:
    overrides = Overrides(("record=1KiB", "batch=2"), ("wal.none",), "python", ("a*b",), True, True)
    order = Order(["wal", "x.yaml"], overrides, 7, 2.5, tmp_path / "out.json", False)
    header = Header(result="out.json", order=json.loads(json.dumps(stored(order))))
    journal = Journal(tmp_path / "out.journal.jsonl", header, [], 0, 0)
    again = order_of(journal, allow_code=True, json=False)
    assert again == replace(order, resumed=journal)


# --- refusals --------------------------------------------------------------------------------


def test_a_changed_scenario_is_refused_by_name(
    bench: Bench, project: Path, interrupted: Path
) -> None:
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("samples: 1", "samples: 2"))
    before = interrupted.read_bytes()
    found = bench("run", "--resume", "out.json")
    assert found.code == ExitCode.USAGE
    assert "scenario file scenarios/wal.yaml: " in found.err
    assert "record=64B] has other settings" in found.err
    assert interrupted.read_bytes() == before


def test_another_machine_is_refused_by_field(
    bench: Bench, project: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = environment.record
    monkeypatch.setattr(
        environment, "record", lambda *a: {**real(*a), "cpu_model": "Z80", "revision": "0abc"}
    )
    found = bench("run", "--resume", "out.json")
    assert found.code == ExitCode.USAGE
    assert "-> Z80" in found.err
    assert "revision of the tool: " in found.err


def test_a_foreign_file_is_one_error(bench: Bench, project: Path) -> None:
    (project / "foreign.json").write_text("{}")
    (project / "foreign.journal.jsonl").write_text('{"colour": "blue"}\n')
    (project / "ended.json").write_text("{}")
    for name in ("foreign.json", "foreign.journal.jsonl", "ended.json", "no.json", "latest", "."):
        found = bench("run", "--resume", name)
        assert found.code == ExitCode.USAGE
        assert found.out == ""
        assert found.err.startswith("error: ")
        assert "Traceback" not in found.err
    assert sorted(path.name for path in project.glob("*.json*")) == [
        "ended.json", "foreign.journal.jsonl", "foreign.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [("wal",), ("--seed", "1"), ("-o", "x.json"), ("--budget", "1s"), ("-k", "x"), ("--quick",)],
)
def test_what_the_journal_says_cannot_be_said_again(
    bench: Bench, project: Path, more: tuple[str, ...]
) -> None:
    found = bench("run", "--resume", "latest", *more)
    assert found.code == ExitCode.USAGE
    assert "--resume runs what its journal says" in found.err


def test_code_allowed_once_is_not_allowed_for_ever(
    bench: Bench, project: Path, interrupted: Path
) -> None:
    head, rest = interrupted.read_text().split("\n", 1)
    document = json.loads(head)
    document["order"]["allow_code"] = True
    interrupted.write_text(json.dumps(document) + "\n" + rest)
    found = bench("run", "--resume", "out.json")
    assert found.code == ExitCode.USAGE
    assert "--allow-code" in found.err


# --- the budget ------------------------------------------------------------------------------


def test_a_budget_runs_each_cell_and_rows_say_how_often(bench: Bench, project: Path) -> None:
    found = bench("run", "wal", "-k", "wal.none", "--budget", "1ns", "-o", "out.json")
    assert "as many processes as fit in 0 s" in found.err
    assert "the time budget was used up before it ran" in found.out
