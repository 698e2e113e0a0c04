"""Workers forked from one interpreter: each is a process of its own, and fails as one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench_cli import registry
from bench_cli.runner.processes import HERE, Program, run_worker
from bench_cli.runner.sides import Alone, Forked, Server, sides_of
from bench_cli.runner.worker import Job

pytestmark = pytest.mark.skipif(not HERE.forks, reason="forking workers needs Linux")
ROOT = Path(__file__).resolve().parents[2]
LONG = 120_000_000_000


def job(place: Path, backend: str, core: str = "python", **params: object) -> Job:
    workload = registry.workload_of("wal.append")
    full = {parameter.name: parameter.default for parameter in workload.parameters}
    place.mkdir(exist_ok=True)
    return Job(
        cell_id="x", workload="wal.append", params={**full, "batch": 1000, "record": 16, **params},
        backend=backend, core=core, samples=1, min_sample_ns=1, batches=1, scratch=str(place),
        allow_code=True,
    )  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = Server(HERE, tmp_path / "bytecode")
    yield found
    found.end()


def hostile(place: Path, name: str) -> Job:
    return job(place, f"tests.foreign.hostile:{name}")


def test_a_forked_worker_counts_what_a_started_one_counts(server: Server, tmp_path: Path) -> None:
    forked = server.do(job(tmp_path / "1", "wal.basic"), LONG)
    started = run_worker(job(tmp_path / "2", "wal.basic"), LONG)
    assert forked["ok"], forked
    counts = [answer["cell"]["exact"] for answer in (forked, started)]
    sizes = [found.pop("alloc_bytes_per_op") for found in counts]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.001), "integers: an address is longer or not"
    assert counts[0] == counts[1]
    assert forked["cell"]["ops"] == started["cell"]["ops"]


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("Killed", "killed by SIGKILL; often the system's out-of-memory killer"),
        ("Exits", "the worker ended with exit code 3: going away"),
        ("Leaves", "the worker ended with exit code 1: no more"),
        ("FullDisk", "No space left on device (errno 28)"),
        ("Missing", "cannot be loaded"),
    ],
)
def test_a_forked_worker_that_fails_says_what_a_started_one_says(
    server: Server, tmp_path: Path, backend: str, reason: str
) -> None:
    answer = server.do(hostile(tmp_path / "1", backend), LONG)
    assert not answer["ok"]
    assert reason in answer["reason"]
    assert answer == run_worker(hostile(tmp_path / "2", backend), LONG)
    assert server.do(job(tmp_path / "3", "wal.none"), LONG)["ok"], "the next one has nothing of it"


def test_what_a_backend_leaves_behind_is_not_seen_by_the_next_worker(
    server: Server, tmp_path: Path
) -> None:
    for name in ("1", "2"):
        answer = server.do(hostile(tmp_path / name, "Remembers"), LONG)
        assert "opened before: 0" in answer["reason"]


def test_a_forked_worker_that_prints_and_reads_disturbs_nothing(
    server: Server, tmp_path: Path
) -> None:
    assert server.do(hostile(tmp_path / "1", "Prints"), LONG)["ok"]
    assert server.do(hostile(tmp_path / "2", "Prints"), LONG)["ok"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell begins in the background ignores interruptions."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_the_worker_and_what_it_started(
    server: Server, tmp_path: Path
) -> None:
    """The writers of the pipe are the worker and a process it started; it hangs up without both."""
    os.mkfifo("spawned")
    reader = os.open("spawned", os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(reader, "rb"):
        with pytest.raises(KeyboardInterrupt):
            server.do(hostile(tmp_path / "1", "Spawns"), LONG)
        assert server.ended
        watch = select.poll()
        watch.register(reader, 0)
        assert watch.poll(10_000) == [(reader, select.POLLHUP)]


def test_a_forked_worker_past_its_limit_is_killed_and_says_so(
    server: Server, tmp_path: Path
) -> None:
    answer = server.do(job(tmp_path / "1", "wal.none"), timeout_ns=1)
    assert answer == {"ok": False, "reason": "took longer than its limit of 1e-09 s", "limits": {}}
    assert server.ended


def test_a_server_that_dies_is_the_answer_of_its_job_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    both = Forked(HERE, HERE)
    base, head = both.runners
    try:
        answer = base(hostile(tmp_path / "1", "KillsItsParent"), LONG)
        assert "the worker was killed by SIGKILL" in answer["reason"]
        assert base(job(tmp_path / "2", "wal.none"), LONG)["ok"]
        assert head(job(tmp_path / "3", "wal.none"), LONG)["ok"]
    finally:
        both.close()


def test_a_tool_that_cannot_start_is_the_answer_of_every_job(tmp_path: Path) -> None:
    both = Forked(Program(executable="/bin/false"), HERE)
    for name in ("1", "2"):
        answer = both.runners[0](job(tmp_path / name, "wal.none"), LONG)
        assert answer["reason"] == "the worker ended with exit code 1: it said nothing"
    both.close()


def test_each_round_has_interpreters_of_its_own(tmp_path: Path) -> None:
    both = Forked(HERE, HERE)
    parents = []
    for number in range(2):
        answers = [
            both.runners[side](
                hostile(tmp_path / f"{number}-{side}-{again}", "TellsItsParent"), LONG
            )
            for side in (0, 1)
            for again in (0, 1)
        ]
        parents += [answer["reason"] for answer in answers]
        both.next_round()
    both.close()
    assert len(set(parents)) == 4
    assert all("parent" in parent for parent in parents)


@pytest.mark.parametrize(("base", "head"), [(True, False), (False, True), (False, False)])
def test_neither_side_forks_where_one_cannot(base: bool, head: bool) -> None:
    sides = sides_of(Program(forks=base), Program(forks=head))
    assert isinstance(sides, Alone)
    assert not sides.forked
    sides.next_round()
    sides.close()


TOOL = """
import json, sys
from bench_cli.runner.processes import HERE
from bench_cli.runner.sides import sides_of
from bench_cli.runner.worker import Job
sides_of(HERE, HERE).runners[0](Job(**json.loads(sys.argv[1])), 120_000_000_000)
"""


def test_nothing_outlives_a_killed_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    os.mkfifo("hangs")
    hanging = hostile(tmp_path / "1", "Hangs")
    tool = subprocess.Popen([sys.executable, "-c", TOOL, hanging.to_json()], stderr=subprocess.PIPE)
    with Path("hangs").open("rb") as pipe:
        below = psutil.Process(tool.pid).children(recursive=True)
        assert len(below) == 3, "two servers and one worker"
        watched = [os.pidfd_open(process.pid) for process in below]
        tool.kill()
        tool.communicate()
        for descriptor in watched:  # readable when the process has ended
            watch = select.poll()
            watch.register(descriptor, select.POLLIN)
            assert watch.poll(10_000)
            os.close(descriptor)
        assert pipe.read() == b""
