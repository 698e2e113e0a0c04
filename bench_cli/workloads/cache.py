"""Block cache rows: writes, reads, coverage, listing, eviction.

``state`` says what memory a write meets: ``steady`` blocks exist, ``pooled`` fresh blocks from a
pool that was faulted in before, ``cold`` memory that was never touched. They are different rows,
never mixed. ``ring`` is the working set the operations walk through.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import cast

from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import (
    Body,
    BodyInfo,
    CacheBackend,
    CacheOptions,
    Capability,
    LogBackend,
    Setting,
    WriteAheadLog,
)
from bench_cli.workloads.base import KIB, MIB, PlainBody, expect, laps, random_bytes
from bench_cli.workloads.wal import log_options

BLOCK = 4 * MIB
CHUNK = 64 * MIB
VOLUME = {"native": 32 * MIB, "python": 8 * MIB}
MOST_LAPS = {"native": 100_000, "python": 10_000}
NAME = "export/home/file-000001.dat"
CHECKED_PIECES = 256
"""A verification reads at most this many pieces of a ring back; a small ring is read whole."""


def volume_of(core: str | None, ring: int) -> int:
    """Bytes of one batch: enough to time, and at least once around the ring."""
    return max(VOLUME[core or "python"], ring)


def ring_offsets(size: int, ring: int, volume: int) -> list[int]:
    """The offsets of a walk around the ring, in whole pieces."""
    pieces = max(1, ring // size)
    lap = [index * size for index in range(pieces)]
    return lap * max(1, volume // (pieces * size))


class CacheBody(PlainBody):
    """A body over one cache, with or without a log behind it."""

    def __init__(self, setting: Setting, pool_bytes: int = 0) -> None:
        assert setting.backend is not None  # a cache row always names its backend
        self.setting = setting
        self.backend = cast(CacheBackend, setting.engines.resolve(setting.backend))
        self.options = CacheOptions(block_size=BLOCK, chunk_size=CHUNK, pool_bytes=pool_bytes)
        self.log: WriteAheadLog | None = None
        self._logged_from = 0
        self.place: Path = setting.scratch / "log"
        wal = str(setting.params.get("wal", "wal.none"))
        self.log_backend = cast(LogBackend, setting.engines.resolve(wal))
        self.logged = Capability.RECOVERY in self.log_backend.capabilities
        self.open_cache()

    def open_cache(self) -> None:
        """A log that keeps nothing is no log: the cache then runs in memory alone."""
        if self.logged:
            self.log = self.log_backend.open(self.place, log_options(self.setting.params))
            self.cache = self.backend.open(self.options, log=self.log, directory=self.place)
        else:
            self.cache = self.backend.open(self.options)
        # bound once, so that a batch allocates nothing of its own
        self.write, self.read_into = self.cache.write, self.cache.read_into

    def clean(self) -> None:
        """Mark everything uploaded and shorten the log: a batch starts with nothing pending."""
        for name, block, generation in self.cache.dirty_blocks():
            self.cache.mark_uploaded(name, block, generation)
        self.shorten_log()

    def shorten_log(self) -> None:
        if self.log is not None:
            self.cache.checkpoint()
            self._logged_from = self.log.stats().bytes

    def metrics(self) -> dict[str, float]:
        if self.log is None:
            return {}
        stats = self.log.stats()
        return {
            "wal_bytes_per_op": (stats.bytes - self._logged_from) / self.info.ops,
            "wal_file_size": float(stats.file_size),
            "wal_allocated_bytes": float(stats.allocated),
        }

    def close(self) -> None:
        self.cache.close()
        if self.log is not None:
            self.log.close()
            self.log = None

    def check_bytes(self, name: str, offset: int, wanted: bytes) -> None:
        found = bytearray(len(wanted))
        self.cache.read_into(name, offset, found)
        if found != wanted:
            at = next(
                i for i, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1]
            )
            raise VerificationFailed(f"{name}: byte {offset + at} is not what was written last")


class AlternatingData:
    """Two payloads in turn, so that a batch whose writes were lost cannot pass on the bytes of
    the batch before."""

    def __init__(self, size: int, seed: int) -> None:
        self._both = (random_bytes(size, seed), random_bytes(size, seed + 1))
        self._turn = 0

    @property
    def current(self) -> bytes:
        return self._both[self._turn]

    def flip(self) -> bytes:
        self._turn ^= 1
        return self.current


class WriteBody(CacheBody):
    """Write the next ``size`` bytes of one file, around a ring of existing blocks."""

    def __init__(self, setting: Setting, pool_bytes: int = 0) -> None:
        params = setting.params
        self.size, self.ring = int(params["size"]), int(params["ring"])
        super().__init__(setting, pool_bytes)
        self.offsets = self.walk()
        self.data = AlternatingData(self.size, setting.seed)
        self.info = BodyInfo(len(self.offsets), self.size, loop=self.offsets)
        self.steps = len(self.offsets)
        self.fill_ring()

    def walk(self) -> list[int]:
        volume = volume_of(self.setting.core, self.ring)
        at_least = max(MIB, self.ring)
        return ring_offsets(self.size, self.ring, self.setting.batch(volume, at_least))

    def fill_ring(self) -> None:
        for offset in dict.fromkeys(self.offsets):
            self.cache.write(NAME, offset, self.data.current)

    def prepare(self) -> None:
        self.data.flip()
        if self.log is not None:
            self.clean()

    def run(self) -> None:
        write, name, data = self.write, NAME, self.data.current
        for offset in self.offsets:
            write(name, offset, data)

    def verify(self) -> None:
        self.verify_steps(len(self.offsets))

    def stepper(self) -> Callable[[], object]:
        """The next write of the walk, found in C: little beside the write itself."""
        data = self.data.current
        return map(self.write, repeat(NAME), self.offsets, repeat(data)).__next__

    def verify_steps(self, count: int) -> None:
        distinct = sorted(set(self.offsets[:count]))
        step = max(1, len(distinct) // CHECKED_PIECES)
        for offset in {*distinct[::step], distinct[-1]}:
            self.check_bytes(NAME, offset, self.data.current)
        expect("file size", self.cache.file_size(NAME), self.last_written(distinct) + self.size)

    def last_written(self, distinct: list[int]) -> int:
        """The ring was written before, up to its end."""
        return max(self.offsets)


class FreshWriteBody(WriteBody):
    """One walk over a ring of blocks that do not exist yet. ``pooled`` takes them from a pool
    that was faulted in when the cache opened; ``cold`` from the system."""

    def __init__(self, setting: Setting) -> None:
        pooled = setting.params["state"] == "pooled"
        ring = int(setting.params["ring"])
        super().__init__(setting, (ring + BLOCK - 1) // BLOCK * BLOCK if pooled else 0)
        self.pooled = pooled

    def walk(self) -> list[int]:
        return ring_offsets(self.size, self.ring, 0)

    def fill_ring(self) -> None:
        """The ring is what the batch has to make."""

    def last_written(self, distinct: list[int]) -> int:
        return distinct[-1]

    def prepare(self) -> None:
        self.data.flip()
        if self.pooled:
            if self.cache.list_files():
                self.cache.remove(NAME)
            self.clean()
        else:
            self.close()
            self.open_cache()


class RandomWriteBody(CacheBody):
    """Write at seeded random offsets of a sparse file: new blocks on most operations, so this
    times the allocator as much as the copy."""

    OPS = 256

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        size, span = int(setting.params["size"]), int(setting.params["span"])
        rng = random.Random(setting.seed)
        self.offsets = [rng.randrange(span // size) * size for _ in range(self.OPS)]
        self.data = random_bytes(size, setting.seed)
        self.info = BodyInfo(self.OPS, size, loop=self.offsets)

    def prepare(self) -> None:
        if self.cache.list_files():
            self.cache.remove(NAME)
        self.cache.trim()

    def run(self) -> None:
        write, name, data = self.write, NAME, self.data
        for offset in self.offsets:
            write(name, offset, data)

    def verify(self) -> None:
        for offset in self.offsets:
            self.check_bytes(NAME, offset, self.data)


class MultiFileBody(CacheBody):
    """Write the next ``size`` bytes of the next file, round robin; each file walks a ring of its
    own, at least ``size`` and together ``ring`` where that is more."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        params = setting.params
        files, self.size, ring = int(params["files"]), int(params["size"]), int(params["ring"])
        names = [f"export/home/file-{number:06d}.dat" for number in range(files)]
        each = max(self.size, ring // files // self.size * self.size)
        volume = volume_of(setting.core, each * files)
        rounds = max(each // self.size, volume // (files * self.size))
        self.targets = [(name, turn * self.size % each) for turn in range(rounds) for name in names]
        self.data = AlternatingData(self.size, setting.seed)
        self.info = BodyInfo(len(self.targets), self.size, loop=self.targets)
        self._write_all()

    def _write_all(self) -> None:
        write, data = self.write, self.data.current
        for name, offset in self.targets:
            write(name, offset, data)

    def prepare(self) -> None:
        self.data.flip()

    def run(self) -> None:
        self._write_all()

    def verify(self) -> None:
        distinct = list(dict.fromkeys(self.targets))
        for name, offset in distinct[:: max(1, len(distinct) // CHECKED_PIECES)]:
            self.check_bytes(name, offset, self.data.current)


class ReadBody(CacheBody):
    """Read the next ``size`` bytes of a ring into the caller's buffer."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.size, ring = int(setting.params["size"]), int(setting.params["ring"])
        self.offsets = ring_offsets(self.size, ring, volume_of(setting.core, ring))
        self.data = random_bytes(self.size, setting.seed)
        self.buffer = page_aligned(self.size)
        for offset in dict.fromkeys(self.offsets):
            self.cache.write(NAME, offset, self.piece(offset))
        self.info = BodyInfo(len(self.offsets), self.size, loop=self.offsets)
        self.steps = len(self.offsets)

    def piece(self, offset: int) -> bytes:
        """Every piece begins with its offset, so that one read cannot pass for another."""
        return (offset.to_bytes(8, "little") + self.data)[: self.size]

    def prepare(self) -> None:
        self.buffer[:] = bytes(self.size)

    def run(self) -> None:
        read_into, name, buffer = self.read_into, NAME, self.buffer
        for offset in self.offsets:
            read_into(name, offset, buffer)

    def stepper(self) -> Callable[[], object]:
        return map(self.read_into, repeat(NAME), self.offsets, repeat(self.buffer)).__next__

    def verify(self) -> None:
        self.verify_steps(len(self.offsets))

    def verify_steps(self, count: int) -> None:
        last = self.offsets[(count - 1) % len(self.offsets)]
        expect("the bytes read last are right", bytes(self.buffer) == self.piece(last), True)
        distinct = list(dict.fromkeys(self.offsets))
        for offset in distinct[:: max(1, len(distinct) // CHECKED_PIECES)]:
            self.check_bytes(NAME, offset, self.piece(offset))


def page_aligned(size: int) -> memoryview:
    """A caller's buffer as a file server has it: page-aligned and resident."""
    import mmap

    buffer = memoryview(mmap.mmap(-1, max(size, mmap.PAGESIZE)))[:size]
    buffer[:] = bytes(size)
    return buffer


class OverlapBody(CacheBody):
    """Read 32 KiB that was overwritten ``overlaps`` times: the newest bytes win."""

    READ = 32 * KIB

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        rng = random.Random(setting.seed)
        self.wanted = bytearray(rng.randbytes(64 * KIB))
        self.cache.write(NAME, 0, bytes(self.wanted))
        for index in range(int(setting.params["overlaps"])):
            offset, data = index * 2 * KIB, rng.randbytes(4 * KIB)
            end = offset + len(data)
            self.wanted.extend(bytes(max(0, end - len(self.wanted))))
            self.wanted[offset:end] = data
            self.cache.write(NAME, offset, data)
        self.buffer = page_aligned(self.READ)
        self.laps = laps(MOST_LAPS[setting.core or "python"] // 5)
        self.info = BodyInfo(len(self.laps), self.READ, loop=self.laps)

    def prepare(self) -> None:
        self.buffer[:] = bytes(self.READ)

    def run(self) -> None:
        read_into, name, buffer = self.read_into, NAME, self.buffer
        for _ in self.laps:
            read_into(name, 0, buffer)

    def verify(self) -> None:
        expect("newest bytes win", bytes(self.buffer) == self.wanted[: self.READ], True)


class WriteReadWriteBody(CacheBody):
    """Write, read the same, write again: one operation."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.size, ring = int(setting.params["size"]), int(setting.params["ring"])
        self.offsets = ring_offsets(self.size, ring, volume_of(setting.core, ring))
        self.first = random_bytes(self.size, setting.seed)
        self.second = AlternatingData(self.size, setting.seed + 2)
        self.buffer = page_aligned(self.size)
        for offset in dict.fromkeys(self.offsets):
            self.cache.write(NAME, offset, self.first)
        self.info = BodyInfo(len(self.offsets), 3 * self.size, loop=self.offsets)

    def prepare(self) -> None:
        self.second.flip()
        self.buffer[:] = bytes(self.size)

    def run(self) -> None:
        write, read_into = self.write, self.read_into
        name, first, second, buffer = NAME, self.first, self.second.current, self.buffer
        for offset in self.offsets:
            write(name, offset, first)
            read_into(name, offset, buffer)
            write(name, offset, second)

    def verify(self) -> None:
        expect("the bytes read last", bytes(self.buffer) == self.first, True)
        for offset in sorted(set(self.offsets))[:CHECKED_PIECES]:
            self.check_bytes(NAME, offset, self.second.current)


class CallBody(CacheBody):
    """A body that calls one method with the same arguments each lap. ``LAPS`` by core."""

    LAPS: Mapping[str, int] = MOST_LAPS

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.fill()
        self.laps = laps(self.LAPS[setting.core or "python"])
        self.info = BodyInfo(len(self.laps), loop=self.laps)

    def fill(self) -> None:
        """What the cache holds before."""


class CoverageBody(CallBody):
    """Is every byte of 32 KiB in a 64 MiB file covered?"""

    RANGE, FILE, AT = 32 * KIB, 64 * MIB, 20 * MIB + 12_345

    def fill(self) -> None:
        data = random_bytes(MIB, self.setting.seed)
        for offset in range(0, self.FILE, MIB):
            self.cache.write(NAME, offset, data)
        self.covered = self.cache.is_range_covered

    def run(self) -> None:
        covered, name, offset, length = self.covered, NAME, self.AT, self.RANGE
        for _ in self.laps:
            covered(name, offset, length)

    def verify(self) -> None:
        expect("a range that is covered", self.covered(NAME, self.AT, self.RANGE), True)
        expect("a range one byte too far", self.covered(NAME, self.FILE - 5, 6), False)


class DirtyBlocksBody(CallBody):
    """List the dirty blocks of a file with one dirty block in each of ``chunks`` chunks."""

    LAPS: Mapping[str, int] = {"native": 4_000, "python": 1_000}

    def fill(self) -> None:
        self.chunks = int(self.setting.params["chunks"])
        for chunk in range(self.chunks):
            self.cache.write(NAME, chunk * CHUNK, b"dirty")

    def run(self) -> None:
        dirty_blocks, name = self.cache.dirty_blocks, NAME
        for _ in self.laps:
            dirty_blocks(name)

    def verify(self) -> None:
        found = [block.block for block in self.cache.dirty_blocks(NAME)]
        expect("dirty blocks, sorted", found, [n * CHUNK // BLOCK for n in range(self.chunks)])


class ListFilesBody(CallBody):
    """The sizes of all files."""

    LAPS: Mapping[str, int] = {"native": 500, "python": 100}

    def fill(self) -> None:
        self.files = int(self.setting.params["files"])
        for number in range(self.files):
            self.cache.write(f"export/file-{number:06d}", 0, b"x" * (number % 100 + 1))

    def run(self) -> None:
        list_files = self.cache.list_files
        for _ in self.laps:
            list_files()

    def verify(self) -> None:
        found = self.cache.list_files()
        expect("files listed", len(found), self.files)
        expect("size of the last file", found[-1][1], (self.files - 1) % 100 + 1)


class FileSizeBody(CallBody):
    """The size of one file that was written ``writes`` times."""

    def fill(self) -> None:
        self.writes = int(self.setting.params["writes"])
        for number in range(self.writes):
            self.cache.write(NAME, number * 4 * KIB, b"x" * 4 * KIB)
        self.file_size = self.cache.file_size

    def run(self) -> None:
        file_size, name = self.file_size, NAME
        for _ in self.laps:
            file_size(name)

    def verify(self) -> None:
        expect("file size", self.file_size(NAME), self.writes * 4 * KIB)


def write_body(setting: Setting) -> Body:
    return (WriteBody if setting.params["state"] == "steady" else FreshWriteBody)(setting)


def names_of(count: int) -> Sequence[str]:
    return [f"export/home/file-{number:06d}.dat" for number in range(count)]
