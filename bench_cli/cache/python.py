"""The block cache in Python: the specification of its compiled twin.

A file is a size and its blocks by number; a block is a buffer, what of it is held (its coverage),
a generation and a dirty mark. A write looks for room first, then goes to the log, then to memory,
all under one lock: a refused or unlogged write has changed nothing, and the log's order is the
order of memory.

The generation of a block is the log's sequence number of the last write or truncation that
touched it (without a log, a counter of the cache). It never comes back, so that an upload can
only be marked on the very bytes it read, and recovery gives every block its generation again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from bench_cli.cache import replay, rules
from bench_cli.cache.coverage import cover, cut, gaps, is_covered, runs
from bench_cli.cache.shelves import Block, File, Piece, Shelves
from bench_cli.cache.snapshot import SavedBlock, SavedFile, Snapshots
from bench_cli.cache.stores import open_store
from bench_cli.cache.waiting import ConditionWaiter
from bench_cli.errors import CacheFull, Unsupported
from bench_cli.filesystem import CLOCK, SYSTEM
from bench_cli.interfaces import (
    BlockStore,
    Buffer,
    CacheOptions,
    CacheStats,
    Capability,
    Clock,
    DirtyBlock,
    Durability,
    FileSystem,
    LogBackend,
    LogOptions,
    Recovery,
    SnapshotInfo,
    Waiter,
    WriteAheadLog,
)
from bench_cli.wal.snapshot import covered_by


class Cache:
    def __init__(
        self,
        options: CacheOptions,
        log: WriteAheadLog | None,
        directory: Path | None,
        file_system: FileSystem | None,
        clock: Clock | None,
        waiter: Waiter | None,
    ) -> None:
        rules.check_options(options)
        self._options = options
        self._block_size = options.block_size
        self._file_system = file_system or SYSTEM
        self._clock = clock or CLOCK
        self._waiter = waiter or ConditionWaiter()
        self._lock = threading.Lock()
        self._files: dict[str, File] = {}
        self._shelves = Shelves(options)
        self._recency = self._shelves.recency
        self._generations = count(1)
        self._waited_ns = 0
        self._closed = False
        self.snapshots = Snapshots(options.block_size)
        self.attach(log, directory)

    def attach(self, log: WriteAheadLog | None, directory: Path | None) -> None:
        """Go on with ``log``. Recovery replays without one, then changes over."""
        self._log, self._directory = log, directory

    # --- writing ---------------------------------------------------------------------------

    def write(self, name: str, offset: int, data: Buffer) -> None:
        view = data if type(data) is bytes else memoryview(data).cast("B")
        rules.check_range(offset, len(view))
        with self._lock:
            if self._write_in_place(name, offset, view):
                return
        self._with_room(lambda: self._write(name, offset, memoryview(view)))

    def write_many(self, requests: Sequence[tuple[str, int, Buffer]]) -> None:
        for name, offset, data in requests:
            self.write(name, offset, data)

    def fill(self, name: str, offset: int, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        rules.check_range(offset, len(view))
        self._with_room(lambda: self._fill(name, offset, view))

    def _write_in_place(self, name: str, offset: int, data: bytes | memoryview) -> bool:
        """The usual case, made short: bytes inside the buffer of one block that is dirty already
        need no room."""
        number, start = divmod(offset, self._block_size)
        end = start + len(data)
        file = self._files.get(name)
        block = file.blocks.get(number) if file else None
        if block is None or not block.dirty or end > len(block.buffer) or start == end:
            return False
        block.generation = self._log_write(name, offset, data)
        block.buffer[start:end] = data
        edges = block.edges
        if end > edges[1] or start < edges[0]:
            cover(edges, start, end)
        self._recency.touch(block)
        if offset + len(data) > block.file.size:
            block.file.size = offset + len(data)
        return True

    def _write(self, name: str, offset: int, data: memoryview) -> None:
        if not len(data):
            return
        file = self._files.get(name) or File(name)
        pieces = list(self._pieces(offset, len(data)))
        self._shelves.make_room(file, pieces, dirty=True)
        grown = self._shelves.take_buffers(file, pieces)
        try:
            generation = self._log_write(name, offset, data)
        except BaseException:
            self._shelves.give_back(grown)
            raise
        for (number, start, end), buffer in zip(pieces, grown, strict=True):
            block = self._shelves.grow(file, number, buffer)
            block.buffer[start:end] = data[: end - start]
            data = data[end - start :]
            cover(block.edges, start, end)
            block.generation = generation
            self._shelves.set_dirty(block)
        self._extend(file, end + number * self._block_size)

    def _fill(self, name: str, offset: int, data: memoryview) -> None:
        if not len(data):
            return
        file = self._files.get(name) or File(name)
        pieces = list(self._pieces(offset, len(data)))
        self._shelves.make_room(file, pieces, dirty=False)
        grown = self._shelves.take_buffers(file, pieces)
        for (number, start, end), buffer in zip(pieces, grown, strict=True):
            block = self._shelves.grow(file, number, buffer)
            for gap_start, gap_end in gaps(block.edges, start, end):
                block.buffer[gap_start:gap_end] = data[gap_start - start : gap_end - start]
            data = data[end - start :]
            cover(block.edges, start, end)
        self._extend(file, end + number * self._block_size)

    def _log_write(self, name: str, offset: int, data: Buffer) -> int:
        if self._log is None:
            return next(self._generations)
        return self._log.append_write(name, offset, data)

    def _extend(self, file: File, end: int) -> None:
        file.size = max(file.size, end)
        self._files[file.name] = file

    def _pieces(self, offset: int, length: int) -> Iterator[Piece]:
        end = offset + length
        while offset < end:
            number, start = divmod(offset, self._block_size)
            stop = min(self._block_size, start + end - offset)
            yield number, start, stop
            offset += stop - start

    # --- room ------------------------------------------------------------------------------

    def _with_room(self, attempt: Callable[[], None]) -> None:
        """Make an attempt; while it meets CacheFull, make it again as room may have come, until
        ``wait_ns`` are over."""
        try:
            return self._locked(attempt)
        except CacheFull as full:
            if not self._options.wait_ns or full.needed > full.limit:
                raise
        began = self._clock.now_ns()
        try:
            while True:
                ticket = self._waiter.ticket()
                try:
                    return self._locked(attempt)
                except CacheFull:
                    left = began + self._options.wait_ns - self._clock.now_ns()
                    if left <= 0:
                        raise
                self._waiter.wait(ticket, left)
        finally:
            with self._lock:
                self._waited_ns += self._clock.now_ns() - began

    def _locked(self, attempt: Callable[[], None]) -> None:
        with self._lock:
            self._check_open()
            attempt()

    # --- reading ---------------------------------------------------------------------------

    def read_into(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        view = memoryview(buffer).cast("B")
        if view.readonly:
            raise TypeError("a read needs a writable buffer")
        rules.check_range(offset, len(view))
        with self._lock:
            file = self._file(name)
            below = max(0, min(len(view), file.size - offset))
            for number, start, end in self._pieces(offset, len(view)):
                self._read_piece(file.blocks.get(number), start, end, view[: end - start])
                view = view[end - start :]
            return below

    def _read_piece(self, block: Block | None, start: int, end: int, view: memoryview) -> None:
        if block is None:
            view[:] = bytes(end - start)
            return
        self._recency.touch(block)
        if not is_covered(block.edges, start, end):
            view[:] = bytes(end - start)
        for held, stop in runs(block.edges, start, end):
            view[held - start : stop - start] = block.buffer[held:stop]

    def read_many(self, requests: Sequence[tuple[str, int, bytearray | memoryview]]) -> int:
        return sum(self.read_into(name, offset, buffer) for name, offset, buffer in requests)

    def is_range_covered(self, name: str, offset: int, length: int) -> bool:
        rules.check_range(offset, length)
        with self._lock:
            self._check_open()
            file = self._files.get(name)
            if file is None:
                return False
            blocks = file.blocks
            return all(
                number in blocks and is_covered(blocks[number].edges, start, end)
                for number, start, end in self._pieces(offset, length)
            )

    def file_size(self, name: str) -> int:
        with self._lock:
            return self._file(name).size

    def list_files(self) -> list[tuple[str, int]]:
        with self._lock:
            self._check_open()
            return [(name, self._files[name].size) for name in sorted(self._files)]

    def _file(self, name: str) -> File:
        self._check_open()
        file = self._files.get(name)
        if file is None:
            raise rules.not_cached(name)
        return file

    # --- shortening ------------------------------------------------------------------------

    def truncate(self, name: str, size: int) -> None:
        rules.check_range(size, 0)
        with self._lock:
            file = self._file(name)
            if self._log is None:
                generation = next(self._generations)
            else:
                generation = self._log.append_truncate(name, size)
            boundary, length = divmod(size, self._block_size)
            for block in [b for number, b in file.blocks.items() if number >= boundary]:
                self._cut(block, length if block.number == boundary else 0, generation)
            file.size = size
        self._waiter.wake()

    def _cut(self, block: Block, length: int, generation: int) -> None:
        """A clean block stays clean: what is left of it is in the store. One that ends before gets
        the generation too: recovery knows no bytes from the store, and could not tell it apart."""
        cut(block.edges, length)
        block.generation = generation
        if not block.edges:
            self._shelves.drop(block)

    def remove(self, name: str) -> None:
        with self._lock:
            file = self._file(name)
            if self._log is not None:
                self._log.append_remove(name)
            for block in list(file.blocks.values()):
                self._shelves.drop(block)
            del self._files[name]
        self._waiter.wake()

    # --- uploading -------------------------------------------------------------------------

    def dirty_blocks(self, name: str | None = None) -> list[DirtyBlock]:
        with self._lock:
            self._check_open()
            names = sorted(self._files) if name is None else [name]
            files = [self._files[known] for known in names if known in self._files]
            return [
                DirtyBlock(file.name, number, file.blocks[number].generation)
                for file in files
                for number in sorted(file.blocks)
                if file.blocks[number].dirty
            ]

    def read_block(self, name: str, block: int) -> tuple[int, list[tuple[int, bytes]]]:
        with self._lock:
            held = self._file(name).blocks.get(block)
            if held is None:
                raise rules.not_cached(name, block)
            return held.generation, held.extents()

    def mark_uploaded(self, name: str, block: int, generation: int) -> bool:
        with self._lock:
            self._check_open()
            file = self._files.get(name)
            held = file.blocks.get(block) if file else None
            if held is None or held.generation != generation:
                return False
            if held.dirty:
                if self._log is not None:
                    self._log.append_uploaded(name, block, generation)
                self._shelves.set_clean(held)
        self._waiter.wake()
        return True

    # --- evicting --------------------------------------------------------------------------

    def evict_one(self) -> bool:
        with self._lock:
            self._check_open()
            return self._shelves.evict_oldest()

    def evict_all(self) -> int:
        with self._lock:
            self._check_open()
            evicted = 0
            while self._shelves.evict_oldest():
                evicted += 1
            return evicted

    def trim(self) -> None:
        with self._lock:
            self._check_open()
            self._shelves.pool.trim(self._options.pool_bytes // self._block_size)

    # --- the whole -------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        with self._lock:
            self._check_open()
            shelves = self._shelves
            return CacheStats(
                files=len(self._files),
                blocks=shelves.blocks,
                dirty_blocks=shelves.dirty,
                allocated=shelves.allocated,
                pending=shelves.pending,
                pooled=shelves.pool.count * self._block_size,
                evicted_blocks=shelves.evicted,
                waited_ns=self._waited_ns,
            )

    def checkpoint(self, *, incremental: bool = False) -> SnapshotInfo:
        with self._lock:
            self._check_open()
            if self._log is None or self._directory is None:
                raise Unsupported("a checkpoint needs a log and the directory it lies in")
            self._log.sync()
            covered = covered_by(self._log)
            info = self.snapshots.take(
                self._file_system, self._directory, covered, incremental, self._saved_files
            )
            self._log.reset()
            return info

    def _saved_files(self, since: int) -> Iterator[SavedFile]:
        for name, file in sorted(self._files.items()):
            blocks = (
                SavedBlock(
                    number,
                    block.generation,
                    block.extents() if block.generation > since else None,
                )
                for number, block in sorted(file.blocks.items())
                if block.dirty
            )
            yield SavedFile(name, file.size, blocks)

    def adopt(self, name: str, size: int) -> None:
        """A file of ``size`` as recovery found it: it may have no block at all."""
        with self._lock:
            self._extend(self._files.get(name) or File(name), size)

    def count_from(self, generation: int) -> None:
        """For recovery: the next change gets this generation."""
        self._generations = count(generation)

    def close(self) -> None:
        with self._lock:
            for file in self._files.values():
                for block in list(file.blocks.values()):
                    self._shelves.drop(block)
            self._files.clear()
            self._shelves.pool.trim(0)
            self._closed = True
        self._waiter.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise rules.closed()


class Backend:
    name = "cache.block"
    core = "python"
    capabilities = frozenset(
        {Capability.VECTORED, Capability.WAL, Capability.EVICTION, Capability.UPLOAD}
    )

    def durability(self, options: Mapping[str, Any]) -> Durability:
        """Memory alone is volatile; on a log the row carries the log's own level."""
        return Durability("D0")

    def open(
        self,
        options: CacheOptions,
        *,
        log: WriteAheadLog | None = None,
        directory: Path | None = None,
        file_system: FileSystem | None = None,
        clock: Clock | None = None,
        waiter: Waiter | None = None,
    ) -> Cache:
        return Cache(options, log, directory, file_system, clock, waiter)

    def store(self, kind: str, directory: Path) -> BlockStore:
        return open_store(kind, directory)

    def recover(
        self,
        options: CacheOptions,
        *,
        backend: LogBackend,
        directory: Path,
        log_options: LogOptions,
        clock: Clock | None = None,
        waiter: Waiter | None = None,
    ) -> tuple[Cache, WriteAheadLog, Recovery]:
        def empty(log: None) -> Cache:
            return Cache(options, log, None, log_options.file_system, clock, waiter)

        return replay.recover(empty, options.block_size, backend, directory, log_options)
