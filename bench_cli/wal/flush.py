"""Flush policies and group commit in front of a log, Python twin: the specification of
``commit.pxi``, and what stands in front of a log that has no policies of its own.

One lock guards everything and is given up only while somebody waits. Who finds a record unsynced
that must not be, and nobody at it, syncs for all (the leader); the others wait for that. A log
that can sync in steps (``Stepped``) is appended to meanwhile, any other is held for the whole
sync. A rotation, and whatever else changes files, waits for a running sync and lets none begin.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, runtime_checkable

from bench_cli.errors import LogClosed, LogError, LogPoisoned, LogWriteFailed, Unsupported
from bench_cli.filesystem import CLOCK
from bench_cli.flushing import check_policy
from bench_cli.interfaces import (
    Buffer,
    Clock,
    FlushPolicy,
    FlushStats,
    LogStats,
    RecordKind,
    TruncatableLog,
    WriteAheadLog,
)
from bench_cli.wal.background import BACKGROUND, start, watch

REMEDY = "reopen the log and let it recover"


@runtime_checkable
class Stepped(Protocol):
    """A log that can be appended to while it is synced. The first and the last step are taken
    with nothing else going on in the log."""

    settle: Callable[[], None]
    """Called before a rotation; returns once no sync runs."""

    def begin_sync(self) -> Any:
        """How far the sync will reach. Raises LogPoisoned or LogClosed."""

    def run_sync(self, reach: Any) -> None:
        """Wait for the device. Raises OSError."""

    def end_sync(self, reach: Any, error: OSError | None) -> None:
        """Move the watermark; or, for an error, be poisoned and raise LogWriteFailed."""

    @property
    def grown(self) -> int:
        """``LogStats.bytes``, without asking the system for anything."""


class FlushedLog:
    """``interfaces.CommittedLog`` in front of any log."""

    def __init__(self, log: WriteAheadLog, policy: FlushPolicy, clock: Clock | None = None) -> None:
        check_policy(policy)
        self.policy = policy
        self.format = log.format
        self._log = log
        self._clock = clock or CLOCK
        self._driven = clock is not None  # by whoever moves that clock
        self._turn = threading.Condition(threading.Lock())
        self._leading = self._syncing = self._changing = False
        self._closed = self._closing = self._halted = False
        self._failure: LogWriteFailed | LogPoisoned | None = None  # what poisoned the log
        self._last = self._durable = log.stats().last_sequence
        self._covers = 0  # what the running sync reaches
        self._bytes = self._synced_bytes = log.stats().bytes
        self._since: int | None = None  # when the first record came that no sync has begun for
        self._in_sync: int | None = None  # the same of those that the running sync is for
        self._forming = self._group = 0  # waiters for the next sync; those of the last
        self._round = 0  # syncs begun
        self._groups = self._grouped = self._largest = self._oldest = 0
        self._sizes: list[int] = []
        self._stepped = log if isinstance(log, Stepped) else None
        if self._stepped is not None:
            self._stepped.settle = self._settle
        watch(self)
        background = policy.kind in BACKGROUND and not self._driven
        self._thread = start(self._serve) if background else None

    # --- records -----------------------------------------------------------------------------

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        return self._put(lambda: self._log.append(payload, kind))

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        return self._put(lambda: self._log.append_many(payloads, kind))

    def append_write(self, name: str, offset: int, data: Buffer) -> int:
        return self._put(lambda: self._log.append_write(name, offset, data))

    def append_remove(self, name: str) -> int:
        return self._put(lambda: self._log.append_remove(name))

    def append_truncate(self, name: str, size: int) -> int:
        return self._put(lambda: self._log.append_truncate(name, size))

    def append_uploaded(self, name: str, block: int, generation: int) -> int:
        return self._put(lambda: self._log.append_uploaded(name, block, generation))

    def _put(self, append: Callable[[], int]) -> int:
        alone = self.policy.kind == "record"
        with self._turn:
            self._check_usable()
            while self._changing or (alone and self._leading):
                self._turn.wait()
                self._check_usable()
            try:
                self._last = append()
            except (LogWriteFailed, LogPoisoned) as error:
                self._fail(error)
                raise
            except BaseException:
                self._look()
                raise
            finally:
                self._end_change()  # it may have rotated
            ticket = self._last
            self._written()
            if self._must_sync():
                self._wait(ticket, waited=True)
            return ticket

    def _written(self) -> None:
        """Whoever waits for records to sync may look again."""
        if self._since is None:
            self._since = self._clock.now_ns()
            self._turn.notify_all()
        elif self._leading:
            self._turn.notify_all()

    def _must_sync(self) -> bool:
        match self.policy.kind:
            case "record":
                return True
            case "records":
                return self._last - self._durable >= self.policy.number
            case "bytes":
                self._bytes = self._grown()
                return self._bytes - self._synced_bytes >= self.policy.number
        return False

    def _grown(self) -> int:
        return self._log.stats().bytes if self._stepped is None else self._stepped.grown

    # --- durability --------------------------------------------------------------------------

    def wait(self, ticket: int) -> None:
        with self._turn:
            self._wait(ticket)

    def commit(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        ticket = self.append(payload, kind)
        with self._turn:
            self._wait(ticket, waited=True)
        return ticket

    def sync(self) -> None:
        with self._turn:
            self._check_usable()
            if self._last > self._durable:
                self._wait(self._last)

    def tick(self) -> None:
        with self._turn:
            self._flush_if_due()

    def _wait(self, ticket: int, *, waited: bool = False) -> None:
        """``waited``: whether the caller counts as one who waits already."""
        if not 1 <= ticket <= self._last:
            raise ValueError(f"ticket {ticket}: the log has given 1 to {self._last}")
        joined = -1
        while self._durable < ticket:
            if self._failure is not None and waited:
                raise LogWriteFailed(
                    f"record {ticket} is not durable: {self._failure.message}",
                    errno=self._failure.errno,
                    remedy=REMEDY,
                ) from self._failure
            if not (waited and self._closing):  # a close that goes on may still make it durable
                self._check_usable()
            waited = True
            if ticket > self._covers and joined != self._round:
                joined = self._round
                self._forming += 1
                self._turn.notify_all()  # a leader may wait for this one
            if self._leading or self._changing or self._closing:
                self._turn.wait()
            else:
                self._lead()

    def _lead(self) -> None:
        """Sync once, for all that was written until it begins."""
        self._leading = True
        try:
            self._gather()
            while self._changing:
                self._turn.wait()
            if self._failure is None and not self._closed:
                self._sync_written()
        finally:
            self._leading = False
            self._turn.notify_all()

    def _gather(self) -> None:
        if self.policy.max_wait_ns and not self._driven:
            self._turn.wait_for(self._gathered, self.policy.max_wait_ns / 1e9)

    def _gathered(self) -> bool:
        unsynced, most = self._last - self._durable, self.policy.max_batch
        enough = self._forming >= self._group or 0 < most <= unsynced
        return enough or self._closed or self._failure is not None

    def _sync_written(self) -> None:
        reach, size = self._last, self._bytes
        self._covers = reach
        self._in_sync, self._since = self._since, None
        self._group, self._forming = self._forming, 0
        self._round += 1
        self._syncing = True
        try:
            self._sync_log()
            self._made_durable(reach)
            self._synced_bytes = size
        except (LogWriteFailed, LogPoisoned) as error:
            self._fail(error)
        finally:
            if self._in_sync is not None:  # they are not durable, and older than what came since
                self._in_sync, self._since = None, self._in_sync
            self._syncing = False
            self._covers = 0

    def _sync_log(self) -> None:
        log = self._stepped
        if log is None:
            self._log.sync()
            return
        reach, failed = log.begin_sync(), None
        self._turn.release()
        try:
            log.run_sync(reach)
        except OSError as error:
            failed = error
        finally:
            self._turn.acquire()
        log.end_sync(reach, failed)

    def _made_durable(self, sequence: int) -> None:
        records, self._durable = sequence - self._durable, sequence
        if self._in_sync is not None:
            self._oldest = max(self._oldest, self._clock.now_ns() - self._in_sync)
            self._in_sync = None
        if records:
            self._groups += 1
            self._grouped += records
            self._largest = max(self._largest, records)
            power = records.bit_length()
            self._sizes += [0] * (power - len(self._sizes))
            self._sizes[power - 1] += 1

    # --- in the background -------------------------------------------------------------------

    def _flush_if_due(self) -> None:
        if self._closed or self._failure is not None or self._since is None or self._due_ns() > 0:
            return
        with suppress(LogError):  # it is poisoned now, and says so from here on
            self._wait(self._last)

    def _due_ns(self) -> int:
        """How long until the thread has to sync what was first written at ``_since``."""
        if self.policy.kind == "time" and self._since is not None:
            return self._since + self.policy.number - self._clock.now_ns()
        return 0 if self.policy.kind == "async" else 1 << 62

    def _serve(self) -> None:
        with self._turn:
            while not (self._closed or self._halted) and self._failure is None:
                if self._since is None:
                    self._turn.wait()
                elif (due := self._due_ns()) > 0:
                    self._turn.wait(due / 1e9)
                else:
                    self._flush_if_due()

    # --- the rest ----------------------------------------------------------------------------

    def reset(self) -> None:
        with self._changes():
            self._log.reset()
            self._durable, self._since = self._last, None
            self._bytes = self._synced_bytes = self._log.stats().bytes

    def truncate_front(self, sequence: int) -> int:
        if not isinstance(self._log, TruncatableLog):
            raise Unsupported("the log cannot forget its oldest records")
        with self._changes():
            return self._log.truncate_front(sequence)

    @contextmanager
    def _changes(self) -> Iterator[None]:
        """Alone with the log: no append and no sync meanwhile."""
        with self._turn:
            self._check_usable()
            while self._changing:
                self._turn.wait()
                self._check_usable()
            self._settle()
            try:
                yield
            except (LogWriteFailed, LogPoisoned) as error:
                self._fail(error)
                raise
            except BaseException:
                self._look()
                raise
            finally:
                self._end_change()

    def _settle(self) -> None:
        self._changing = True
        while self._syncing:
            self._turn.wait()

    def _end_change(self) -> None:
        if self._changing:
            self._changing = False
            self._turn.notify_all()

    def stats(self) -> LogStats:
        with self._turn:
            return self._log.stats()

    def flush_stats(self) -> FlushStats:
        with self._turn:
            first = self._since if self._in_sync is None else self._in_sync
            age = 0 if first is None else self._clock.now_ns() - first
            return FlushStats(
                groups=self._groups,
                records=self._grouped,
                largest_group=self._largest,
                max_unsynced_ns=max(self._oldest, age),
                sizes=tuple(self._sizes),
                waiting=0 if self._failure is not None or self._closed else self._forming,
            )

    def close(self) -> None:
        with self._turn:
            if self._closed:
                return
            self._closed = self._closing = True
            self._turn.notify_all()
            while self._changing:
                self._turn.wait()
            self._settle()
            try:
                self._close_log()
            finally:
                self._closing = False
                self._end_change()
        if self._thread is not None:
            self._thread.join()

    def _close_log(self) -> None:
        """What is left is synced by it, and those who wait for it are answered."""
        self._in_sync, self._since = self._since, None
        try:
            self._log.close()
        except LogWriteFailed as error:
            self._fail(error)
            raise
        if self._failure is None:
            self._made_durable(self._last)

    def _check_usable(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")
        if self._failure is not None:
            raise LogPoisoned(
                "an earlier write or sync failed", errno=self._failure.errno, remedy=REMEDY
            )

    def _fail(self, error: LogWriteFailed | LogPoisoned) -> None:
        if self._failure is None:
            self._failure = error
        self._turn.notify_all()

    def _look(self) -> None:
        """Whether the log is poisoned: a signal handler may have raised where that does it."""
        if self._stepped is not None:
            try:
                self._stepped.begin_sync()
            except LogPoisoned as error:
                self._fail(error)

    def forked(self) -> None:
        self._turn = threading.Condition(threading.Lock())
        self._closed, self._closing, self._changing = True, False, False
        self._thread = None

    def halt(self) -> None:
        with self._turn:
            self._halted = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()
