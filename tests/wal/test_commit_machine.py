"""Both twins of a log under a flush policy, side by side with a model of a few lines: the same
calls give the same results and errors, the same records are durable, and the same is told."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bench_cli.errors import EngineError, LogClosed, LogPoisoned, LogWriteFailed
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import LogOptions
from tests.contract.committed_logs import GatedFiles, ManualClock, open_committed
from tests.contract.log_backends import load, read

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
POLICIES = ("never", "async", "record", "group", "group:4:1us", "3records", "150B", "10ns")


class Twin:
    def __init__(self, subject: str, directory: Path, policy: str) -> None:
        self.subject, self.directory, self.policy = subject, directory, policy
        self.files, self.clock = GatedFiles(), ManualClock()
        self.open()

    def open(self) -> None:
        self.files.gate = lambda: None
        self.log = open_committed(
            self.subject, self.directory, self.policy, files=self.files, clock=self.clock
        )

    def fail_next_sync(self) -> None:
        def fail() -> None:
            self.files.gate = lambda: None
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.files.gate = fail

    def call(self, name: str, *arguments: Any) -> Any:
        """What it returns, or the type and fields of what it raises."""
        try:
            return getattr(self.log, name)(*arguments)
        except EngineError as error:
            return type(error), getattr(error, "errno", None)
        except ValueError as error:
            return ValueError, str(error)


class Model:
    """What the policy promises, and nothing of how it is done."""

    def __init__(self, policy: str) -> None:
        self.policy = parse_flush(policy)
        self.records: list[bytes] = []
        self.base = 0  # forgotten by resets
        self.durable = self.now = 0
        self.since: int | None = None
        self.bytes = self.synced_bytes = 0
        self.failing = self.failed = self.closed = False
        self.groups: list[int] = []
        self.oldest = 0

    @property
    def last(self) -> int:
        return self.base + len(self.records)

    def refusal(self) -> Any:
        if self.closed:
            return LogClosed, None
        return (LogPoisoned, errno.EIO) if self.failed else None

    def sync(self) -> Any:
        """The error, if the device has one."""
        if self.failing:
            self.failing, self.failed = False, True
            return LogWriteFailed, errno.EIO
        if self.last > self.durable:
            self.groups.append(self.last - self.durable)
        if self.since is not None:
            self.oldest = max(self.oldest, self.now - self.since)
        self.durable, self.since, self.synced_bytes = self.last, None, self.bytes
        return None

    def append(self, payloads: list[bytes], total_bytes: int) -> Any:
        self.records += payloads
        self.bytes = total_bytes
        if self.since is None:
            self.since = self.now
        kind, number = self.policy.kind, self.policy.number
        due = (
            kind == "record"
            or (kind == "records" and self.last - self.durable >= number)
            or (kind == "bytes" and self.bytes - self.synced_bytes >= number)
        )
        return (self.sync() if due else None) or self.last

    def wait(self, ticket: int) -> Any:
        if ticket <= self.durable:
            return None
        return self.refusal() or self.sync()

    def tick(self) -> None:
        if self.closed or self.failed or self.since is None:
            return
        if self.policy.kind == "async" or (
            self.policy.kind == "time" and self.now - self.since >= self.policy.number
        ):
            self.sync()


class CommitMachine(RuleBasedStateMachine):
    subjects: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.twins: list[Twin] = []

    def teardown(self) -> None:
        for twin in self.twins:
            twin.call("close")
        shutil.rmtree(self.home)

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: str) -> None:
        self.model = Model(policy)
        self.twins = [
            Twin(subject, self.home / str(index), policy)
            for index, subject in enumerate(self.subjects)
        ]

    def every(self, name: str, *arguments: Any) -> Any:
        """The outcome, the same for each twin."""
        outcomes = [twin.call(name, *arguments) for twin in self.twins]
        assert outcomes.count(outcomes[0]) == len(outcomes), (name, arguments, outcomes)
        return outcomes[0]

    @rule(payload=st.binary(max_size=60))
    def append(self, payload: bytes) -> None:
        found = self.every("append", payload)
        assert found == (self.model.refusal() or self._appended([payload]))

    @rule(payloads=st.lists(st.binary(max_size=20), min_size=1, max_size=5))
    def append_many(self, payloads: list[bytes]) -> None:
        found = self.every("append_many", payloads)
        assert found == (self.model.refusal() or self._appended(payloads))

    @rule(payload=st.binary(max_size=60))
    def commit(self, payload: bytes) -> None:
        found = self.every("commit", payload)
        wanted = self.model.refusal() or self._appended([payload])
        if isinstance(wanted, int):
            wanted = self.model.wait(wanted) or wanted
        assert found == wanted

    def _appended(self, payloads: list[bytes]) -> Any:
        total = self.twins[0].log.stats().bytes
        return self.model.append(payloads, total)

    @rule(back=st.integers(0, 6))
    def wait(self, back: int) -> None:
        ticket = self.model.last - back
        if ticket < 1:
            assert self.every("wait", ticket)[0] is ValueError
        else:
            assert self.every("wait", ticket) == self.model.wait(ticket)

    @rule()
    def wait_for_what_was_not_given(self) -> None:
        assert self.every("wait", self.model.last + 1)[0] is ValueError

    @rule()
    def sync(self) -> None:
        refusal = self.model.refusal()
        unsynced = self.model.last > self.model.durable
        wanted = refusal or (self.model.sync() if unsynced else None)
        assert self.every("sync") == wanted

    @rule()
    def tick(self) -> None:
        self.model.tick()
        assert self.every("tick") is None

    @rule(ns=st.integers(1, 15))
    def time_passes(self, ns: int) -> None:
        self.model.now += ns
        for twin in self.twins:
            twin.clock.now += ns

    @precondition(lambda self: not self.model.failing)
    @rule()
    def reset(self) -> None:
        refusal = self.model.refusal()
        assert self.every("reset") == refusal
        if refusal is None:
            model = self.model
            model.base, model.records = model.last, []
            model.durable, model.since = model.last, None
            model.synced_bytes = model.bytes

    @rule()
    def the_next_sync_fails(self) -> None:
        if not (self.model.closed or self.model.failed):
            self.model.failing = True
            for twin in self.twins:
                twin.fail_next_sync()

    @rule()
    def close(self) -> None:
        model = self.model
        wanted = None
        if not (model.closed or model.failed):
            unsynced = model.last > model.durable
            failing = model.failing  # the footer is synced too
            wanted = model.sync() if unsynced or failing else None
        model.closed, model.failing = True, False
        assert self.every("close") == wanted

    @precondition(lambda self: self.model.closed)
    @rule()
    def reopen(self) -> None:
        model = self.model
        policy, now, base, records = model.policy, model.now, model.base, model.records
        self.model = Model("never")
        self.model.policy, self.model.now = policy, now
        self.model.base, self.model.records = base, records
        self.model.durable = self.model.last  # opening syncs what it finds
        for twin in self.twins:
            twin.open()

    @invariant()
    def what_is_durable_is_what_the_model_says(self) -> None:
        for twin in self.twins:
            stats = twin.log.stats()
            assert stats.last_sequence == self.model.last
            assert stats.durable_sequence == self.model.durable

    @invariant()
    def what_is_told_is_what_was_done(self) -> None:
        model = self.model
        age = 0 if model.since is None else model.now - model.since
        for twin in self.twins:
            told = twin.log.flush_stats()
            assert (told.groups, told.records) == (len(model.groups), sum(model.groups))
            assert told.largest_group == max(model.groups, default=0)
            assert sum(told.sizes) == len(model.groups)
            assert told.max_unsynced_ns == max(model.oldest, age)
            assert told.waiting == 0  # one thread, which does something else now

    @invariant()
    def everything_written_is_recovered(self) -> None:
        if self.model.closed:
            for twin in self.twins:
                backend = load("bench_cli.wal.log:BasicBackend")
                _, found = read(backend, twin.directory, LogOptions(segment_size=1 << 20))
                assert [payload for _, _, payload in found] == self.model.records


@pytest.mark.parametrize("storage", ["Basic", "Mmap"])
def test_twins_keep_what_a_policy_promises(storage: str) -> None:
    subjects = tuple(f"bench_cli.wal.{module}:{storage}Backend" for module in ("log", "native"))
    load(subjects[1])  # skips where it is not built

    class Machine(CommitMachine):
        pass

    Machine.subjects = subjects
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(max_examples=60, stateful_step_count=25, deadline=None, derandomize=True),
    )


def test_a_wrapped_log_keeps_what_a_policy_promises() -> None:
    class Machine(CommitMachine):
        subjects = ("wrapped",)

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True),
    )
