"""How logs under a flush policy fail and end, and stand under the rest: both twins, and the Python
twin around a log of somebody else."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import LogClosed, LogPoisoned, LogWriteFailed
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import Item, LogOptions
from bench_cli.registry import resolve
from bench_cli.wal.segment import SegmentSet
from tests.contract.committed_logs import (
    OURS,
    PATIENCE_S,
    POLICIES,
    WRAPPED,
    Calls,
    Gate,
    GatedFiles,
    ManualClock,
    durable,
    open_committed,
    recovered,
    until,
)
from tests.contract.log_backends import label, load

# --- failures --------------------------------------------------------------------------------


def test_a_failed_sync_fails_every_waiter_and_poisons_the_log(
    subject: str, home: Path, files: GatedFiles
) -> None:
    log = open_committed(subject, home, "group", files=files)
    log.commit(b"safe")
    files.gate = gate = Gate(errno.EIO)
    calls = Calls()
    calls.start(log.commit, b"lost")
    gate.wait_for(1)
    if subject != WRAPPED:
        for _ in range(4):
            calls.start(log.commit, b"lost too")
        until(lambda: log.stats().last_sequence == 6)
    gate.let(99)
    for answer in calls.results():
        assert isinstance(answer, LogWriteFailed)
        assert answer.errno == errno.EIO
    assert gate.arrived == 1  # nobody tried again
    assert durable(log) == 1
    log.wait(1)
    for call in (lambda: log.append(b"x"), lambda: log.wait(2), log.sync, log.reset,
                 lambda: log.commit(b"x"), lambda: log.append_many([b"x"])):  # fmt: skip
        with pytest.raises(LogPoisoned) as poisoned:
            call()
        assert poisoned.value.errno == errno.EIO
    log.tick()
    log.close()
    assert durable(log) == 1
    with pytest.raises(LogClosed):
        log.append(b"x")


@pytest.mark.parametrize("policy", ["record", "1 records", "1B"])
def test_an_append_that_syncs_raises_what_the_sync_met(
    subject: str, home: Path, files: GatedFiles, policy: str
) -> None:
    log = open_committed(subject, home, policy, files=files)
    log.append(b"safe")

    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files.gate = fail
    with pytest.raises(LogWriteFailed) as failed:
        log.append(b"lost")
    assert failed.value.errno == errno.ENOSPC
    with pytest.raises(LogPoisoned):
        log.append(b"never")
    assert durable(log) == 1
    log.close()


@pytest.mark.parametrize("policy", ["async", "10ms"])
def test_a_sync_that_fails_in_the_background_is_told_by_the_next_call(
    subject: str, home: Path, files: GatedFiles, policy: str
) -> None:
    clock = ManualClock()
    log = open_committed(subject, home, policy, files=files, clock=clock)
    log.append(b"x")
    clock.now += 10_000_000

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    files.gate = fail
    log.tick()
    with pytest.raises(LogPoisoned) as poisoned:
        log.append(b"y")
    assert poisoned.value.errno == errno.EIO
    with pytest.raises(LogPoisoned):
        log.wait(1)
    log.close()


def test_a_failed_write_fails_those_who_wait(subject: str, home: Path, files: GatedFiles) -> None:
    if "Basic" not in subject:
        pytest.skip("a store cannot fail, and the wrapped log is held while it syncs")
    log = open_committed(subject, home, "group", files=files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"in the sync")
    gate.wait_for(1)
    calls.start(log.commit, b"waits for the next")
    until(lambda: log.stats().last_sequence == 2)

    def full(fd: int, data: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files.pwrite = full  # type: ignore[method-assign]  # for this file system alone
    with pytest.raises(LogWriteFailed):
        log.append(b"does not fit")
    gate.let(99)
    first, second = calls.results()
    assert first == 1  # its sync succeeded
    assert isinstance(second, LogWriteFailed)
    assert second.errno == errno.ENOSPC
    log.close()


def test_a_close_that_fails_fails_those_who_wait(
    subject: str, home: Path, files: GatedFiles
) -> None:
    log = open_committed(subject, home, "never", files=files)
    log.append(b"x")

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    files.gate = fail
    with pytest.raises(LogWriteFailed):
        log.close()
    log.close()
    with pytest.raises((LogClosed, LogPoisoned)):
        log.wait(1)
    assert durable(log) == 0
    load(OURS[0]).open(home, LogOptions(segment_size=1 << 20)).close()  # all was released


def test_an_error_that_is_none_of_the_disk_reaches_the_one_who_synced(
    subject: str, home: Path, files: GatedFiles
) -> None:
    log = open_committed(subject, home, "group", files=files)

    def stop() -> None:
        raise KeyboardInterrupt

    files.gate = stop
    log.append(b"x")
    with pytest.raises(KeyboardInterrupt):
        log.wait(1)
    files.gate = lambda: None
    assert durable(log) == 0
    log.wait(1)
    assert durable(log) == 1
    log.close()


INTERRUPTED = {"rotate": "let_go", "truncate_front": "_remove", "reset": "_close_unsynced"}
"""What a signal interrupts, and in the midst of it the step after which its handler raises."""


@pytest.mark.parametrize("what", INTERRUPTED)
@pytest.mark.parametrize("subject", OURS, ids=label)
def test_a_signal_in_the_midst_of_a_change_poisons_the_log_for_all_who_wait(
    subject: str, home: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: Any = open_committed(subject, home, "never", segment=4096)
    for _ in range(60):
        last = log.append(b"rotates now and then" * 5)
    log.wait(last - 1)
    safe = durable(log)
    ticket = log.append(b"not synced")
    real = getattr(SegmentSet, INTERRUPTED[what])

    def interrupted(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as signals:
        signals.setattr(SegmentSet, INTERRUPTED[what], interrupted)
        with pytest.raises(KeyboardInterrupt):
            if what == "rotate":
                while ticket < 1000:
                    ticket = log.append(b"until it rotates" * 9)
            elif what == "reset":
                log.reset()
            else:
                log.truncate_front(last)
    for call in (lambda: log.wait(ticket), lambda: log.append(b"x"), log.sync, log.reset,
                 lambda: log.truncate_front(1)):  # fmt: skip
        with pytest.raises(LogPoisoned) as poisoned:
            call()
        assert poisoned.value.errno == errno.EINTR
    log.wait(safe)
    assert durable(log) == safe
    log.close()
    again = load(subject).open(home, LogOptions(segment_size=4096))
    assert again.append(b"after") == ticket + 1
    again.close()


# --- processes -------------------------------------------------------------------------------

FORK = """
import os, sys
from pathlib import Path
from typing import Any
from tests.contract.committed_logs import open_committed
from bench_cli.errors import LogClosed
log = open_committed(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
log.commit(b"before")
child = os.fork()
if child == 0:
    try:
        log.append(b"in the child")
    except LogClosed:
        log.wait(1)
        log.close()
        os._exit(7)
    os._exit(8)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
log.commit(b"after")
print("done", flush=True)
"""


@pytest.mark.parametrize("policy", ["async", "5s", "group"])
def test_a_log_survives_a_fork_and_the_end_of_its_process(
    subject: str, home: Path, policy: str
) -> None:
    open_committed(subject, home / "probe", "never").close()  # skips where it is not built
    words = [sys.executable, "-W", "ignore", "-c", FORK, subject, str(home / "log"), policy]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert recovered(home / "log") == [b"before", b"after"]


# --- together with the rest ------------------------------------------------------------------


@pytest.mark.parametrize("module", ["log", "native"])
def test_a_log_that_keeps_nothing_takes_every_policy(module: str, home: Path) -> None:
    for policy in POLICIES:
        log = open_committed(f"bench_cli.wal.{module}:NoneBackend", home, policy)
        assert [log.append(b"x"), log.commit(b"y"), log.append_many([b"a", b"b"])] == [1, 2, 4]
        log.wait(4)
        stats = log.stats()
        assert (stats.last_sequence, stats.durable_sequence, stats.syncs) == (4, 0, 0)
        log.reset()
        log.close()


@pytest.mark.parametrize("subject", OURS, ids=label)
def test_a_waiter_that_is_interrupted_leaves_the_others_waiting(
    subject: str, home: Path, files: GatedFiles
) -> None:
    log = open_committed(subject, home, "group", files=files)
    files.gate = gate = Gate()
    calls = Calls()
    calls.start(log.commit, b"leads")
    gate.wait_for(1)
    ticket = log.append(b"waits")
    calls.start(log.wait, ticket)
    given_up, main = threading.Event(), threading.main_thread().ident
    assert main == threading.get_ident()

    def interrupt() -> None:
        while not given_up.wait(0.01):
            signal.pthread_kill(main, signal.SIGINT)

    # a process that was started in the background ignores interrupts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    calls.start(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            log.wait(ticket)
            pytest.fail("nothing interrupted it")
    finally:
        given_up.set()
    gate.let(99)
    assert calls.results() == [1, None, None]
    signal.signal(signal.SIGINT, before)
    assert durable(log) == 2
    log.close()


@pytest.mark.parametrize("core", ["log", "native"])
def test_a_pool_stands_on_a_log_under_a_policy(core: str, home: Path) -> None:
    logs = load(f"bench_cli.wal.{core}:MmapBackend")
    pools: Any = resolve("rewards.pool", "python" if core == "log" else "native")
    items = [Item("a", stock=100), Item("b", 3, stock=100)]
    options = LogOptions(segment_size=1 << 20, flush=parse_flush("10 records"))
    pool, log, _ = pools.recover(items, seed=1, backend=logs, directory=home, options=options)
    drawn = [pool.draw() for _ in range(25)]
    assert log.stats().durable_sequence == 20
    pool.sync()
    assert log.stats().durable_sequence == 25
    pool.close()
    log.close()
    again, log, found = pools.recover(items, seed=1, backend=logs, directory=home, options=options)
    assert (again.drawn, found.records) == (25, 25)
    assert again.stock()["a"] == 100 - drawn.count("a")
    again.close()
    log.close()
