"""Logs under a flush policy, over files and clocks that a test controls: no test waits for time to
pass, and every thread that is waited for is known to come."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_cli.filesystem import SystemFileSystem, SystemMapping
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import CommittedLog, FileSystem, FlushPolicy, LogOptions
from bench_cli.wal.flush import FlushedLog
from tests.contract.log_backends import load, read

MIB = 1 << 20
OURS = [
    f"bench_cli.wal.{module}:{name}"
    for module in ("log", "native")
    for name in ("BasicBackend", "MmapBackend")
]
WRAPPED = "wrapped"  # a log that syncs in one go, as somebody else's does
SUBJECTS = [*OURS, WRAPPED]
POLICIES = ("never", "async", "record", "group", "group 4 1us", "3 records", "200B", "10ms")
PATIENCE_S = 60  # a test that needs it has failed


class Whole:
    """A log without steps: only what the interface asks."""

    def __init__(self, log: Any) -> None:
        self.format = log.format
        for name in ("append", "append_many", "append_write", "append_remove", "append_truncate",
                     "append_uploaded", "sync", "reset", "stats", "close"):  # fmt: skip
            setattr(self, name, getattr(log, name))


def open_committed(
    subject: str,
    directory: Path,
    policy: str | FlushPolicy,
    *,
    files: FileSystem | None = None,
    clock: Any = None,
    segment: int = MIB,
    format: str = "binary",
) -> CommittedLog:
    flush = parse_flush(policy) if isinstance(policy, str) else policy
    if subject == WRAPPED:
        log = load(OURS[0]).open(directory, LogOptions(format, segment, files))
        return FlushedLog(Whole(log), flush, clock)  # type: ignore[arg-type]  # its methods are set when made
    options = LogOptions(format, segment, files, flush=flush, clock=clock)
    opened: Any = load(subject).open(directory, options)
    return opened  # type: ignore[no-any-return]  # a backend is loaded by name


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000

    def now_ns(self) -> int:
        return self.now

    def wall_ns(self) -> int:
        return self.now


class GatedFiles(SystemFileSystem):
    """Each sync asks ``gate`` first, which may wait or raise; ``events`` notes, in order, writes
    and the begins and ends of syncs of the log's own file."""

    def __init__(self) -> None:
        self.gate: Callable[[], None] = lambda: None
        self.events: list[str] = []
        self.syncs = 0
        self._note = threading.Lock()

    def note(self, event: str) -> None:
        with self._note:
            self.events.append(event)

    def synced(self, sync: Callable[[], None]) -> None:
        self.note("sync")
        self.syncs += 1
        self.gate()
        sync()
        self.note("synced")

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        self.note("write")
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.synced(lambda: os.fdatasync(fd))

    def map(self, fd: int, length: int) -> Any:
        return GatedMapping(self, super().map(fd, length))


class GatedMapping:
    def __init__(self, files: GatedFiles, inner: SystemMapping) -> None:
        self._files, self._inner = files, inner
        self.buffer = inner.buffer

    def stored(self, offset: int, length: int) -> None:
        self._files.note("write")

    def sync(self, offset: int, length: int) -> None:
        self._files.synced(lambda: self._inner.sync(offset, length))

    def close(self) -> None:
        self._inner.close()


class Gate:
    """Holds each sync until it is let through; ``arrived`` counts those that came."""

    def __init__(self, error: int = 0) -> None:
        self._turn = threading.Condition()
        self.arrived = self._allowed = 0
        self.error = error

    def __call__(self) -> None:
        with self._turn:
            self.arrived += 1
            number = self.arrived
            self._turn.notify_all()
            assert self._turn.wait_for(lambda: self._allowed >= number, PATIENCE_S)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))

    def wait_for(self, arrived: int) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: self.arrived >= arrived, PATIENCE_S)

    def let(self, more: int = 1) -> None:
        with self._turn:
            self._allowed += more
            self._turn.notify_all()


class Calls:
    """Calls on threads of their own; ``results()`` waits for all of them."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._results: dict[int, Any] = {}

    def start(self, call: Callable[..., Any], *arguments: Any) -> threading.Thread:
        index = len(self._threads)

        def run() -> None:
            try:
                self._results[index] = call(*arguments)
            except Exception as error:
                self._results[index] = error

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def results(self) -> list[Any]:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a call hangs"
        return [self._results[index] for index in range(len(self._threads))]


def until(condition: Callable[[], bool]) -> None:
    """For what another thread is about to do and tells nobody of."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 1000):
        if condition():
            return
        pause.wait(0.001)
    pytest.fail("it never came to that")


def durable(log: CommittedLog) -> int:
    return log.stats().durable_sequence


def recovered(home: Path) -> list[bytes]:
    _, records = read(load(OURS[0]), home, LogOptions(segment_size=1 << 20))
    return [payload for _, _, payload in records]
