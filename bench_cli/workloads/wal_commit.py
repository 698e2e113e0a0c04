"""Commit rows: append a record and wait until it is durable, alone, from many threads at once, or
with many tickets outstanding.

With ``sync_delay`` each sync of the log's own files takes that much longer than the device needs,
so that a slower one can be modelled; it stands in the id of the row.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench_cli.errors import Unsupported, VerificationFailed
from bench_cli.filesystem import SlowFileSystem, SystemFileSystem
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import (
    Body,
    BodyInfo,
    Buffer,
    Capability,
    CommittedLog,
    LogOptions,
    MappedFile,
    Needs,
    Parameter,
    Setting,
)
from bench_cli.registry import open_committed
from bench_cli.workloads.base import (
    KIB,
    MIB,
    Declared,
    choice,
    count,
    expect,
    laps,
    random_bytes,
    size,
)
from bench_cli.workloads.wal import LogBody

COMMITS = 500
COMMITS_EACH = 100
LEAST_COMMITS = 10
"""Commits in a batch, of one thread and of each of several: to start and to await those is little
beside them. A fifth with ``sync_delay``; fewer in short samples, but not fewer than the least."""
PROVED = 5
PROOF_SEGMENT = MIB


class WatchedMapping:
    def __init__(self, inner: MappedFile, files: WatchedFiles) -> None:
        self._inner, self._files = inner, files
        self.buffer = inner.buffer

    def stored(self, offset: int, length: int) -> None:
        self._files.writes += 1

    def sync(self, offset: int, length: int) -> None:
        self._files.watch(lambda: self._inner.sync(offset, length))

    def close(self) -> None:
        self._inner.close()


class WatchedFiles(SystemFileSystem):
    """Counts writes, of which each is one record; ``covered`` is how many had been made when the
    latest successful sync began."""

    def __init__(self) -> None:
        self.writes = self.covered = 0

    def watch(self, sync: Callable[[], None]) -> None:
        begun = self.writes
        sync()
        self.covered = begun

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        done = super().pwrite(fd, data, offset)
        self.writes += 1
        return done

    def sync(self, fd: int) -> None:
        self.watch(lambda: super(WatchedFiles, self).sync(fd))

    def map(self, fd: int, length: int) -> MappedFile:  # type: ignore[override]  # all that the Protocol asks
        return WatchedMapping(super().map(fd, length), self)


class Crew:
    """Threads that each do ``work(number)`` once per ``run``, all together."""

    def __init__(self, size: int, work: Callable[[int], None]) -> None:
        self._work = work
        self._gate = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._stop = False
        self.failures: list[Exception] = []
        self._threads = [threading.Thread(target=self._serve, args=(n,)) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def _serve(self, number: int) -> None:
        while True:
            self._gate.acquire()
            if self._stop:
                return
            try:
                self._work(number)
            except Exception as error:  # told by whoever verifies
                self.failures.append(error)
            self._done.release()

    def run(self) -> None:
        self._gate.release(len(self._threads))
        for _ in self._threads:
            self._done.acquire()

    def check(self) -> None:
        if self.failures:
            raise VerificationFailed(f"a committer failed: {self.failures[0]!r}")

    def close(self) -> None:
        self._stop = True
        self._gate.release(len(self._threads))
        for thread in self._threads:
            thread.join()


class CommitBody(LogBody):
    """Commits of one thread, one after the other."""

    log: CommittedLog

    def __init__(self, setting: Setting) -> None:
        params = setting.params
        self.committers, self.tickets = int(params["committers"]), int(params["tickets"])
        self.delay_ns = int(params["sync_delay"])
        super().__init__(setting)
        self.payload = random_bytes(int(params["record"]), setting.seed)
        self.laps = laps(self.commits(COMMITS))
        self.info = BodyInfo(len(self.laps), loop=self.laps)
        if Capability.FAULTS in self.backend.capabilities:
            self.prove_order(setting.scratch / "proof")

    def commits(self, usual: int) -> int:
        """Of one thread in a batch."""
        return self.setting.batch(usual // 5 if self.delay_ns else usual, LEAST_COMMITS)

    def open_log(self) -> CommittedLog:
        policy = parse_flush(str(self.setting.params["flush"]))
        self.options = replace(self.options, flush=policy)  # "never" too: somebody waits
        if not self.delay_ns:
            return open_committed(self.backend, self.place, self.options)
        if Capability.FAULTS not in self.backend.capabilities:
            raise Unsupported(f"{self.setting.backend} takes no file system: no sync_delay")
        slow = replace(self.options, file_system=SlowFileSystem(self.delay_ns))
        return open_committed(self.backend, self.place, slow)

    def prove_order(self, place: Path) -> None:
        """On a small log whose writes and syncs are watched, untimed: no record is acknowledged
        but by a sync that began after it was written, and all are recovered."""
        files, payload = WatchedFiles(), self.payload[: 4 * KIB]
        watched = LogOptions(self.options.format, PROOF_SEGMENT, files, self.options.flush)
        log = open_committed(self.backend, place, watched)
        before = files.writes

        def work(number: int) -> None:
            for _ in range(PROVED):
                for ticket in self.acknowledged(log, payload):
                    if files.covered - before < ticket:
                        raise VerificationFailed(f"record {ticket} was acknowledged too early")

        crew = Crew(self.committers, work)
        crew.run()
        crew.close()
        crew.check()
        log.close()
        wanted = PROVED * self.committers * self.tickets
        expect("proof: records", self.backend.recover(place, watched).records, wanted)
        shutil.rmtree(place)

    def acknowledged(self, log: CommittedLog, payload: bytes) -> Iterator[int]:
        """Tickets, each once it is durable."""
        yield log.commit(payload)

    def prepare(self) -> None:
        self.empty()

    def run(self) -> None:
        commit, payload = self.log.commit, self.payload
        for _ in self.laps:
            commit(payload)

    def check_records(self, wanted: int) -> None:
        super().check_records(wanted)
        if Capability.SYNC in self.backend.capabilities:
            stats = self.log.stats()
            expect("durable sequence", stats.durable_sequence, stats.last_sequence)


class SteppedCommitBody(CommitBody):
    """The same, one commit at a time."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.steps = len(self.laps)

    def stepper(self) -> Callable[[], object]:
        return partial(self.log.commit, self.payload)

    def verify_steps(self, count: int) -> None:
        self.check_records(count)


class TicketBody(CommitBody):
    """One thread: append ``tickets`` records, then wait for each."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.info = BodyInfo(len(self.laps) * self.tickets, loop=self.laps)
        self.each = laps(self.tickets)

    def acknowledged(self, log: CommittedLog, payload: bytes) -> Iterator[int]:
        for ticket in [log.append(payload) for _ in range(self.tickets)]:
            log.wait(ticket)
            yield ticket

    def run(self) -> None:
        append, wait, payload, each = self.log.append, self.log.wait, self.payload, self.each
        for _ in self.laps:
            for ticket in [append(payload) for _ in each]:
                wait(ticket)


class CrowdBody(SteppedCommitBody):
    """``committers`` threads, each with one commit at a time; a batch ends when all are done."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.laps = laps(self.commits(COMMITS_EACH))
        self.info = BodyInfo(len(self.laps) * self.committers, threads=self.committers)
        self.steps = len(self.laps)
        self.crew = Crew(self.committers, self.work)

    def work(self, number: int) -> None:
        super().run()

    def run(self) -> None:
        self.crew.run()

    def verify(self) -> None:
        self.crew.check()
        super().verify()

    def close(self) -> None:
        self.crew.close()
        super().close()


def _commit(setting: Setting) -> Body:
    committers, tickets = int(setting.params["committers"]), int(setting.params["tickets"])
    if committers > 1 and tickets > 1:
        raise Unsupported("tickets are those of one committer")
    if tickets > 1:
        return TicketBody(setting)
    return CrowdBody(setting) if committers > 1 else SteppedCommitBody(setting)


def _ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    """One committer can be no faster than a write and its sync."""
    alone = params["committers"] == params["tickets"] == 1 and not params["sync_delay"]
    if not alone or int(params["record"]) > 4 * KIB or params["flush"] not in ("record", "group"):
        return None
    kind = "msync" if backend == "wal.mmap" else "fdatasync"
    return f"limits.{kind}[size={int(params['record'])}]"


def _needs(params: Mapping[str, Any]) -> Needs:
    commits = COMMITS * int(params["tickets"]) + COMMITS_EACH * int(params["committers"])
    volume = commits * (int(params["record"]) + 96)
    return Needs(
        memory=96 * MIB + int(params["committers"]) * MIB,
        disk=3 * int(params["segment"]) + 2 * volume + PROOF_SEGMENT,
    )


WORKLOADS = (
    Declared("wal.commit", "wal", "WAL commits", "append a record and wait until it is durable",
             _commit,
             (Parameter("flush", "flush", "group", "how commits share syncs; record: not at all"),
              count("committers", 1, "threads that commit at once", most=1024),
              count("tickets", 1, "records appended before the first wait for one", most=65_535),
              Parameter("sync_delay", "time", 0, "by how much each sync is slowed down",
                        minimum=0, maximum=10**9),
              size("record", 64, "payload bytes of one record", most=MIB),
              choice("format", "binary", "how records are written", "binary", "text", "jsonl"),
              size("segment", 64 * MIB, "bytes of one log file before it rotates", MIB)),
             frozenset({Capability.SYNC, Capability.RESET}), _needs, _ceiling, synced=True),
)  # fmt: skip
