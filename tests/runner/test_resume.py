"""Going on with a run that was killed: every cell ends with its exact count, none twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import OutputError
from bench_cli.results import RunResult
from bench_cli.run_store import Entry, Header, ResumeRefused, RunStore, find, read_journal
from bench_cli.runner.plan import Plan, make_plan
from bench_cli.runner.run import RunSettings, execute
from bench_cli.runner.worker import Job
from tests.runner.test_run import LIMIT_CELLS, Watcher, answering, cell

PLAN = make_plan([cell(name) for name in "abcd"], seed=3)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def session(
    tmp_path: Path, plan: Plan, store: RunStore, finished: Sequence[Entry] = (), die_after: int = 99
) -> RunResult:
    """One process of the tool: dies before the answer ``die_after`` (from 0) arrives."""
    count = 0

    def runner(job: Job, timeout_ns: int) -> dict[str, Any]:
        nonlocal count
        if count == die_after:
            raise Killed
        count += 1
        return answering(job, timeout_ns)

    try:
        return execute(
            plan, LIMIT_CELLS, settings=RunSettings(tmp_path / "scratch"), reporter=Watcher(),
            store=store, environment={}, runner=runner, finished=finished,
        )  # fmt: skip
    finally:
        store.close(keep=True)


def begun(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "run.journal.jsonl", Header(result="run.json"))


def counted(result: RunResult) -> Counter[str]:
    return Counter({row.id: len(row.samples.time_ns) for row in result.results if row.backend})


@pytest.mark.parametrize("seed", range(6))
def test_a_run_killed_again_and_again_ends_with_its_exact_counts(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "run.journal.jsonl"
    with pytest.raises(Killed):
        session(tmp_path, PLAN, begun(tmp_path), die_after=rng.randrange(4))
    for _ in range(2):
        torn = rng.choice([b"", b"{", b'{"cell": "a", "round": 0, "answer": {"ok": tr'])
        path.write_bytes(path.read_bytes() + torn)
        journal = read_journal(path)
        with pytest.raises(Killed):
            session(tmp_path, PLAN, RunStore.resume(journal), journal.entries, rng.randrange(4))
    journal = read_journal(path)
    result = session(tmp_path, PLAN, RunStore.resume(journal), journal.entries)
    assert counted(result) == dict.fromkeys("abcd", 3)
    entries = [(entry.cell, entry.round) for entry in read_journal(path).entries]
    assert sorted(entries) == sorted((turn.cell.id, turn.round) for turn in PLAN.turns)


@pytest.mark.parametrize("cut", range(0, 400, 37))
def test_a_journal_cut_anywhere_in_its_last_line_loses_that_process_only(
    tmp_path: Path, cut: int
) -> None:
    with pytest.raises(Killed):
        session(tmp_path, PLAN, begun(tmp_path), die_after=3)
    path = tmp_path / "run.journal.jsonl"
    raw = path.read_bytes()
    last = len(raw) - raw[:-1].rfind(b"\n") - 1
    path.write_bytes(raw[: len(raw) - 1 - min(cut, last - 1)])
    assert len(read_journal(path).entries) == 2


def test_ctrl_c_then_resume_gives_the_result_of_an_undisturbed_run(tmp_path: Path) -> None:
    def interrupting(job: Job, timeout_ns: int) -> dict[str, Any]:
        if job.batches is not None:  # a second process
            raise KeyboardInterrupt
        return answering(job, timeout_ns)

    store = begun(tmp_path)
    first = execute(
        PLAN, LIMIT_CELLS, settings=RunSettings(tmp_path / "scratch"), reporter=Watcher(),
        store=store, environment={}, runner=interrupting,
    )  # fmt: skip
    store.close(keep=True)
    assert first.interrupted
    journal = read_journal(store.path)
    result = session(tmp_path, PLAN, RunStore.resume(journal), journal.entries)
    assert not result.interrupted
    store.path.unlink()
    undisturbed = session(tmp_path, PLAN, begun(tmp_path))
    assert result.results == undisturbed.results


def test_a_failure_is_not_run_again(tmp_path: Path) -> None:
    answer = {"ok": False, "reason": "killed by SIGKILL", "limits": {}}
    result = session(tmp_path, PLAN, begun(tmp_path), [Entry("a", 0, answer)])
    row = next(row for row in result.results if row.id == "a")
    assert (row.status, row.reason) == ("failed", "killed by SIGKILL")


def test_a_resumed_budget_is_what_is_left_of_it(tmp_path: Path) -> None:
    spent = 100.0

    def second(job: Job, timeout_ns: int) -> dict[str, Any]:
        nonlocal spent
        spent += 1
        return answering(job, timeout_ns)

    store = begun(tmp_path)
    execute(
        PLAN, LIMIT_CELLS, settings=RunSettings(tmp_path / "scratch", budget_s=10.0),
        reporter=Watcher(), store=store, environment={}, runner=second, now=lambda: spent,
        finished=[Entry(name, 0, GOOD, took_s=4.0) for name in "ab"],
    )  # fmt: skip
    store.close(keep=True)
    assert sorted(entry.cell for entry in read_journal(store.path).entries) == ["c", "d"]


def test_a_full_disk_ends_the_journal_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begun(tmp_path)
    store.append(Entry("a", 0, GOOD))
    with monkeypatch.context() as patch:

        def full(fd: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr("bench_cli.run_store.os.write", full)
        result = session(tmp_path, PLAN, store)
    assert counted(result) == dict.fromkeys("abcd", 3)
    assert store.lost == "the journal run.journal.jsonl ends early: No space left on device"
    assert len(read_journal(store.path).entries) == 1


GOOD = answering(Job("a", "wal.append", {}, None, None, 1, 1, None, ""), 0)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([Entry("x", 0, GOOD)], "line 2: no cell 'x'"),
        ([Entry("a", 0, GOOD), Entry("a", 0, GOOD)], "line 3: process 0 of a is there twice"),
        ([Entry("a", 0, {})], "not the answer of a worker"),
        ([Entry("a", 0, {"ok": False, "limits": {}})], "a failure without its reason"),
        ([Entry("a", 0, {"ok": True, "cell": {}, "limits": {}})], "answer.cell.ops: missing"),
        ([Entry("a", 0, {**GOOD, "limits": {"l": 1}})], "answer.limits.l: 1 is not an object"),
    ],
)
def test_entries_no_run_can_have_written_are_refused(
    tmp_path: Path, entries: list[Entry], reason: str
) -> None:
    with pytest.raises(ResumeRefused) as caught:
        session(tmp_path, PLAN, begun(tmp_path), entries)
    assert reason in caught.value.message


# --- the file --------------------------------------------------------------------------------


def head(**changes: Any) -> str:
    return json.dumps({"journal": 1, "result": "run.json"} | changes) + "\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not the journal of a run"),
        ('{"schema": 1, "results": []}\n', "not the journal of a run"),
        (head(journal=2), "a journal of version 2"),
        (head(result="../../etc/x"), "is no file name"),
        (head(result=""), "is no file name"),
        (head(odd=1), "line 1: line.odd: unknown field"),
        (head() + "{}\n", "line 2: line.cell: missing"),
        (head() + "[1\n", "line 2: "),
        (head() + '{"cell": "a", "round": 0, "answer": {"x": NaN}}\n', "line 2: NaN"),
        (head() + "\xff\n", "line 2: "),
        (head() + "[" * 200_000 + "\n", "nested deeper"),
    ],
)
def test_a_file_that_is_no_journal_is_one_error(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.journal.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ResumeRefused) as caught:
        read_journal(path)
    assert reason in caught.value.message
    assert caught.value.remedy


def test_a_journal_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no.journal.jsonl", tmp_path, Path("a\0b")):
        with pytest.raises(ResumeRefused):
            read_journal(path)


def test_a_result_stands_for_its_journal_and_latest_for_the_newest(tmp_path: Path) -> None:
    with pytest.raises(ResumeRefused, match="no interrupted run"):
        find("latest", tmp_path)
    store = begun(tmp_path)
    store.close(keep=True)
    assert find("latest", tmp_path) == store.path
    assert find(str(tmp_path / "run.json"), tmp_path) == store.path
    (tmp_path / "ended.json").write_text("{}")
    with pytest.raises(ResumeRefused, match="nothing to resume"):
        find(str(tmp_path / "ended.json"), tmp_path)


def test_a_run_that_is_still_going_is_not_taken_over(tmp_path: Path) -> None:
    store = begun(tmp_path)
    journal = read_journal(store.path)
    for take in (lambda: RunStore.resume(journal), lambda: begun(tmp_path)):
        with pytest.raises(OutputError, match="is being written"):
            take()
    store.close(keep=True)
    RunStore.resume(journal).close(keep=True)


def test_a_journal_another_run_went_on_with_meanwhile_is_refused(tmp_path: Path) -> None:
    begun(tmp_path).close(keep=True)
    journal = read_journal(tmp_path / "run.journal.jsonl")
    other = RunStore.resume(journal)
    other.append(Entry("a", 0, GOOD))
    other.close(keep=True)
    with pytest.raises(ResumeRefused, match="meanwhile"):
        RunStore.resume(journal)


def test_a_new_run_replaces_no_journal_and_no_file_of_others(tmp_path: Path) -> None:
    begun(tmp_path).close(keep=True)
    path = tmp_path / "run.journal.jsonl"
    before = path.read_bytes()
    with pytest.raises(OutputError, match="not finished") as refused:
        begun(tmp_path)
    assert "--resume" in (refused.value.remedy or "")
    assert path.read_bytes() == before
    path.write_text("somebody's work")
    with pytest.raises(OutputError, match="not the journal"):
        begun(tmp_path)
    assert path.read_text() == "somebody's work"
