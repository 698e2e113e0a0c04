"""Writers that are killed at each of their system calls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench_cli.faults import call_kills, engine_calls, prove, tracing
from bench_cli.faults.engine_kills import EngineKilling
from bench_cli.faults.kills import Killing
from bench_cli.faults.prove import Effort, Subject
from bench_cli.interfaces import Capability
from tests.cli.conftest import Bench, bench, project
from tests.contract.log_backends import load, scratch

__all__ = ["bench", "project"]  # fixtures

MISSING = tracing.why_not()
needs_tracing = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    for directory in scratch(tmp_path):
        yield str(directory)


def program(source: str, *arguments: str) -> list[str]:
    """What a program says, line by line: a process that has threads must not fork."""
    words = [sys.executable, "-c", source, *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def judged(callers: str, killing: Killing) -> dict[str, Any]:
    words = [sys.executable, "-m", callers, json.dumps(asdict(killing))]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return dict(json.loads(found.stdout))


def killed(name: str, core: str | None, place: str, form: str = "binary") -> dict[str, Any]:
    return judged(call_kills.CALLERS, Killing(name, core, form, 1, 42, place, allow_code=True))


# --- stops -----------------------------------------------------------------------------------


AT_EACH = """
import os, sys, threading
from bench_cli.faults.tracing import be_traced, killed_at, traced

def alone(pipe):
    os.write(pipe, b"a")
    os.write(pipe, b"b")

def threaded(pipe):
    thread = threading.Thread(target=os.write, args=(pipe, b"t"))
    thread.start()
    thread.join()

def failing(pipe):
    be_traced(os.getppid())

work, stop, ended = globals()[sys.argv[1]], 0, None
while stop == 0 or ended.killed:
    stop += 1
    process, pipe = traced(work)
    ended = killed_at(process, stop)
    written = os.read(pipe, 9).decode()
    print(stop, ended.stops, ended.killed, "thread" in ended.at, ended.at[:5], written,
          os.WIFSIGNALED(ended.status), ended.status)
    os.close(pipe)
"""


def at_each(work: str) -> list[list[str]]:
    return [line.split(" ") for line in program(AT_EACH, work)]


@needs_tracing
def test_a_call_is_killed_before_it_is_executed_and_after_it() -> None:
    *dead, whole = at_each("alone")
    assert [(line[4], line[5]) for line in dead[:4]] == [
        ("befor", ""), ("after", "a"), ("befor", "a"), ("after", "ab")
    ]  # fmt: skip
    assert all(line[2] == line[6] == "True" and line[0] == line[1] for line in dead)
    assert whole[2:] == ["False", "False", "", "ab", "False", "0"]


@needs_tracing
def test_threads_are_stopped_too() -> None:
    *dead, whole = at_each("threaded")
    assert {line[3] for line in dead} == {"True", "False"}
    assert {line[5] for line in dead} == {"", "t"}
    assert whole[5:] == ["t", "False", "0"]


@needs_tracing
def test_what_a_writer_that_cannot_be_traced_ends_with_is_told() -> None:
    (ended,) = at_each("failing")[-1:]
    assert ended[6:] == ["False", str(1 << 8)]


ABANDONED = """
import os
from bench_cli.faults.tracing import Refused, be_traced

ended, ends = os.pipe()
parent = os.fork()
if parent == 0:
    parent = os.getpid()
    if os.fork() == 0:
        os.close(ends)
        os.read(ended, 1)
        try:
            be_traced(parent)
        except Refused as error:
            os.write(1, str(error).encode())
    os._exit(0)
"""


@needs_tracing
def test_who_has_lost_its_parent_does_not_wait_for_it() -> None:
    assert program(ABANDONED) == ["who was to trace this process is gone"]


# --- logs ------------------------------------------------------------------------------------


@needs_tracing
@pytest.mark.parametrize(
    ("name", "core", "form"),
    [
        ("wal.basic", "native", "binary"),
        ("wal.basic", "python", "text"),
        ("wal.mmap", "native", "jsonl"),
        ("wal.mmap", "python", "binary"),
    ],
)
def test_each_call_of_a_life_is_survived(name: str, core: str, form: str, place: str) -> None:
    load(f"bench_cli.wal.{'native' if core == 'native' else 'log'}:BasicBackend")
    found = killed(name, core, place, form)
    assert found["failures"] == []
    assert found["kills"] > 100
    assert list(Path(place).iterdir()) == []


EVERY = """
import random, sys
from pathlib import Path
from bench_cli.faults import call_kills
from bench_cli.faults.engine_kills import KeptOfEngine
from bench_cli.wal.log import BasicBackend

backend, kept = BasicBackend(), KeptOfEngine()
plan = call_kills.plan_of(backend, "binary", "never", 42)
called = call_kills.Called(backend, Path(sys.argv[1]) / "log", plan, call_kills.Start())
whole = called.die_at(0)
assert not whole.ended.killed and whole.reason is None, whole
left = call_kills.at_every_stop(called.die_at, kept, "", random.Random(1), {})
assert left.records and kept.failures == [], kept.failures
print(whole.ended.stops, kept.kills)
"""


@needs_tracing
def test_each_stop_of_a_life_kills_one_writer(place: str) -> None:
    (line,) = program(EVERY, place)
    stops, kills = map(int, line.split())
    assert stops == kills > 100


@needs_tracing
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Late", "nothing was recovered; 1 was written"),
        ("InPieces", "a part of a batch"),
        ("Baseless", "a crash was taken for damage"),
        ("Slotted", "a crash was taken for damage"),
    ],
)
def test_what_a_kill_between_two_calls_breaks_is_found(name: str, told: str, place: str) -> None:
    found = killed(f"tests.verify.call_liars:{name}", None, place)
    assert len(found["failures"]) == len(found["images"]) == 1
    assert told in found["failures"][0]
    assert "a system call number" in found["failures"][0]


@needs_tracing
def test_nothing_is_found_in_such_a_log_without_a_mistake(place: str) -> None:
    assert killed("tests.verify.call_liars:Least", None, place)["failures"] == []


def test_a_log_is_asked_for_what_it_can_do_and_for_all_of_that() -> None:
    able = load("bench_cli.wal.log:BasicBackend")
    policies = call_kills.policies_of(able, "binary")
    assert set(Effort().policies) | {call_kills.AHEAD} == set(policies)
    done = {step.do for step in call_kills.plan_of(able, "binary", "record", 1).steps}
    assert {"append", "batch", "sync", "truncate", "reset"} <= done
    least = load("tests.verify.call_liars:Least")
    assert Capability.COMMIT not in least.capabilities
    for policy in call_kills.policies_of(least, "binary"):
        asked = {step.do for step in call_kills.plan_of(least, "binary", policy, 1).steps}
        assert asked <= {"append", "close"}


# --- engines ---------------------------------------------------------------------------------


def engine(name: str, place: str) -> dict[str, Any]:
    killing = EngineKilling(name, "python", "binary", 1, 42, place, True, "wal.basic")
    return judged(engine_calls.CALLERS, killing)


@needs_tracing
def test_each_call_of_a_pool_with_a_snapshot_is_survived(place: str) -> None:
    found = engine("rewards.pool", place)
    assert found["failures"] == []
    assert found["kills"] > 100


@needs_tracing
def test_a_pool_that_counts_anew_is_found(place: str) -> None:
    found = engine("tests.verify.liars:Recounting", place)
    assert len(found["failures"]) == len(found["images"]) == len(found["settings"]) == 1
    assert "items" in found["settings"][0]


# --- the proof -------------------------------------------------------------------------------


@needs_tracing
def test_a_proof_counts_them_apart_and_keeps_no_image_of_a_black_box(place: str) -> None:
    effort = Effort(kills=1, calls=1)
    liar = Subject("tests.verify.call_liars:Baseless", None, "binary", allow_code=True)
    proof = prove.prove(liar, effort, Path(place), lambda count: None)
    assert proof.kills == 1
    assert proof.calls > 50
    assert [(one.layer, one.image) for one in proof.failures] == [("C", None)]


def test_where_nobody_is_traced_the_reason_is_told_once(
    bench: Bench, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "why_not", lambda: "ptrace: Operation not permitted")
    asked = ("verify", "--backend", "wal.none", "--core", "python", "--quiet")
    ended = bench(*asked, width=150)
    assert ended.code == 0
    assert ended.err.count("ptrace: Operation not permitted") == 1
    assert bench(*asked, "--kills", "0").err == ""


def test_it_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing.why_not.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tracing.why_not() == "it needs Linux"
    tracing.why_not.cache_clear()
