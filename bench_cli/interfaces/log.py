"""The write-ahead log: records, segments, recovery, flush policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from bench_cli.interfaces.engine import Backend, Buffer, Clock, FileSystem


class RecordKind(IntEnum):
    """The type byte of a record. Numbers are on disk and never change."""

    DATA = 1  # opaque payload
    WRITE = 2  # file name, offset, data
    REMOVE = 3  # file name
    TRUNCATE = 4  # file name, size
    UPLOADED = 5  # file name, block, generation
    DRAW = 6  # request id, item
    DRAWS = 7  # first request id, items: one atomic batch of draws


@dataclass(frozen=True, slots=True)
class Record:
    """One recovered record. ``payload`` is the kind's own encoding (``payloads.py``)."""

    sequence: int
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A byte range of the log that is not what was written. ``lost_first``..``lost_last`` are
    the sequence numbers that went with it, where they can be told (0 = unknown)."""

    path: str
    offset: int
    length: int
    reason: str
    lost_first: int = 0
    lost_last: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot on disk. ``covered``: the log's last sequence number that it holds the effect
    of; recovery passes over the records up to it. ``base``: the path of the snapshot it adds to,
    None for a full one."""

    path: str
    covered: int
    bytes: int
    base: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotsRead:
    """Which snapshots a recovery stands on. ``chain``: the full one and what was added to it, in
    order; empty when it began at the start state. ``rejected``: newer ones that could not be
    used, and why; the log reached back far enough to do without them."""

    chain: tuple[SnapshotInfo, ...] = ()
    rejected: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery found. ``tail``: "clean" (closed, or ends exactly at a record), "torn"
    (an unfinished write was cut), or "corrupt" (damage before durable records, see
    ``damages``). Counts in records, sizes in bytes."""

    records: int
    first_sequence: int  # 0 when there is none
    last_sequence: int
    tail: str
    segments: int
    bytes_read: int
    dropped_bytes: int = 0  # torn tail
    discarded_records: int = 0  # valid but beyond a gap that was never promised durable
    ambiguous_tail_bytes: int = 0
    damages: tuple[Damage, ...] = ()
    snapshots: SnapshotsRead = SnapshotsRead()  # of engines that keep some; no part of a log


Apply = Callable[[int, int, memoryview], None]
"""``apply(sequence, kind, payload)``, called once per recovered record in order. The payload is
valid only during the call."""


LiveFiles = dict[str, list[tuple[int, int, int]]]
"""name -> (sequence, offset, length) of every write, in order; truncations cut or drop the writes
before them, a removal drops the name."""


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When records become durable by themselves. ``flushing.py`` reads and prints policies.

    - "never": when somebody asks (``wait``, ``sync``, ``close``).
    - "async": a thread of the log's own syncs whenever anything is unsynced, without a pause.
    - "records", "bytes": the append with which ``number`` records (bytes, framing included) are
      unsynced returns only after a sync, so that fewer than ``number`` ever are when it returns.
    - "time": a thread syncs ``number`` ns after the oldest unsynced record was written.
    - "record": each append writes and syncs alone, before the next one begins.
    - "group": who waits first (the leader) syncs for all. It waits for as many as the last group
      had, at most ``max_wait_ns``, and not once ``max_batch`` records (0: any) are unsynced."""

    kind: str = "never"
    number: int = 0
    max_batch: int = 0
    max_wait_ns: int = 0


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How a log is opened. ``segment_size`` bounds one file, in bytes; a log rotates before a
    record that would not fit, and before one that comes ``rotate_after_ns`` or more after the first
    of its segment (0: never)."""

    format: str = "binary"  # "binary" | "text" | "jsonl"
    segment_size: int = 64 << 20
    file_system: FileSystem | None = None  # None: the system's own
    flush: FlushPolicy | None = None
    """Open a CommittedLog (Capability.COMMIT). None: a log that one thread syncs itself."""
    clock: Clock | None = None
    """None: the system's own. With another one no thread is started: who moves that clock calls
    ``CommittedLog.tick``, and a group's leader waits for nobody."""
    workers: int = 1
    """Threads that check what a recovery reads (binary, compiled twin; the others read alone). What
    it finds is the same."""
    rotate_after_ns: int = 0


@dataclass(frozen=True, slots=True)
class LogStats:
    """Counters since the log was opened, and sizes now."""

    appends: int  # records appended
    bytes: int  # bytes the log grew by, framing included
    writes: int  # write calls (basic); 0 for mmap
    syncs: int  # successful syncs
    rotations: int
    segments: int
    file_size: int  # logical end over all segments
    allocated: int  # what the file system gave
    last_sequence: int
    durable_sequence: int  # highest sequence covered by a successful sync


class WriteAheadLog(Protocol):
    """An open log. One thread at a time may call it. ``append*`` return the sequence number of
    the (last) record, which is then *written* (level D1 for files); after ``sync`` returns it is
    *durable*. The first failed write or sync raises LogWriteFailed and poisons the log: all
    later appends and syncs raise LogPoisoned, close still releases everything."""

    format: str

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int: ...
    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        """All or none are recovered. An empty batch is a ValueError."""

    def append_write(self, name: str, offset: int, data: Buffer) -> int: ...
    def append_remove(self, name: str) -> int: ...
    def append_truncate(self, name: str, size: int) -> int: ...
    def append_uploaded(self, name: str, block: int, generation: int) -> int: ...
    def sync(self) -> None: ...
    def reset(self) -> None:
        """Forget every record: their content is safe elsewhere. Sequence numbers go on, the
        space is used again."""

    def stats(self) -> LogStats: ...
    def close(self) -> None:
        """Sync, write the clean-close mark, release the lock. Idempotent. Raises
        LogWriteFailed if that sync fails; everything is released all the same."""


@runtime_checkable
class TruncatableLog(WriteAheadLog, Protocol):
    """A log of a backend with ``TRUNCATE``."""

    def truncate_front(self, sequence: int) -> int:
        """Forget whole segments whose records all lie at or below ``sequence``: their content is
        safe elsewhere, durably. The last segment stays, so records at or below ``sequence`` may
        stay too. Sequence numbers go on. Returns the number the log begins with now (that of the
        next record where it holds none). Raises as ``sync`` does."""


@dataclass(frozen=True, slots=True)
class FlushStats:
    """What a flush policy did since the log was opened. A group is what one sync made durable;
    ``sizes[i]`` counts the groups of 2^i to 2^(i+1) - 1 records."""

    groups: int
    records: int  # in all groups
    largest_group: int  # in records
    max_unsynced_ns: int  # the longest a written record was not durable; one that is not, too
    sizes: tuple[int, ...] = ()
    waiting: int = 0  # callers that the next sync is for


class CommittedLog(WriteAheadLog, Protocol):
    """A log under a flush policy. Any number of threads may call it. The number that ``append*``
    return is a *ticket*: that record, and all before it, are written; whether it is durable too
    when ``append*`` returns, the policy says. Appends go on while a sync runs, and only records
    written before a sync began are made durable by it.

    A failed write or sync poisons the log and moves no watermark: whoever waits then gets
    LogWriteFailed, later calls LogPoisoned. After ``close``, and in a forked process, every call
    raises LogClosed, but ``wait`` still returns for what is durable and ``close`` for ever."""

    policy: FlushPolicy

    def wait(self, ticket: int) -> None:
        """Return once record ``ticket`` is durable. Under "never", "async", "records", "bytes"
        and "time" too: a sync that began after the record was written is awaited, or done now.
        Raises ValueError for a ticket that was not given."""

    def commit(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        """``append`` and ``wait``."""

    def tick(self) -> None:
        """Do what the thread of "async" and "time" would do now. A failure poisons the log and is
        raised by the calls after it, not here."""

    def flush_stats(self) -> FlushStats: ...


class LogBackend(Backend, Protocol):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        """Open or create the log in ``directory``. An existing log is recovered first: its torn
        tail is cut and appending goes on after the last valid record. Raises LogLocked,
        LogCorrupt (damage is never cut silently), or OSError."""

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        """Read the log without changing it. Damage is a value here, never an exception."""

    def live_files(self, directory: Path, options: LogOptions) -> tuple[Recovery, LiveFiles]:
        """Which files the records leave alive; asked only of logs with FILE_RECORDS and RECOVERY
        (``payloads.live_files`` does it in terms of ``recover``). Raises ValueError for a record
        that is not of its kind."""
