"""The production file system and clock behind the engines (``interfaces.FileSystem``)."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from pathlib import Path

from bench_cli.interfaces import Buffer


class SystemClock:
    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def wall_ns(self) -> int:
        return time.time_ns()


class SystemMapping:
    """A shared mapping. ``sync`` uses fdatasync on the file rather than ``mmap.flush``, which
    holds the interpreter lock while it waits for the device (CPython 3.11)."""

    def __init__(self, fd: int, length: int) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.buffer = memoryview(self._map)

    def stored(self, offset: int, length: int) -> None:
        """Nothing to note in production."""

    def sync(self, offset: int, length: int) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        self.buffer.release()
        self._map.close()


class SystemFileSystem:
    """Each method is one system call."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def preallocate(self, fd: int, length: int) -> None:
        os.posix_fallocate(fd, 0, length)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def map(self, fd: int, length: int) -> SystemMapping:
        return SystemMapping(fd, length)

    def lock(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def allocated(self, fd: int) -> int:
        return os.fstat(fd).st_blocks * 512

    def listdir(self, path: Path) -> list[str]:
        return os.listdir(path)

    def mkdir(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink()


class SlowMapping(SystemMapping):
    def __init__(self, fd: int, length: int, delay_ns: int) -> None:
        super().__init__(fd, length)
        self._delay_s = delay_ns / 1e9

    def sync(self, offset: int, length: int) -> None:
        super().sync(offset, length)
        time.sleep(self._delay_s)


class SlowFileSystem(SystemFileSystem):
    """The system's files on a slower device: each sync of a file takes ``sync_delay_ns`` longer.
    The compiled logs know it and wait where the interpreter lock is not held."""

    def __init__(self, sync_delay_ns: int) -> None:
        self.sync_delay_ns = sync_delay_ns

    def sync(self, fd: int) -> None:
        super().sync(fd)
        time.sleep(self.sync_delay_ns / 1e9)

    def map(self, fd: int, length: int) -> SlowMapping:
        return SlowMapping(fd, length, self.sync_delay_ns)


SYSTEM = SystemFileSystem()
CLOCK = SystemClock()
