"""Read this first: what the parts promise each other.

Engines (a write-ahead log, a reward pool, a block cache) implement the Protocols of this file;
workloads time them through these Protocols and nothing else; the runner times workloads without
knowing any engine. Every engine exists twice, as a Python twin (the specification) and as a
compiled twin with the same behaviour call for call: same results, same error types and fields,
same bytes on disk. Errors are those of ``errors.py``.

Units: sizes and offsets in bytes, times in nanoseconds, sequence numbers and ids from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

Buffer = bytes | bytearray | memoryview


# --- what a backend says of itself -----------------------------------------------------------


class Capability(StrEnum):
    """What a backend can do beyond the least its Protocol asks. A workload names what it needs;
    a row whose backend lacks it is skipped with that reason."""

    # logs
    BATCH = "batch"  # append_many is atomic
    FILE_RECORDS = "file-records"  # append_write / remove / truncate / uploaded
    RECOVERY = "recovery"
    SYNC = "sync"  # sync reaches the device
    RESET = "reset"  # the log can be emptied in place
    TRUNCATE = "truncate"  # its oldest segments can be removed: a TruncatableLog
    ROTATION = "rotation"
    LOCK = "lock"
    TEXT = "text"  # the text format
    JSONL = "jsonl"  # the JSON Lines format
    FAULTS = "faults"  # all file work goes through the injected FileSystem
    COMMIT = "commit"  # ``open`` heeds ``LogOptions.flush`` and gives a CommittedLog
    # pools
    DRAW_MANY = "draw-many"
    SELECTORS = "selectors"
    QUEUE = "queue"
    LOGGED = "logged"  # can draw through a log
    SNAPSHOT = "snapshot"  # the state can be kept in snapshots beside the log: a SnapshotPool
    # caches
    VECTORED = "vectored"  # write_many / read_many
    WAL = "wal"  # can stand on a log
    EVICTION = "eviction"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Durability:
    """What an acknowledged operation survives.

    ``level``: D0 may be lost with the process; D1 survives SIGKILL; D2 loses at most ``window``
    in an OS crash; D3 survives power loss if the device honours flushes.
    ``integrity`` after a crash: I0 may be corrupt, I1 a consistent prefix.
    ``damage``: C0 unnoticed, C1 silently shorter, C2 reported with its place.
    ``evidence``: "declared" until a proof has run, then "verified" or "FAILED", with its ``date``
    and, as ``counts``, what was tried or why it failed.
    """

    level: str
    window: str | None = None
    integrity: str = "I0"
    damage: str = "C0"
    evidence: str = "declared"
    date: str | None = None
    counts: str | None = None

    def label(self) -> str:
        """As printed in tables: ``D2(10 ms) I1 C2``."""
        window = f"({self.window})" if self.window else ""
        return f"{self.level}{window} {self.integrity} {self.damage}"


class Backend(Protocol):
    """Common to all backends. A backend object is made by calling its class without arguments;
    it holds no open resources."""

    name: str  # engine.variant, as in scenario files: "wal.mmap"
    core: str  # "native" or "python"
    capabilities: frozenset[Capability]

    def durability(self, options: Mapping[str, Any]) -> Durability:
        """The declared level under these parameters of a row."""


# --- the world outside: clock and file system, injected so that tests need no luck ------------


class Clock(Protocol):
    def now_ns(self) -> int:
        """Monotonic time."""

    def wall_ns(self) -> int:
        """Time since the epoch; may step."""


class MappedFile(Protocol):
    """A shared writable mapping of the first ``len(buffer)`` bytes of a file."""

    buffer: memoryview

    def stored(self, offset: int, length: int) -> None:
        """Called after each store into ``buffer``; a recorder notes it, production ignores it."""

    def sync(self, offset: int, length: int) -> None:
        """Write the range to the device and wait. Raises OSError."""

    def close(self) -> None: ...


class FileSystem(Protocol):
    """All file work of the engines. Methods behave as the system calls they are named after and
    raise OSError; writes may be short. The production one is ``filesystem.SYSTEM``."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int: ...
    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, length: int, offset: int) -> bytes: ...
    def pwrite(self, fd: int, data: Buffer, offset: int) -> int: ...
    def truncate(self, fd: int, length: int) -> None: ...
    def preallocate(self, fd: int, length: int) -> None:
        """Reserve real blocks for ``length`` bytes; a full disk is an error here, not a signal
        later."""

    def sync(self, fd: int) -> None:
        """fdatasync: data, and the metadata needed to read it back."""

    def sync_directory(self, path: Path) -> None: ...
    def map(self, fd: int, length: int) -> MappedFile: ...
    def lock(self, fd: int) -> None:
        """Exclusive flock without waiting; BlockingIOError when it is held elsewhere."""

    def size(self, fd: int) -> int: ...
    def allocated(self, fd: int) -> int:
        """Bytes of real blocks behind the file."""

    def listdir(self, path: Path) -> list[str]: ...
    def mkdir(self, path: Path) -> None:
        """Make the directory and its parents; no error when it exists."""

    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...


# --- write-ahead log -------------------------------------------------------------------------


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


# --- reward pool -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One prize. ``weight`` is a positive integer; the sum over a catalogue stays below 2^63.
    ``stock`` is how many there are, None for without end."""

    name: str
    weight: int = 1
    stock: int | None = None


class RewardPool(Protocol):
    """A weighted draw ledger. Each draw picks an item with probability weight / sum of weights
    over the items that are left, logs it, and only then takes it from stock. Draw ids start at 1
    and have no gaps. A failed append consumes the random number and no stock."""

    names: Sequence[str]  # item names by index

    def draw(self) -> str:
        """The name of the drawn item. Raises PoolExhausted when nothing is left."""

    def draw_record(self) -> tuple[int, str]:
        """(draw id, item name)."""

    def draw_many(self, count: int) -> tuple[int, Sequence[int]]:
        """Up to ``count`` draws as one atomic log record each of at most 65,535 draws: (first
        draw id, item indices into ``names``). Fewer than ``count`` only when the pool runs empty
        on the way; none left at all raises PoolExhausted."""

    def select(self) -> int:
        """Reserve: pick an item, take one from stock, log nothing. The index must be given to
        ``commit`` or ``revert`` once."""

    def commit(self, index: int) -> int:
        """Log a reserved item and return its draw id. If the log fails, the stock is put back
        and the error raised."""

    def revert(self, index: int) -> None:
        """Put a reserved item back."""

    def stock(self) -> dict[str, int | None]:
        """What is left, by name; None for without end."""

    @property
    def drawn(self) -> int:
        """Committed draws, those recovered included."""

    @property
    def next_id(self) -> int: ...

    def sync(self) -> None:
        """Make all draws durable."""

    def close(self) -> None:
        """Close the pool; its log stays open (whoever opened it closes it)."""


@runtime_checkable
class SnapshotPool(RewardPool, Protocol):
    """A pool of a backend with ``SNAPSHOT``."""

    def snapshot(
        self,
        directory: Path,
        *,
        incremental: bool = False,
        file_system: FileSystem | None = None,
    ) -> SnapshotInfo:
        """Keep all draws so far in a file in ``directory``, the log's, and let the log forget the
        records it covers. The log must hold nothing else that is still needed. When it returns,
        the snapshot is durable and was read back; whatever fails before that leaves the one
        before and the log as they are.

        ``incremental``: only the items drawn since the last snapshot in this directory, which
        becomes the base; a full one where there is none. Reserved items count as left. Draws go
        on while the file is written. Raises Unsupported without a log and on one that a sync does
        not make durable, SnapshotFailed, and what ``sync`` raises (so a poisoned log takes none)."""


DrawCallback = Callable[[int, str | None, BaseException | None], None]
"""``callback(draw id, item name, error)``: (id, name, None) or (0, None, error)."""


class DrawQueue(Protocol):
    """Requests to a pool through a bounded queue. ``ack`` says when a request is answered: after
    the draw is taken in "memory" (before its log record is synced or even written), after it is
    "logged", or after it is "durable" (one sync for all that were waiting). ``mode`` says who
    works: "caller" (the caller that finds nobody working drains the queue) or "worker" (one
    thread)."""

    def submit(self, callback: DrawCallback) -> None:
        """Raises QueueFull or QueueClosed. A callback may submit again."""

    def request(self) -> Any:
        """A ``concurrent.futures.Future`` of (draw id, item name)."""

    def close(self) -> None:
        """Answer what is queued, then stop. Later submits raise QueueClosed. Idempotent."""


class PoolBackend(Backend, Protocol):
    def open(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        log: WriteAheadLog | None = None,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> RewardPool:
        """A new pool. ``selector``: "fenwick" | "prefix_sum". ``flush_every``: sync the log after
        that many draws, 0 = never by itself. Raises CatalogueError."""

    def recover(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        backend: LogBackend,
        directory: Path,
        options: LogOptions,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> tuple[RewardPool, WriteAheadLog, Recovery]:
        """Rebuild a pool from its newest usable snapshots and its log, and open that log for
        appending. Draw ids go on after the last recovered one; the generator starts from
        ``seed``. ``Recovery.snapshots`` tells what was used and what was rejected; the other
        fields are the log's. Raises CatalogueError when the snapshots or the log are of another
        catalogue, SnapshotUnusable when the log does not reach back to a usable snapshot (or,
        without one, to the first record), and what opening the log raises."""

    def queue(
        self, pool: RewardPool, *, capacity: int = 1024, ack: str = "logged", mode: str = "caller"
    ) -> DrawQueue: ...


# --- block cache -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Sizes in bytes; 0 = no limit. ``block_size`` and ``chunk_size`` are powers of two of at
    least 4 KiB; a chunk is 1 to 65,536 blocks.

    ``max_size`` bounds the memory of all blocks, ``max_pending`` that of blocks not yet uploaded:
    what their buffers take, not what was written. ``pool_bytes``: block buffers made and faulted
    in when the cache opens, and kept by ``trim``. ``wait_ns``: how long a write may wait for room
    before CacheFull."""

    block_size: int = 4 << 20
    chunk_size: int = 64 << 20
    max_size: int = 0
    max_pending: int = 0
    pool_bytes: int = 0
    wait_ns: int = 0


class DirtyBlock(NamedTuple):
    """A block with bytes the store does not have. ``generation`` changes with every write to it
    and never comes back, not even for another file of the same name."""

    name: str
    block: int
    generation: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    files: int
    blocks: int
    dirty_blocks: int
    allocated: int  # bytes of buffers in use
    pending: int  # bytes of buffers not yet uploaded
    pooled: int  # bytes of buffers kept for reuse
    evicted_blocks: int  # since the cache was opened
    waited_ns: int  # time writes waited for room

    @property
    def resident(self) -> int:
        """Buffer memory the system has given: buffers are faulted in when they are made, so what
        is in use or pooled is resident."""
        return self.allocated + self.pooled


class Waiter(Protocol):
    """How a write waits for room, injected so that tests need no real waiting. Called with no
    lock held."""

    def ticket(self) -> int:
        """Taken before looking for room."""

    def wait(self, ticket: int, timeout_ns: int) -> None:
        """Return after the first ``wake`` since ``ticket`` was taken, or after the time; may
        return early, the caller looks again."""

    def wake(self) -> None:
        """There may be room now."""


class BlockCache(Protocol):
    """A write cache of block buffers in front of a block store. Thread-safe. The newest write
    wins; bytes never written read as zero. With a log, an operation is in the log before it is
    in memory, in the same order.

    The cache does not know the store: whoever calls ``remove`` or ``truncate`` tells the store
    too (``Uploader`` does both in a safe order). Offsets and sizes are 0..2^63-1; a range that
    leaves them is a ValueError. A name must be encodable as UTF-8. After ``close`` every call
    raises CacheError."""

    def write(self, name: str, offset: int, data: Buffer) -> None:
        """Raises CacheFull and then has stored nothing of ``data``. Evicts clean blocks, least
        recently used first, to make room. Writing nothing creates nothing."""

    def write_many(self, requests: Sequence[tuple[str, int, Buffer]]) -> None:
        """In order; each request is all or nothing. Stops at the first error."""

    def read_into(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer``; bytes not held become zero. Returns how many lie below the file's
        size. Raises FileNotCached (and creates nothing)."""

    def read_many(self, requests: Sequence[tuple[str, int, bytearray | memoryview]]) -> int:
        """The sum of what ``read_into`` returns, in order. Stops at the first error."""

    def is_range_covered(self, name: str, offset: int, length: int) -> bool:
        """Is every byte held? False for an unknown file. No use of the block."""

    def file_size(self, name: str) -> int:
        """Raises FileNotCached."""

    def list_files(self) -> list[tuple[str, int]]:
        """(name, size), sorted by name. A file stays listed while all its blocks are evicted."""

    def truncate(self, name: str, size: int) -> None:
        """Raises FileNotCached. Bytes at and beyond ``size`` are forgotten and read zero."""

    def remove(self, name: str) -> None:
        """Raises FileNotCached."""

    def dirty_blocks(self, name: str | None = None) -> list[DirtyBlock]:
        """Sorted by name and block; no data is copied. Empty for an unknown file."""

    def read_block(self, name: str, block: int) -> tuple[int, list[tuple[int, bytes]]]:
        """(generation, extents) of a block for uploading: each extent (offset in the block,
        bytes), a consistent copy. Raises FileNotCached when the block is not held."""

    def mark_uploaded(self, name: str, block: int, generation: int) -> bool:
        """True when the block is still of ``generation``, and clean now; False when it was
        written since, or is not held."""

    def fill(self, name: str, offset: int, data: Buffer) -> None:
        """Bytes from the store; never over bytes already held. Not logged. Makes room and raises
        CacheFull as ``write`` does, and grows the file to hold them."""

    def evict_one(self) -> bool:
        """Drop the least recently used clean block (written, read or filled longest ago); False
        when there is none."""

    def evict_all(self) -> int:
        """Drop every clean block; how many."""

    def trim(self) -> None:
        """Give buffers beyond ``pool_bytes`` back to the system."""

    def stats(self) -> CacheStats: ...
    def checkpoint(self, *, incremental: bool = False) -> SnapshotInfo:
        """Shorten the log to what is still dirty: the dirty blocks and all file sizes go to a
        snapshot beside the log, durably and read back, and only then is the log reset.
        ``incremental``: only the blocks that changed since the last snapshot, which becomes the
        base; a full one where there is none. Raises Unsupported without a log and its directory,
        and on a log that a sync does not make durable; SnapshotFailed, and what ``sync`` of the log
        raises."""

    def close(self) -> None:
        """Release all memory; the log stays open (whoever opened it closes it). Idempotent."""


class BlockStore(Protocol):
    """Object storage: blocks by file name and number. Thread-safe. Raises StoreError."""

    def put(self, name: str, block: int, extents: Iterable[tuple[int, Buffer]]) -> None:
        """Merge the extents (offset in the block, bytes) into the stored block, atomically."""

    def get(self, name: str, block: int) -> bytes | None:
        """The block up to the last byte ever put, gaps as zeros."""

    def cut(self, name: str, block: int, length: int) -> None:
        """Forget the block's bytes from ``length`` on; the whole block for 0."""

    def delete(self, name: str) -> None:
        """Forget every block of a file; no error when there is none."""

    def blocks(self, name: str) -> Iterator[int]:
        """The numbers stored, ascending."""


class CacheBackend(Backend, Protocol):
    def open(
        self,
        options: CacheOptions,
        *,
        log: WriteAheadLog | None = None,
        directory: Path | None = None,
        file_system: FileSystem | None = None,
        clock: Clock | None = None,
        waiter: Waiter | None = None,
    ) -> BlockCache:
        """A new cache over an empty log. ``directory`` is the log's, for ``checkpoint``."""

    def recover(
        self,
        options: CacheOptions,
        *,
        backend: LogBackend,
        directory: Path,
        log_options: LogOptions,
        clock: Clock | None = None,
        waiter: Waiter | None = None,
    ) -> tuple[BlockCache, WriteAheadLog, Recovery]:
        """The cache as it was acknowledged, from the last checkpoint and the log, and that log
        opened for appending. ``block_size`` must be that of the run which wrote the log. Clean
        blocks are kept as far as the limits allow. ``Recovery.snapshots`` tells which snapshots
        were used and which rejected. Raises CacheFull when the dirty blocks alone are beyond the
        limits (the log is untouched), SnapshotUnusable when the log does not reach back to a
        usable snapshot, and what opening the log raises."""

    def store(self, kind: str, directory: Path) -> BlockStore:
        """A block store to upload to: "memory", or "directory" (files below ``directory``)."""


# --- workloads: what is timed ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """What a row will allocate at most, in bytes; refused beforehand if there is less."""

    memory: int = 0
    disk: int = 0


@dataclass(frozen=True, slots=True)
class BodyInfo:
    """What one batch of a body is. ``ops`` operations per call of ``run``; ``payload`` bytes per
    operation for bytes_per_s (0: not a throughput row)."""

    ops: int
    payload: int = 0
    unit: str = "ops"  # "ops" | "draws"
    loop: Iterable[Any] | None = None
    """What the timed loop iterates over; the runner times an empty loop over it and subtracts
    that. None: nothing to subtract."""
    batches: int = 0
    """0: a sample is as many batches as fill it, each with its own ``prepare``. n: exactly n
    batches make one sample, prepared once; the slowest of them is reported (sustained rows)."""
    now: Callable[[], int] | None = None
    """A clock of the body's own, in ns, for work that takes no real time. None: the real clock."""
    sleep: Callable[[int], None] | None = None
    """Lets that clock of its own pass by so many ns; without it such a body cannot be paced."""
    threads: int = 1  # how many do steps at once (``SteppedBody``)


class Body(Protocol):
    """One cell, set up in a worker process. The runner calls ``prepare``, ``run``, ``verify`` in
    turn; only ``run`` is timed, and it holds the operation and its loop, nothing else. ``run``
    may be timed several times per sample, with ``prepare`` before each."""

    info: BodyInfo

    def prepare(self) -> None:
        """Bring the state back so that ``run`` can do its ``ops`` operations."""

    def run(self) -> None: ...
    def verify(self) -> None:
        """Check the work of the last ``run``. Raises VerificationFailed."""

    def metrics(self) -> dict[str, float]:
        """Metrics only this body knows, after ``verify`` (``wal_file_size`` ...)."""

    def close(self) -> None: ...


@runtime_checkable
class SteppedBody(Body, Protocol):
    """A body that can also run one operation (one lap of its loop) at a time, so that the time
    of each can be told: ``prepare``, up to ``steps`` steps, and ``verify_steps`` in turn."""

    steps: int

    def stepper(self) -> Callable[[], object]:
        """Called after ``prepare``, once per thread; each call of the result is a step."""

    def verify_steps(self, count: int) -> None:
        """Check the ``count`` steps of all threads since ``prepare``. Raises VerificationFailed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a workload as scenario files may set it. ``kind``: "int" | "size" |
    "time" | "rate" | "share" | "choice" | "flush" | "backend". ``minimum`` and ``maximum`` bound
    numbers; ``choices`` lists words (for "backend": the engine whose backends may be named, or
    "none")."""

    name: str
    kind: str
    default: Any
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engines:
    """How a workload reaches engines: by name, resolved for the row's core."""

    resolve: Callable[[str], Any]
    """``resolve("wal.mmap")`` returns the backend object for the row's core."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a body is built from. ``params`` holds every parameter of the workload, defaults
    filled in. ``scratch`` is an empty directory of this process alone."""

    params: Mapping[str, Any]
    backend: str | None
    core: str | None
    seed: int
    scratch: Path
    engines: Engines
    quick: bool = False


class Workload(Protocol):
    """What can be timed. ``name`` is as in scenario files; ``engine`` says which backends may
    stand in its rows (None for limits, which have no backend and no core)."""

    name: str
    engine: str | None
    group: str  # the heading its rows stand under
    parameters: tuple[Parameter, ...]
    requires: frozenset[Capability]
    synced: bool
    """Each operation ends with a sync of the log, whatever the row's flush policy."""

    def needs(self, params: Mapping[str, Any]) -> Needs: ...
    def ceiling(self, params: Mapping[str, Any], backend: str | None) -> str | None:
        """The machine's limit for this row, as a requirement expression over limit rows
        (``sum(limits.memcpy[ring=4MiB,size=32KiB], limits.checksum[size=32KiB])``); None when
        there is none."""

    def build(self, setting: Setting) -> Body: ...


class Reporter(Protocol):
    """Watches a run. The runner calls it; it never decides anything."""

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        """``processes`` 0: as many as fit in ``estimate_s``."""

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None: ...
    def finished(self) -> None: ...
