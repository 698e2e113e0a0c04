"""A file system that notes what is asked of it, and fails or stops where a test says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bench_cli.filesystem import SystemFileSystem, SystemMapping
from bench_cli.interfaces import Buffer


class Stopped(BaseException):
    """The process ends here: nothing after it is done."""


class WatchedMapping:
    """A mapping that reports its syncs and stores to the file system it came from."""

    def __init__(self, files: FaultyFiles, inner: SystemMapping) -> None:
        self.buffer = inner.buffer
        self._files = files
        self._inner = inner

    def stored(self, offset: int, length: int) -> None:
        self._files.note("stored", offset, offset + length)

    def sync(self, offset: int, length: int) -> None:
        self._files.note("sync", offset, offset + length)
        self._inner.sync(offset, length)

    def close(self) -> None:
        self._inner.close()


class FaultyFiles(SystemFileSystem):
    """``notes`` holds (operation, start, end) in order. ``fail(operation, errno)`` makes the
    next one (or the one after ``skip`` more) fail; ``stop_at`` ends the process before the
    operation of that number; ``most`` bounds what one write takes."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int, int]] = []
        self.stop_at = -1
        self.most = 0
        self._failures: list[tuple[str, int, int]] = []

    def fail(self, operation: str, errno: int, skip: int = 0) -> None:
        self._failures.append((operation, errno, skip))

    def note(self, operation: str, start: int = 0, end: int = 0) -> None:
        if 0 <= self.stop_at <= len(self.notes):
            raise Stopped(operation)
        self.notes.append((operation, start, end))
        for index, (wanted, errno, skip) in enumerate(self._failures):
            if wanted != operation:
                continue
            if skip:
                self._failures[index] = (wanted, errno, skip - 1)
                continue
            del self._failures[index]
            raise OSError(errno, os.strerror(errno))

    def count(self, operation: str) -> int:
        return sum(1 for name, _, _ in self.notes if name == operation)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        self.note("pwrite", offset, offset + len(data))
        part = memoryview(data)[: self.most] if self.most else data
        return super().pwrite(fd, part, offset)

    def truncate(self, fd: int, length: int) -> None:
        self.note("truncate", 0, length)
        super().truncate(fd, length)

    def preallocate(self, fd: int, length: int) -> None:
        self.note("preallocate", 0, length)
        super().preallocate(fd, length)

    def sync(self, fd: int) -> None:
        self.note("sync", 0, os.fstat(fd).st_size)
        super().sync(fd)

    def sync_directory(self, path: Path) -> None:
        self.note("sync_directory")
        super().sync_directory(path)

    def map(self, fd: int, length: int) -> WatchedMapping:  # type: ignore[override]
        self.note("map", 0, length)
        return WatchedMapping(self, super().map(fd, length))

    def rename(self, source: Path, target: Path) -> None:
        self.note("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self.note("unlink")
        super().unlink(path)


def every_stop(run: Callable[[FaultyFiles], None], most: int = 200) -> int:
    """Call ``run`` once per operation it does, stopped there, until it is no longer stopped; how
    many stops there were."""
    for stop in range(most):
        files = FaultyFiles()
        files.stop_at = stop
        try:
            run(files)
        except Stopped:
            continue
        return stop
    raise AssertionError(f"not done after {most} operations")
