"""The reward pool, Python twin: draw, log, and only then take from stock.

This is the specification of ``native.pyx``. What holds at every point:

- ``drawn == next_id - 1``: ids have no gaps.
- stock at the start = stock left + reserved + drawn, item by item.
- The log holds every draw but the *unlogged* ones: draws answered by a queue with ack "memory".
  They keep their ids and are written, in order, before anything else is.

A sync that fails after its record was written (``flush_every``) leaves the draw in force: the
record may survive, and a recovery would count it. The error is raised all the same.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench_cli.errors import CatalogueError, PoolError, PoolExhausted, Unsupported
from bench_cli.interfaces import (
    Capability,
    Durability,
    FileSystem,
    Item,
    LogBackend,
    LogOptions,
    RecordKind,
    Recovery,
    SnapshotInfo,
    WriteAheadLog,
)
from bench_cli.rewards.catalogue import check_catalogue
from bench_cli.rewards.queue import Queue
from bench_cli.rewards.records import MAX_BATCH, check_draws, records_for
from bench_cli.rewards.selectors import SELECTORS, BoundedGenerator, check_selector
from bench_cli.rewards.snapshot import ENDLESS, Frozen, Snapshots
from bench_cli.wal.snapshot import check_unchanged, covered_by, drop_covered

DRAW, DRAWS = int(RecordKind.DRAW), int(RecordKind.DRAWS)  # plain ones compare faster


class Pool:
    """A weighted draw ledger (``interfaces.RewardPool``). Thread-safe."""

    def __init__(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        log: WriteAheadLog | None = None,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> None:
        catalogue = check_catalogue(items)
        if flush_every < 0:
            raise ValueError(f"flush_every must not be negative, not {flush_every}")
        self.names: Sequence[str] = catalogue.names
        self._stock = list(catalogue.stock)
        self._reserved = [0] * len(items)
        self._selector = SELECTORS[check_selector(selector)](catalogue.weights)
        for index, left in enumerate(self._stock):
            if left == 0:
                self._selector.remove(index)
        self._generator = BoundedGenerator(seed)
        self._next_id = 1
        self._unlogged: deque[int] = deque()
        self._log_failed = False  # since the log refused unlogged draws or their sync
        self._flush_every = flush_every
        self._unflushed = 0
        self._lock = threading.Lock()
        self._closed = False
        self._log = log
        self._records = records_for(log.format if log is not None else "binary", self.names)
        self._reached = 0  # the last record replayed, or covered by the snapshot restored
        self.snapshots = Snapshots(catalogue)

    # --- draws -------------------------------------------------------------------------------

    def draw(self) -> str:
        with self._lock:
            return self.names[self._draw()]

    def draw_record(self) -> tuple[int, str]:
        with self._lock:
            index = self._draw()
            return self._next_id - 1, self.names[index]

    def _draw(self) -> int:
        if self._unlogged or self._log_failed:
            self._settle()
        index = self._pick()
        self._append_draw(self._next_id, index)
        self._take(index)
        self._next_id += 1
        if self._flush_every:
            self._flush_after(1)
        return index

    def draw_many(self, count: int) -> tuple[int, Sequence[int]]:
        """If a record after the first fails, the draws of the records before it are in force
        (``next_id`` tells) and the error is raised."""
        if count < 1:
            raise ValueError(f"count must be positive, not {count}")
        with self._lock:
            self._settle()
            first_id, drawn = self._next_id, self._draw_batch(min(count, MAX_BATCH))
            while len(drawn) < count and self._selector.total:
                drawn.extend(self._draw_batch(min(count - len(drawn), MAX_BATCH)))
            return first_id, drawn

    def _draw_batch(self, count: int) -> array[int]:
        """One record. The stock must change from draw to draw, so it is taken first and put
        back if the log fails; the lock keeps others from seeing that."""
        batch = array("I", [self._pick()])
        self._take(batch[0])
        while len(batch) < count and self._selector.total:
            batch.append(self._pick())
            self._take(batch[-1])
        try:
            if self._log is not None:
                self._log.append(self._records.draws(self._next_id, batch), DRAWS)
        except BaseException:
            for index in batch:
                self._put_back(index)
            raise
        self._next_id += len(batch)
        self._flush_after(len(batch))
        return batch

    def select(self) -> int:
        with self._lock:
            index = self._pick()
            self._take(index)
            self._reserved[index] += 1
            return index

    def commit(self, index: int) -> int:
        with self._lock:
            self._check_reserved(index)
            self._reserved[index] -= 1
            draw_id = self._next_id
            try:
                self._settle()
                self._append_draw(draw_id, index)
            except BaseException:
                self._put_back(index)
                raise
            self._next_id += 1
            self._flush_after(1)
            return draw_id

    def revert(self, index: int) -> None:
        with self._lock:
            self._check_reserved(index)
            self._reserved[index] -= 1
            self._put_back(index)

    def take(self) -> tuple[int, str]:
        """A draw in memory only; ``settle`` logs it later. For queues with ack "memory". Draws
        that an earlier failure left unlogged come first."""
        with self._lock:
            if self._log_failed:
                self._settle()
            index = self._pick()
            self._take(index)
            if self._log is not None:
                self._unlogged.append(index)
            self._next_id += 1
            return self._next_id - 1, self.names[index]

    def settle(self) -> None:
        """Log what was taken in memory. What fails stays unlogged and is tried again before the
        next draw, so a broken log is never passed over."""
        with self._lock:
            if self._unlogged or self._log_failed:
                self._settle()

    # --- what is left ------------------------------------------------------------------------

    def stock(self) -> dict[str, int | None]:
        with self._lock:
            return dict(zip(self.names, self._stock, strict=True))

    @property
    def drawn(self) -> int:
        return self._next_id - 1

    @property
    def next_id(self) -> int:
        return self._next_id

    def sync(self) -> None:
        with self._lock:
            self._settle()
            self._sync()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                try:
                    self._settle()
                finally:
                    self._closed = True

    # --- snapshots and recovery ----------------------------------------------------------------

    def snapshot(
        self,
        directory: Path,
        *,
        incremental: bool = False,
        file_system: FileSystem | None = None,
    ) -> SnapshotInfo:
        return self.snapshots.take(self, directory, incremental, file_system)

    def freeze(self) -> Frozen:
        """For a snapshot. The log is synced first: a crash must not leave it shorter than what
        the snapshot covers, or new records would get numbers that a recovery passes over."""
        with self._lock:
            self._check_open()
            if self._log is None:
                raise Unsupported("a snapshot needs a log: it says up to which record it holds")
            self._settle()
            self._sync()
            left = array("Q", [ENDLESS]) * len(self._stock)
            for index, stock in enumerate(self._stock):
                if stock is not None:
                    left[index] = stock + self._reserved[index]
            return Frozen(covered_by(self._log), self._next_id, left)

    def forget(self, covered: int) -> None:
        """The log need not keep the records up to ``covered``; a closed pool leaves it alone."""
        with self._lock:
            if self._log is not None and not self._closed:
                drop_covered(self._log, covered)

    def restore(self, frozen: Frozen) -> None:
        """Begin a replay with this state."""
        if len(frozen.left) != len(self._stock):
            raise ValueError(f"the stock of {len(self._stock)} items is needed")
        for index, left in enumerate(frozen.left):
            start = self._stock[index]
            if start is not None:
                self._stock[index] = left
                if start and not left:
                    self._selector.remove(index)
        self._next_id = frozen.next_id
        self._reached = frozen.covered

    def read_as(self, log_format: str) -> None:
        """The format of the records to be replayed."""
        self._records = records_for(log_format, self.names)

    def replay(self, sequence: int, kind: int, payload: memoryview) -> None:
        """Apply one recovered record; those that the snapshot covers and kinds that are no draws
        are passed over. Raises CatalogueError, and SnapshotUnusable where records are missing."""
        if sequence <= self._reached:
            return
        if sequence != self._reached + 1:
            self.snapshots.refuse_gap(sequence)
        self._reached = sequence
        if kind not in (DRAW, DRAWS):
            return
        first_id, indices = self._records.parse(kind, payload)
        check_draws(self._next_id, first_id, indices, len(self.names))
        for index in indices:
            if self._stock[index] == 0:
                raise CatalogueError(
                    f"record {sequence} draws {self.names[index]!r} although its stock is used up"
                )
            self._take(index)
            self._next_id += 1

    def attach(self, log: WriteAheadLog) -> None:
        """Log from now on, after a replay."""
        self._log = log
        self._records = records_for(log.format, self.names)

    # --- steps, under the lock ---------------------------------------------------------------

    def _pick(self) -> int:
        selector = self._selector
        if self._closed or not selector.total:
            self._refuse()
        return selector.find(self._generator.below(selector.total))

    def _refuse(self) -> NoReturn:
        self._check_open()
        raise PoolExhausted(f"all {len(self.names)} items are used up, {self.drawn} drawn")

    def _take(self, index: int) -> None:
        left = self._stock[index]
        if left is not None:
            self._stock[index] = left - 1
            if left == 1:
                self._selector.remove(index)

    def _put_back(self, index: int) -> None:
        left = self._stock[index]
        if left is not None:
            self._stock[index] = left + 1
            if left == 0:
                self._selector.restore(index)

    def _append_draw(self, draw_id: int, index: int) -> None:
        if self._log is not None:
            self._log.append(self._records.draw(draw_id, index), DRAW)

    def _settle(self) -> None:
        if self._closed or self._unlogged or self._log_failed:
            self._write_unlogged()

    def _write_unlogged(self) -> None:
        self._check_open()
        self._log_failed = True
        while self._unlogged:
            draw_id = self._next_id - len(self._unlogged)
            self._append_draw(draw_id, self._unlogged[0])
            self._unlogged.popleft()
            self._flush_after(1)
        self._flush_after(0)  # again, where the last sync failed
        self._log_failed = False

    def _flush_after(self, draws: int) -> None:
        self._unflushed += draws
        if 0 < self._flush_every <= self._unflushed:
            self._sync()

    def _sync(self) -> None:
        if self._log is not None:
            self._log.sync()
        self._unflushed = 0

    def _check_open(self) -> None:
        if self._closed:
            raise PoolError("the pool is closed")

    def _check_reserved(self, index: int) -> None:
        self._check_open()
        if not 0 <= index < len(self._reserved) or not self._reserved[index]:
            raise ValueError(f"item {index} is not reserved")


def declared_durability(options: Mapping[str, Any]) -> Durability:
    """The level under the parameters ``wal``, ``ack`` and ``flush_every`` of a row. The damage
    grade is that of our own logs."""
    if options.get("wal", "none") in ("none", "wal.none") or options.get("ack") == "memory":
        return Durability("D0")
    flush_every = int(options.get("flush_every", 0))
    if flush_every == 1 or options.get("ack") == "durable":
        return Durability("D3", integrity="I1", damage="C2")
    if flush_every:
        return Durability("D2", f"{flush_every} draws", integrity="I1", damage="C2")
    return Durability("D1", integrity="I1", damage="C2")


class Backend:
    """``interfaces.PoolBackend``."""

    name = "rewards.pool"
    core = "python"
    capabilities = frozenset(
        {
            Capability.DRAW_MANY,
            Capability.SELECTORS,
            Capability.QUEUE,
            Capability.LOGGED,
            Capability.RECOVERY,
            Capability.SNAPSHOT,
            Capability.SYNC,
        }
    )

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return declared_durability(options)

    def open(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        log: WriteAheadLog | None = None,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> Pool:
        return Pool(items, seed=seed, log=log, selector=selector, flush_every=flush_every)

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
    ) -> tuple[Pool, WriteAheadLog, Recovery]:
        pool = self.open(items, seed=seed, selector=selector, flush_every=flush_every)
        pool.read_as(options.format)
        frozen = pool.snapshots.load(directory, options.file_system)
        if frozen is not None:
            pool.restore(frozen)
        log, recovery = self.reopen(pool, backend, directory, options)
        pool.attach(log)
        return pool, log, recovery

    def reopen(
        self, pool: Pool, backend: LogBackend, directory: Path, options: LogOptions
    ) -> tuple[WriteAheadLog, Recovery]:
        """Replay the log into the pool, and open it for appending."""
        recovery = pool.snapshots.complete(self.replay(pool, backend, directory, options))
        log = backend.open(directory, options)
        check_unchanged(log, recovery.last_sequence)
        return log, recovery

    def replay(
        self, pool: Pool, backend: LogBackend, directory: Path, options: LogOptions
    ) -> Recovery:
        return backend.recover(directory, options, pool.replay)

    def queue(
        self, pool: Pool, *, capacity: int = 1024, ack: str = "logged", mode: str = "caller"
    ) -> Queue:
        return Queue(pool, capacity=capacity, ack=ack, mode=mode)
