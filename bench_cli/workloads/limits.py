"""The machine's own limits: the ceiling over every engine's row.

They are plain C loops (``limit_loops.h``), so they need the compiled module; without it their
rows are skipped with that reason rather than replaced by something slower that would flatter
the engines.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench_cli.errors import Unsupported
from bench_cli.interfaces import Body, BodyInfo, Needs, Parameter, Setting
from bench_cli.workloads.base import (
    KIB,
    MIB,
    Declared,
    PlainBody,
    choice,
    count,
    expect,
    laps,
    random_bytes,
    size,
)

if TYPE_CHECKING:
    from bench_cli.workloads.native import Memory

GROUP = "Limits of this machine"
CALL_LAPS = 50_000
COPY_VOLUME = 16 * MIB
SYSCALLS = 5_000
SYNCS = 20
HANDOFFS = 1_000


class _Limits:
    """The compiled module, imported when a limit is measured."""

    def __init__(self) -> None:
        try:
            from bench_cli.workloads import native
        except ImportError as error:
            raise Unsupported(
                "limits are measured by the compiled module, which is not built"
            ) from error
        self.native = native

    def memory(self, length: int, *, huge: bool = False) -> Memory:
        return self.native.Memory(length, huge)

    def source(self, length: int) -> Memory:
        """A hot, page-aligned buffer to copy from."""
        memory = self.native.Memory(length)
        memory.touch(7)
        return memory


def _load() -> _Limits:
    return _Limits()


class CallBody(PlainBody):
    """An empty compiled method with three arguments, called from a Python loop."""

    def __init__(self, setting: Setting) -> None:
        self._call = _load().native.Callee().call
        self._laps = laps(CALL_LAPS)
        self.info = BodyInfo(CALL_LAPS, loop=self._laps)

    def run(self) -> None:
        call, name, offset, data = self._call, "file", 4096, b"data"
        for _ in self._laps:
            call(name, offset, data)


class CopyBody(PlainBody):
    """memcpy between one hot buffer and the next place of a faulted-in ring."""

    def __init__(self, setting: Setting) -> None:
        limits = _load()
        length, ring = int(setting.params["size"]), int(setting.params["ring"])
        self._ring = limits.memory(ring, huge=True)
        self._ring.touch()
        self._copier = limits.native.Copier(self._ring, limits.source(length))
        out = setting.params["way"] == "out"
        self._copy = self._copier.copy_out if out else self._copier.copy_in
        self.info = BodyInfo(max(8, COPY_VOLUME // length), payload=length)

    def run(self) -> None:
        self._copy(self.info.ops)

    def verify(self) -> None:
        expect("the piece copied last is equal", self._copier.last_is_equal(), True)

    def close(self) -> None:
        self._ring.close()


class CopyTogetherBody(PlainBody):
    """The same by several threads at once, each between a buffer and a ring of its own. A batch is
    long beside starting its threads."""

    VOLUME = 64 * MIB

    def __init__(self, setting: Setting) -> None:
        limits = _load()
        length, ring = int(setting.params["size"]), int(setting.params["ring"])
        threads = int(setting.params["threads"])
        self._rings = [limits.memory(ring, huge=True) for _ in range(threads)]
        for one in self._rings:
            one.touch()
        self._copiers = [limits.native.Copier(one, limits.source(length)) for one in self._rings]
        self._copy_together = limits.native.copy_together
        self._out = setting.params["way"] == "out"
        self._each = max(8, self.VOLUME // length)
        self.info = BodyInfo(threads * self._each, payload=length)

    def run(self) -> None:
        self._copy_together(self._copiers, self._each, self._out)

    def verify(self) -> None:
        equal = [copier.last_is_equal() for copier in self._copiers]
        expect("the pieces copied last are equal", equal, [True] * len(equal))

    def close(self) -> None:
        for one in self._rings:
            one.close()


def _copy(setting: Setting) -> Body:
    return (CopyBody if setting.params["threads"] == 1 else CopyTogetherBody)(setting)


class FirstTouchBody(PlainBody):
    """Copying into memory that was never touched: page faults, zeroing and the copy."""

    def __init__(self, setting: Setting) -> None:
        self._limits = _load()
        self._huge = setting.params["pages"] == "huge"
        self._length = int(setting.params["span"])
        self._source = self._limits.source(4 * KIB)
        self._fresh: Memory | None = None
        self.info = BodyInfo(self._length // (4 * KIB), payload=4 * KIB)

    def prepare(self) -> None:
        self.close()
        self._fresh = self._limits.memory(self._length, huge=self._huge)

    def run(self) -> None:
        assert self._fresh is not None  # prepare() made it
        self._fresh.fill(self._source)

    def verify(self) -> None:
        assert self._fresh is not None  # prepare() made it
        expect("the last page is filled", self._fresh.ends_with(self._source), True)

    def close(self) -> None:
        if self._fresh is not None:
            self._fresh.close()


class FileBody(PlainBody):
    """A body over one scratch file, emptied or preallocated before each batch."""

    def __init__(self, setting: Setting) -> None:
        self.native = _load().native
        path = setting.scratch / "limit.dat"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def close(self) -> None:
        os.close(self._fd)


class WriteBody(FileBody):
    """write(2) of ``size`` bytes after ``size`` bytes; into blocks that exist (``steady``), or at
    the end of a growing file (``cold``)."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._data = random_bytes(int(setting.params["size"]), setting.seed)
        self._grows = setting.params["state"] == "cold"
        ops = max(16, min(SYSCALLS, COPY_VOLUME // len(self._data)))
        self.info = BodyInfo(ops, payload=len(self._data))
        self.run()

    def prepare(self) -> None:
        if self._grows:
            os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def run(self) -> None:
        self.native.write_many(self._fd, self._data, self.info.ops)

    def verify(self) -> None:
        expect("bytes in the file", os.fstat(self._fd).st_size, self.info.ops * len(self._data))


class SyncBody(FileBody):
    """pwrite of ``size`` bytes into blocks that exist, and fdatasync."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._data = random_bytes(int(setting.params["size"]), setting.seed)
        self.info = BodyInfo(SYNCS, payload=len(self._data))
        self.run()

    def run(self) -> None:
        self.native.write_and_sync(self._fd, self._data, self.info.ops)

    def verify(self) -> None:
        expect("bytes in the file", os.fstat(self._fd).st_size, self.info.ops * len(self._data))


class MsyncBody(FileBody):
    """A store of ``size`` bytes into a mapped, preallocated file and msync of its page."""

    PAGES = 256

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._data = random_bytes(int(setting.params["size"]), setting.seed)
        span = max(self.PAGES * mmap.PAGESIZE, -(-len(self._data) // mmap.PAGESIZE) * mmap.PAGESIZE)
        os.posix_fallocate(self._fd, 0, span)
        self._map = mmap.mmap(self._fd, span)
        self.info = BodyInfo(SYNCS, payload=len(self._data))

    def run(self) -> None:
        self.native.store_and_msync(self._map, self._data, self.info.ops)

    def close(self) -> None:
        self._map.close()
        super().close()


class FirstTouchFileBody(FileBody):
    """Copying into the pages of a preallocated, mapped file that were never touched."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._span = int(setting.params["span"])
        self._source = _load().source(4 * KIB)
        self._map: mmap.mmap | None = None
        self.info = BodyInfo(self._span // (4 * KIB), payload=4 * KIB)

    def prepare(self) -> None:
        self._unmap()
        os.ftruncate(self._fd, 0)
        os.posix_fallocate(self._fd, 0, self._span)
        self._map = mmap.mmap(self._fd, self._span)

    def run(self) -> None:
        assert self._map is not None  # prepare() made it
        self.native.fill_mapping(self._map, self._source)

    def verify(self) -> None:
        assert self._map is not None  # prepare() made it
        expect("the last page is filled", self._map[-1], 7)

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()

    def close(self) -> None:
        self._unmap()
        super().close()


class ChecksumBody(PlainBody):
    """CRC-32C over a hot buffer."""

    def __init__(self, setting: Setting) -> None:
        limits = _load()
        length = int(setting.params["size"])
        self._native = limits.native
        self._buffer = limits.source(length)
        self._one_stream = setting.params["streams"] == "one"
        self.info = BodyInfo(max(8, COPY_VOLUME // length), payload=length)

    def run(self) -> None:
        self._native.checksum(self._buffer, self.info.ops, self._one_stream)

    def verify(self) -> None:
        """One stream and three must agree, each with the other's way as witness."""
        one, three = (self._native.checksum(self._buffer, 1, way) for way in (True, False))
        expect("checksum of the buffer", one, three)

    def close(self) -> None:
        self._buffer.close()


class HandoffBody(PlainBody):
    """One thread waking another; half a round trip."""

    def __init__(self, setting: Setting) -> None:
        self._native = _load().native
        self.info = BodyInfo(2 * HANDOFFS)

    def run(self) -> None:
        self._native.handoff(HANDOFFS)


_SIZE = size("size", 32 * KIB, "bytes of one operation", most=64 * MIB)
_SMALL = size("size", 16, "bytes of one operation", most=64 * MIB)


def _limit(
    name: str,
    help: str,
    make: Callable[[Setting], Body],
    *parameters: Parameter,
    disk: int = 0,
) -> Declared:
    def needs(params: Mapping[str, Any]) -> Needs:
        memory = sum(int(params.get(key, 0)) for key in ("ring", "span", "size"))
        memory *= int(params.get("threads", 1))
        return Needs(64 * MIB + memory, disk + int(params.get("span", 0)))

    return Declared(f"limits.{name}", None, GROUP, help, make, parameters, needs_of=needs)


WORKLOADS = (
    _limit("call", "an empty compiled method with three arguments", CallBody),
    _limit("memcpy", "copy between a hot buffer and the next place of a ring", _copy, _SIZE,
           size("ring", 4 * MIB, "bytes the copies walk through", most=8 << 30),
           choice("way", "in", "into the ring or out of it", "in", "out"),
           count("threads", 1, "threads that copy at once, each with its own ring", most=256)),
    _limit("first_touch", "copy into never touched memory", FirstTouchBody,
           choice("pages", "small", "4 KiB pages, or huge ones where granted", "small", "huge"),
           size("span", 64 * MIB, "bytes of fresh memory", 4 * KIB, 8 << 30)),
    _limit("write_syscall", "write the next bytes of a file with write(2)", WriteBody, _SMALL,
           choice("state", "steady", "into blocks that exist, or a growing file", "steady", "cold"),
           disk=1 << 30),
    _limit("fdatasync", "write into a file and fdatasync", SyncBody, _SMALL, disk=64 * MIB),
    _limit("msync", "store into a mapped file and msync its page", MsyncBody, _SMALL,
           disk=64 * MIB),
    _limit("checksum", "CRC-32C of a hot buffer", ChecksumBody, _SIZE,
           choice("streams", "one", "one stream, or three interleaved", "one", "three")),
    _limit("first_touch_file", "copy into never touched pages of a mapped file",
           FirstTouchFileBody, size("span", 64 * MIB, "bytes of fresh file", 4 * KIB, 8 << 30)),
    _limit("handoff", "wake another thread", HandoffBody),
)  # fmt: skip
