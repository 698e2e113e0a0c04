"""Block cache rows about blocks and their memory: allocation, marking, eviction; and the list of
all rows of the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bench_cli.interfaces import BodyInfo, Capability, Needs, Parameter, Setting
from bench_cli.workloads import cache as rows
from bench_cli.workloads.base import (
    GIB,
    KIB,
    MIB,
    Declared,
    choice,
    count,
    expect,
    no_ceiling,
    random_bytes,
    size,
)
from bench_cli.workloads.cache import BLOCK, CacheBody, names_of
from bench_cli.workloads.cache_copies import PIECE, FileCopyBody, RecoverBody
from bench_cli.workloads.cache_threads import (
    ConcurrentCopyBody,
    ConcurrentReadBody,
    ConcurrentWriteBody,
)

MARKS = 800
EVICTIONS_AT_MOST = 1000


class AllocateBody(CacheBody):
    """The first write to a new file that needs a whole block: ``bytes`` up to the block's end,
    taken from a pool that was faulted in before."""

    OPS = 64

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, pool_bytes=self.OPS * BLOCK)
        self.names = names_of(self.OPS)
        self.data = random_bytes(int(setting.params["size"]), setting.seed)
        self.at = BLOCK - len(self.data)
        self.info = BodyInfo(self.OPS, len(self.data), loop=self.names)

    def prepare(self) -> None:
        for name, _ in self.cache.list_files():
            self.cache.remove(name)

    def run(self) -> None:
        write, offset, data = self.cache.write, self.at, self.data
        for name in self.names:
            write(name, offset, data)

    def verify(self) -> None:
        expect("new blocks", self.cache.stats().blocks, self.OPS)
        for name in self.names:
            self.check_bytes(name, self.at, self.data)


class MarkBody(CacheBody):
    """A real dirty -> uploaded transition each time."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.names = names_of(int(setting.params["files"]))
        self.each = max(1, MARKS // len(self.names))
        self.marks: list[tuple[str, int, int]] = []
        self.mark_uploaded = self.cache.mark_uploaded
        self.prepare()
        self.info = BodyInfo(len(self.marks), loop=self.marks)

    def prepare(self) -> None:
        for name in self.names:
            for block in range(self.each):
                self.cache.write(name, block * BLOCK, b"dirty again")
        # plain tuples: to unpack any other kind takes an iterator, inside the timed loop
        self.marks[:] = [(d.name, d.block, d.generation) for d in self.cache.dirty_blocks()]
        expect("blocks to mark", len(self.marks), len(self.names) * self.each)

    def run(self) -> None:
        mark_uploaded = self.mark_uploaded
        for name, block, generation in self.marks:
            mark_uploaded(name, block, generation)

    def verify(self) -> None:
        expect("dirty blocks left", self.cache.stats().dirty_blocks, 0)


class EvictBody(CacheBody):
    """Evict one block each time, the least recently used; all are uploaded, one more is dirty
    and must stay."""

    def __init__(self, setting: Setting) -> None:
        files, self.block_bytes = int(setting.params["files"]), int(setting.params["bytes"])
        super().__init__(setting, pool_bytes=files * BLOCK if self.block_bytes > BLOCK // 2 else 0)
        self.names = names_of(files)
        self.evictions = min(files, EVICTIONS_AT_MOST)
        self.laps = (None,) * self.evictions
        self.cache.write("dirty", 0, b"never evicted")
        self.evicted = 0
        self.evict_one = self.cache.evict_one
        self.info = BodyInfo(self.evictions, loop=self.laps)

    def prepare(self) -> None:
        """Every file gets a block of ``bytes`` again, clean; only the last byte is written, the
        buffer is what counts."""
        write, mark = self.cache.write, self.cache.mark_uploaded
        for name in self.names:
            write(name, self.block_bytes - 1, b"x")
        for name, block, generation in self.cache.dirty_blocks():
            if name != "dirty":
                mark(name, block, generation)
        self.evicted = self.cache.stats().evicted_blocks

    def run(self) -> None:
        evict_one = self.evict_one
        for _ in self.laps:
            evict_one()

    def verify(self) -> None:
        stats = self.cache.stats()
        expect("blocks evicted", stats.evicted_blocks - self.evicted, self.evictions)
        expect("dirty blocks kept", stats.dirty_blocks, 1)
        self.check_bytes("dirty", 0, b"never evicted")
        held = [self.cache.is_range_covered(name, self.block_bytes - 1, 1) for name in self.names]
        expect("oldest blocks gone, newest kept", held, [
            number >= self.evictions for number in range(len(self.names))
        ])  # fmt: skip


class SmallFilesBody(CacheBody):
    """Write ``files`` new files of ``size`` bytes; reports what each keeps resident."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.names = names_of(int(setting.params["files"]))
        self.data = random_bytes(int(setting.params["size"]), setting.seed)
        self.info = BodyInfo(len(self.names), len(self.data), loop=self.names)

    def prepare(self) -> None:
        for name, _ in self.cache.list_files():
            self.cache.remove(name)
        self.cache.trim()

    def run(self) -> None:
        write, data = self.cache.write, self.data
        for name in self.names:
            write(name, 0, data)

    def verify(self) -> None:
        expect("files", self.cache.stats().files, len(self.names))
        self.check_bytes(self.names[-1], 0, self.data)

    def metrics(self) -> dict[str, float]:
        stats = self.cache.stats()
        resident = stats.allocated + stats.pooled
        return {**super().metrics(), "resident_bytes_per_op": resident / len(self.names)}


def _memcpy(size: int, ring: int, way: str = "") -> str:
    """A ring holds at least one piece."""
    return f"limits.memcpy[ring={max(ring, size)},size={size}{way}]"


def _copy_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    if params.get("wal", "wal.none") != "wal.none" or params.get("state") == "cold":
        return None
    return _memcpy(int(params["size"]), int(params["ring"]))


def _multi_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    """A ring as large as what all files together walk through."""
    size, files = int(params["size"]), int(params["files"])
    return _memcpy(size, files * max(size, int(params["ring"]) // files // size * size))


def _read_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    return _memcpy(int(params["size"]), int(params["ring"]), ",way=out")


def _threads_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    threads = int(params["threads"])
    more = f",threads={threads}" if threads > 1 else ""
    return _memcpy(int(params["size"]), int(params["ring"]), ",way=out" + more)


def _mixed_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    """One copy walks the ring; the other two meet the piece it has just touched."""
    size = int(params["size"])
    return f"sum({_memcpy(size, int(params['ring']))}, 2x {_memcpy(size, size)})"


def _overlap_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    return "limits.memcpy[ring=32KiB,size=32KiB,way=out]"


def _call_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    return "limits.call"


def _needs(params: Mapping[str, Any]) -> Needs:
    """Block buffers and what the log may grow to."""
    ring = (
        int(params.get("ring", 0))
        * int(params.get("threads", 1))
        * (params.get("keys") != "shared")
    )
    whole = int(params.get("size", 0)) if "wal" in params and "ring" not in params else 0
    blocks = int(params.get("files", 0)) if int(params.get("bytes", 0)) > BLOCK // 2 else 0
    logged = params.get("wal", "wal.none") != "wal.none"
    stored = whole if params.get("store") == "directory" else 0
    return Needs(
        memory=256 * MIB + 2 * ring + 2 * whole + blocks * BLOCK,
        disk=2 * stored + (4 * (ring + whole) + 256 * MIB if logged else 0),
    )


_WAL = Parameter("wal", "backend", "wal.none", "the log behind the cache", choices=("wal",))
_SEGMENT = size("segment", 64 * MIB, "bytes of one log file before it rotates", MIB)
_FILES = count("files", 100, "files in the cache", most=100_000)
_RING = size("ring", 4 * MIB, "working set the operations walk through", 4 * KIB, 8 * GIB)
_THREADS = count("threads", 2, "threads", most=256)
_STATE = choice("state", "steady", "what memory a write meets", "steady", "pooled", "cold")


def _cache(
    name: str,
    group: str,
    help: str,
    make: Any,
    *parameters: Parameter,
    ceiling: Callable[[Mapping[str, Any], str | None], str | None] = no_ceiling,
    requires: frozenset[Capability] = frozenset(),
) -> Declared:
    return Declared(f"cache.{name}", "cache", f"Cache: {group}", help, make, parameters, requires,
                    _needs, ceiling)  # fmt: skip


def _size(default: int = PIECE) -> Parameter:
    return size("size", default, "bytes of one operation", most=64 * MIB)


WORKLOADS = (
    _cache("write_sequential", "sequential writes", "write the next bytes of one file",
           rows.write_body, _size(), _RING, _STATE, _WAL, _SEGMENT, ceiling=_copy_ceiling),
    _cache("write_random", "random writes", "write at random offsets of a sparse file",
           rows.RandomWriteBody, _size(4 * KIB), size("span", 4 * GIB, "offsets lie below", MIB)),
    _cache("write_multi_file", "multi-file writes", "write the next bytes of the next file",
           rows.MultiFileBody, _size(), _RING, _FILES, ceiling=_multi_ceiling),
    _cache("write_concurrent", "concurrent writes", "several threads write", ConcurrentWriteBody,
           _size(), _RING, _THREADS,
           choice("keys", "disjoint", "files of the threads", "disjoint", "shared"),
           choice("call", "single", "one write per call, or 64", "single", "vectored")),
    _cache("read_concurrent", "concurrent reads", "several threads read, each a file of its own",
           ConcurrentReadBody, _size(), _RING, _THREADS,
           choice("call", "single", "one read per call, or 64", "single", "vectored"),
           ceiling=_threads_ceiling),
    _cache("read_sequential", "reads", "read into a caller's buffer", rows.ReadBody, _size(),
           _RING, ceiling=_read_ceiling),
    _cache("read_overlapping", "overlapping writes", "read 32 KiB, newest write wins",
           rows.OverlapBody, count("overlaps", 10, "writes over what is read", most=10_000),
           ceiling=_overlap_ceiling),
    _cache("is_range_covered", "coverage", "is every byte of a range held", rows.CoverageBody,
           ceiling=_call_ceiling),
    _cache("dirty_blocks", "flush", "list the dirty blocks of a file", rows.DirtyBlocksBody,
           count("chunks", 1, "chunks with a dirty block each", most=10_000),
           ceiling=_call_ceiling),
    _cache("mark_uploaded", "flush", "mark a dirty block uploaded", MarkBody, _FILES,
           ceiling=_call_ceiling, requires=frozenset({Capability.UPLOAD})),
    _cache("evict_lru", "eviction", "evict the least recently used block", EvictBody, _FILES,
           size("bytes", BLOCK, "bytes of each block", most=BLOCK), ceiling=_call_ceiling,
           requires=frozenset({Capability.EVICTION})),
    _cache("allocate_block", "memory", "first write to a new file, a pooled block",
           AllocateBody, _size(4 * KIB)),
    _cache("small_files", "memory", "write a small new file", SmallFilesBody,
           count("files", 1000, "files in the cache", most=100_000), _size(KIB)),
    _cache("list_files", "listing", "sizes of all files", rows.ListFilesBody, _FILES),
    _cache("file_size", "listing", "size of one file", rows.FileSizeBody,
           count("writes", 1, "writes to the file before", most=100_000), ceiling=_call_ceiling),
    _cache("file_copy", "file copy", "write a whole file, flush it, mark it uploaded",
           FileCopyBody, size("size", MIB, "bytes of the file", 32 * KIB, 8 * GIB),
           choice("store", "none", "where blocks are flushed to", "none", "memory", "directory"),
           choice("state", "pooled", "what memory the writes meet", "pooled", "cold"),
           _WAL, _SEGMENT),
    _cache("file_copy_concurrent", "file copy", "distinct files copied in parallel",
           ConcurrentCopyBody, size("size", MIB, "bytes of one file", 32 * KIB, GIB), _THREADS),
    _cache("recover", "recovery", "rebuild a cache from its log, until usable", RecoverBody,
           size("size", 64 * MIB, "bytes of the file that was written", 32 * KIB, 8 * GIB),
           replace(_WAL, default="wal.mmap"), _SEGMENT),
    _cache("write_read_write", "mixed", "write, read the same, write again",
           rows.WriteReadWriteBody, _size(),
           size("ring", 32 * MIB, "working set", 4 * KIB, 8 * GIB), ceiling=_mixed_ceiling),
)  # fmt: skip
