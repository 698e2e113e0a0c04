"""Worker processes: a real one measures; one that dies, hangs or lies becomes a reason."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from bench_cli import registry
from bench_cli.runner.processes import Scratch, run_worker
from bench_cli.runner.worker import Job

LONG = 120_000_000_000


def job(tmp_path: Path, backend: str, **params: object) -> Job:
    workload = registry.workload_of("wal.append")
    full = {parameter.name: parameter.default for parameter in workload.parameters} | params
    return Job(
        cell_id="x", workload="wal.append", params=full, backend=backend, core="python",
        samples=1, min_sample_ns=1, batches=1, scratch=str(tmp_path), allow_code=True,
    )  # fmt: skip


def test_a_backend_that_prints_does_not_spoil_the_answer(tmp_path: Path) -> None:
    answer = run_worker(job(tmp_path, "tests.foreign.hostile:Prints", batch=1000, record=16), LONG)
    assert answer["ok"], answer
    assert answer["cell"]["ops"] == 1000
    assert len(answer["cell"]["time_ns"]) == 1
    assert answer["cell"]["exact"]["write_calls_per_op"] == 1 / 1000


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("Killed", "killed by SIGKILL; often the system's out-of-memory killer"),
        ("OutOfMemory", "out of memory"),
        ("FullDisk", "No space left on device (errno 28)"),
        ("Exits", "the worker ended with exit code 3: going away"),
        ("Forgetful", "verification: records found by recovery: found 250, must be 500"),
        ("Zeros", "is not what was appended"),
        ("Missing", "cannot be loaded"),
    ],
)
def test_a_worker_that_fails_is_an_answer_with_its_reason(
    tmp_path: Path, backend: str, reason: str
) -> None:
    answer = run_worker(job(tmp_path, f"tests.foreign.hostile:{backend}", record=16), LONG)
    assert not answer["ok"]
    assert reason in answer["reason"]


@pytest.mark.parametrize("forbidden", [True, False])
def test_modules_that_may_not_be_kept_beside_their_sources_are_kept_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forbidden: bool
) -> None:
    if forbidden:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    else:
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    place = tmp_path / "00001"
    place.mkdir()
    assert run_worker(job(place, "wal.none", batch=1000, record=16), LONG)["ok"]
    assert any((tmp_path / "bytecode").rglob("worker.*.pyc")) == forbidden


def test_the_collector_that_rests_during_the_start_runs_while_a_row_is_measured(
    tmp_path: Path,
) -> None:
    answer = run_worker(job(tmp_path, "tests.foreign.hostile:Litters", batch=1000, record=16), LONG)
    assert answer["ok"], answer
    assert answer["cell"]["exact"]["gc_count"] > 0


def test_a_worker_past_its_time_limit_is_killed_and_says_so(tmp_path: Path) -> None:
    answer = run_worker(job(tmp_path, "tests.foreign.hostile:Prints"), timeout_ns=1)
    assert answer == {"ok": False, "reason": "took longer than its limit of 1e-09 s", "limits": {}}


TOOL = """
import sys
from bench_cli.runner.processes import run_worker
from bench_cli.runner.worker import Job
import json
run_worker(Job(**json.loads(sys.argv[1])), 120_000_000_000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")
def test_a_worker_does_not_outlive_a_killed_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends of a pipe wait for each other; its end comes when the worker is gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    os.mkfifo("hangs")
    hanging = job(tmp_path, "tests.foreign.hostile:Hangs")
    tool = subprocess.Popen([sys.executable, "-c", TOOL, hanging.to_json()])
    with Path("hangs").open("rb") as pipe:
        tool.kill()
        tool.wait()
        watch = select.poll()  # unlike select, of a process with many open files too
        watch.register(pipe)
        ended = watch.poll(10_000)  # only a worker that stays waits for it
        assert [descriptor for descriptor, _ in ended] == [pipe.fileno()]
        assert pipe.read() == b""


def test_code_is_not_loaded_unless_allowed(tmp_path: Path) -> None:
    refused = job(tmp_path, "tests.foreign.hostile:Killed")
    refused.allow_code = False
    assert "--allow-code" in run_worker(refused, LONG)["reason"]


def test_scratch_folders_are_the_runs_own_and_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "not-ours").write_text("stays")
    scratch = Scratch(tmp_path)
    place = scratch.fresh("00001")
    (place / "log").write_text("goes")
    scratch.drop(place)
    assert not place.exists()
    scratch.close()
    assert [path.name for path in tmp_path.iterdir()] == ["not-ours"]


def test_what_a_killed_run_left_is_swept_and_a_living_runs_folder_is_not(tmp_path: Path) -> None:
    alive = Scratch(tmp_path)
    dead, recent, other = tmp_path / "run-dead", tmp_path / "run-recent", tmp_path / "mine"
    for folder in (dead, recent, other):
        (folder / "00001").mkdir(parents=True)
    (tmp_path / "run-link").symlink_to(other)
    for folder in (alive.path, dead, other):
        os.utime(folder, (0, 0))
    Scratch(tmp_path).close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {alive.path.name, "run-recent", "run-link", "mine"}
    assert (other / "00001").exists()
    alive.close()
