"""The block cache, and the store behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from bench_cli.interfaces.engine import Backend, Buffer, Clock, FileSystem
from bench_cli.interfaces.log import LogBackend, LogOptions, Recovery, SnapshotInfo, WriteAheadLog


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
