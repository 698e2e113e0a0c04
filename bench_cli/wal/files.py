"""One open segment file: written by system calls, or through a mapping."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

from bench_cli.interfaces import Buffer, FileSystem
from bench_cli.wal.format import DATA_START, FOOTER_ROOM, SegmentHeader, salt_seed

PAGE = 4096
WARM = 64 << 10
_ZEROS = bytes(1 << 20)


def write_all(fs: FileSystem, fd: int, data: Buffer, offset: int) -> int:
    """Write all of ``data``, whatever the system takes at a time; the number of calls made."""
    view, calls = memoryview(data), 0
    while view:
        try:
            done = fs.pwrite(fd, view, offset)
        except InterruptedError:
            continue
        if done <= 0:  # would loop for ever
            raise OSError(errno.EIO, "the write took no bytes")
        calls += 1
        view = view[done:]
        offset += done
    return calls


def zeros_between(start: int, end: int) -> Iterator[tuple[int, memoryview]]:
    """(offset, zeros to write there), a part at a time."""
    for at in range(start, end, len(_ZEROS)):
        yield at, memoryview(_ZEROS)[: min(len(_ZEROS), end - at)]


def write_zeros(fs: FileSystem, fd: int, start: int, end: int) -> None:
    for at, zeros in zeros_between(start, end):
        write_all(fs, fd, zeros, at)


def uninterrupted(sync: Callable[[], None]) -> None:
    """A signal is no answer from the device: ask again. Any other error is final."""
    while True:
        try:
            return sync()
        except InterruptedError:
            continue


class Segment:
    """One segment file, open for writing with ``pwrite``."""

    ahead = True  # whether making one leaves the interpreter lock to the log's own thread

    def __init__(self, fs: FileSystem, fd: int, path: Path, header: SegmentHeader, slot: int):
        self.fs = fs
        self.fd = fd
        self.path = path
        self.header = header
        self.slot = slot  # which of the two header slots counts
        self.seed = salt_seed(header.salt)
        self.room = header.capacity - FOOTER_ROOM  # where frames must end
        self.allocated = fs.allocated(fd)  # asked before it is in use: a rotation is not to

    def write(self, offset: int, data: Buffer) -> int:
        """The number of write calls made."""
        return write_all(self.fs, self.fd, data, offset)

    def sync(self, start: int, end: int) -> None:
        """Returns when the bytes ``start..end`` are on the device."""
        uninterrupted(lambda: self.fs.sync(self.fd))

    def warm(self) -> None:
        """Before it is in use: have the pages of the first records cached."""
        write_zeros(self.fs, self.fd, DATA_START, min(WARM, self.room))

    def populate(self) -> None:
        """Get the memory ready to be written to: nothing to do here."""

    def sync_file(self) -> None:
        """Returns when the whole file is on the device; also after ``detach``."""
        uninterrupted(lambda: self.fs.sync(self.fd))

    def detach(self) -> None:
        """Give up everything but the descriptor."""

    def close(self) -> None:
        self.detach()
        self.fs.close(self.fd)


class MappedSegment(Segment):
    """One segment file, mapped whole and written by stores."""

    ahead = False

    def __init__(self, fs: FileSystem, fd: int, path: Path, header: SegmentHeader, slot: int):
        super().__init__(fs, fd, path, header, slot)
        self._mapping = fs.map(fd, header.capacity)
        self._mapped = True
        self.buffer = self._mapping.buffer
        self.stored = self._mapping.stored

    def warm(self) -> None:
        """Faulting them in does that."""

    def populate(self) -> None:
        """Fault in every page, so that an append does not have to."""
        pages = self.buffer[::PAGE]
        pages[:] = bytes(pages)

    def write(self, offset: int, data: Buffer) -> int:
        self.buffer[offset : offset + len(data)] = data
        self.stored(offset, len(data))
        return 0

    def sync(self, start: int, end: int) -> None:
        uninterrupted(lambda: self._mapping.sync(start, end - start))

    def detach(self) -> None:
        if self._mapped:
            self._mapped = False
            self._mapping.close()
