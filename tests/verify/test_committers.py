"""What several threads commit is recorded the same way each time, and survives every crash."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from bench_cli.faults import committers, failing
from bench_cli.faults.bugs import SyncsCurrentOnly
from bench_cli.faults.crashes import Crashes, Tally
from bench_cli.faults.images import DiskState
from bench_cli.faults.policy_bugs import POLICY_BUGS, Flushed, PolicyBug
from bench_cli.faults.prove import Subject, crash
from bench_cli.faults.recorder import HOME, Op, Recorder
from bench_cli.faults.selftest import caught
from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import FORMATS, STORED, label, load

PYTHON = "bench_cli.wal.log:BasicBackend"
LATECOMERS = [bug for bug in POLICY_BUGS if committers.COMMITTERS in bug.kinds]


def shape(ops: list[Op]) -> list[tuple[str, int, int, int]]:
    """All of the operations but what random salts are in."""
    return [(op.kind, op.offset, len(op.data), op.since) for op in ops]


def sized(format: str, seed: int = 0) -> LogOptions:
    """Segments that fill up, or (for an odd seed) fewer."""
    return LogOptions(format, (4096, 8192)[seed % 2])


def rotations(disk: Recorder) -> int:
    return sum(op.kind == "create" for op in disk.ops) - 1


@pytest.mark.parametrize("place", STORED, ids=label)
def test_the_same_seed_records_the_same_whoever_leads(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if those who are to show that they do not wait get no time for that."""
    for seed in range(3):
        second = committers.record(load(place), sized("text"), seed)
        with monkeypatch.context() as hurried:
            hurried.setattr(committers, "GRACE_S", 0.0)
            first = committers.record(load(place), sized("text"), seed)
        assert shape(first[0].ops) == shape(second[0].ops)
        assert dict(first[1].needs) == dict(second[1].needs)  # the last word at each moment
        assert any(op.since >= 0 for op in first[0].ops)
        assert rotations(first[0]) > 0


@pytest.mark.parametrize("place", STORED, ids=label)
def test_rotations_come_between_commits_and_wait_for_a_sync_that_runs(place: str) -> None:
    """What is first done after such an append began is the sync that was under way."""
    waited = 0
    for seed in range(4):
        disk, history = committers.record(load(place), sized("binary"), seed)
        first = {need.attempted: disk.ops[at : at + 3] for at, need in reversed(history.needs)}
        kinds = [[op.kind for op in ops] for ops in first.values()]
        waited += kinds.count(["sync", "create", "size"])
        assert kinds.count(["create", "size", "write"]) + waited > 0
    assert waited > 1


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("place", STORED, ids=label)
def test_no_acknowledged_commit_is_lost(place: str, format: str) -> None:
    tally = Tally()
    for seed in range(4):
        options = sized(format, seed)
        disk, history = committers.record(load(place), options, seed)
        assert history.complaints == []
        assert history.now.attempted == committers.RECORDS
        under = committers.under(options, None)
        Crashes(load(place), under, disk, history, tally, "", seed, again=90).check(150)
        assert rotations(disk) > 0 or seed % 2
    assert tally.failures == []
    assert tally.images > 300


@pytest.mark.parametrize("place", STORED, ids=label)
def test_nobody_is_answered_by_a_sync_that_failed(place: str) -> None:
    tally = Tally()
    assert failing.check_committers(load(place), sized("binary"), tally, seed=6) > 10
    assert tally.failures == []


def test_a_failed_sync_ends_all_who_wait() -> None:
    fault = committers.Once(1, errno.EIO)
    while fault.call != "sync":
        fault = committers.Once(fault.at + 1, errno.EIO)
        _, history = committers.record(load(PYTHON), sized("binary", 1), 5, fault)
    assert history.complaints == []
    assert history.now.promised == 0 < history.now.written < committers.RECORDS


@pytest.mark.parametrize("bug", LATECOMERS, ids=lambda bug: bug.name)
def test_only_commits_during_a_sync_tell_of_mistakes_with_latecomers(
    bug: PolicyBug, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "check", lambda *arguments, **named: 0)  # takes long
    assert caught(bug) is not None
    assert caught(replace(bug, kinds=("group", "record", "time"))) is None


class LeavesBehind(Flushed):
    set_type = SyncsCurrentOnly


def test_a_sync_that_leaves_out_the_segment_left_behind_is_caught() -> None:
    tally = Tally(stop_at=1)
    options, backend = sized("binary"), LeavesBehind()
    for seed in range(8):
        disk, history = committers.record(backend, options, seed)
        Crashes(backend, committers.under(options, None), disk, history, tally, "", seed).check(100)
    assert "was promised" in tally.failures[0].reason


def test_it_is_replayed_by_its_name() -> None:
    subject, tally = Subject("wal.basic", "python", "binary"), Tally()
    crash(subject, subject.resolve(), committers.COMMITTERS, 4096, 2, tally, most=40)
    assert tally.failures == []
    assert tally.images >= 20


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    disk = Recorder({"file": b"a" * 1536})
    fd = disk.open(HOME / "file", 2)
    disk.pwrite(fd, b"b" * 512, 0)

    def meanwhile(call: str) -> int:
        disk.fault = lambda call: 0
        disk.pwrite(fd, b"c" * 512, 512)
        disk.pwrite(fd, b"d", 1024)
        return 0

    disk.fault = meanwhile
    disk.sync(fd)
    state = DiskState(disk, seed=1)
    for op in disk.ops:
        state.do(op)
    found = {(image or {})["file"][0:1536:512] for image in state.images(100)}
    assert found == {b"baa", b"bca", b"bad", b"bcd"}
