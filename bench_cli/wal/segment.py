"""The files of an open log: creating, rotating, emptying and closing segments.

Everything here is rare and shared by both twins; what happens per record is in ``log.py`` and
``native.pyx``. Methods raise OSError; the log turns that into LogWriteFailed and poisons itself.
A helper that creates segments ahead of need, and rotation by time, would attach to
``SegmentSet.rotate``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench_cli.errors import LogLocked
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import Buffer, FileSystem, LogOptions
from bench_cli.wal.codec import CODECS
from bench_cli.wal.format import (
    DATA_START,
    FOOTER_ROOM,
    MAX_SEGMENT,
    MIN_SEGMENT,
    SLOT,
    SegmentHeader,
    salt_seed,
    segment_name,
)
from bench_cli.wal.recovery import Scan, Walk, recover

PAGE = 4096
_ZEROS = bytes(1 << 20)


def check_options(options: LogOptions) -> None:
    if options.format not in CODECS:
        raise ValueError(f"log format {options.format!r}; known: {', '.join(CODECS)}")
    if not MIN_SEGMENT <= options.segment_size <= MAX_SEGMENT:
        raise ValueError(
            f"segment_size is {options.segment_size}, outside {MIN_SEGMENT}..{MAX_SEGMENT}"
        )


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


def uninterrupted(sync: Callable[[], None]) -> None:
    """A signal is no answer from the device: ask again. Any other error is final."""
    while True:
        try:
            return sync()
        except InterruptedError:
            continue


class Segment:
    """One segment file, open for writing with ``pwrite``."""

    def __init__(self, fs: FileSystem, fd: int, path: Path, header: SegmentHeader, slot: int):
        self.fs = fs
        self.fd = fd
        self.path = path
        self.header = header
        self.slot = slot  # which of the two header slots counts
        self.seed = salt_seed(header.salt)
        self.room = header.capacity - FOOTER_ROOM  # where frames must end

    def write(self, offset: int, data: Buffer) -> int:
        """The number of write calls made."""
        return write_all(self.fs, self.fd, data, offset)

    def sync(self, start: int, end: int) -> None:
        """Returns when the bytes ``start..end`` are on the device."""
        uninterrupted(lambda: self.fs.sync(self.fd))

    def detach(self) -> None:
        """Give up everything but the descriptor."""

    def close(self) -> None:
        self.detach()
        self.fs.close(self.fd)


class MappedSegment(Segment):
    """One segment file, mapped whole and written by stores."""

    def __init__(self, fs: FileSystem, fd: int, path: Path, header: SegmentHeader, slot: int):
        super().__init__(fs, fd, path, header, slot)
        self._mapping = fs.map(fd, header.capacity)
        self._mapped = True
        self.buffer = self._mapping.buffer
        self.stored = self._mapping.stored
        self.populate()

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


@dataclass(frozen=True, slots=True)
class Retired:
    """A full segment: only its size is still of interest, and its removal."""

    path: Path
    end: int
    allocated: int


class SegmentSet:
    """The lock and the segments of one open log directory. The last segment is ``current``."""

    current: Segment

    def __init__(
        self,
        directory: Path,
        options: LogOptions,
        segment_type: type[Segment],
        salts: Callable[[], int],
    ) -> None:
        check_options(options)
        self.fs: FileSystem = options.file_system or SYSTEM
        self.codec = CODECS[options.format]
        self.directory = directory
        self.rotations = 0
        self._options = options
        self._segment_type = segment_type
        self._salts = salts
        self._retired: list[Retired] = []
        self._lock_fd: int | None = None
        self._open = False

    @property
    def largest(self) -> int:
        """Bytes of the largest frame that fits a new segment."""
        return self._options.segment_size - DATA_START - FOOTER_ROOM

    # --- opening -----------------------------------------------------------------------------

    def start(self, walk: Walk | None = None) -> Scan:
        """Lock, recover, cut what was torn, and be ready to append. Raises LogLocked, LogCorrupt
        or OSError, and then holds nothing."""
        self.fs.mkdir(self.directory)
        self._lock()
        try:
            scan = recover(self.directory, self._options, self.fs, walk=walk)
            scan.refuse_damage()
            self._resume(scan)
        except BaseException:
            self.release()
            raise
        return scan

    def _lock(self) -> None:
        """The lock is on the directory: segments come and go, and it needs no file of its own."""
        fd = self.fs.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fs.lock(fd)
        except BlockingIOError as error:
            self.fs.close(fd)
            raise LogLocked(
                f"{self.directory} is open in another log", remedy="close it there first"
            ) from error
        except OSError:
            self.fs.close(fd)
            raise
        self._lock_fd = fd

    def _resume(self, scan: Scan) -> None:
        for file in scan.leftover:
            self.fs.unlink(file.path)
        for file, end in zip(scan.live[:-1], scan.ends[:-1], strict=True):
            self._retired.append(Retired(file.path, end, self._allocated(file.path)))
        if scan.live:
            self._reopen(scan)
        else:
            self.fs.sync_directory(self.directory.parent)
            self._install(self._create(1, scan.next_sequence, 0, base=True))
        scan.chain = scan.chain if scan.live else self.current.header.crc

    def _reopen(self, scan: Scan) -> None:
        """Go on in the last segment. What stands behind its last frame is cut off and comes back
        as zeros, durably, before anything is appended: no remains can follow a new record."""
        file, end = scan.live[-1], scan.ends[-1]
        assert file.header is not None
        fd = self.fs.open(file.path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            self.fs.truncate(fd, end)
            self.fs.preallocate(fd, file.header.capacity)
            uninterrupted(lambda: self.fs.sync(fd))
            self.fs.sync_directory(self.directory)
            self._install(self._segment_type(self.fs, fd, file.path, file.header, file.slot))
        except OSError:
            self.fs.close(fd)
            raise

    def _install(self, segment: Segment) -> None:
        self.current = segment
        self._open = True

    def _create(self, number: int, first_sequence: int, chain: int, base: bool) -> Segment:
        """Create, preallocate, header, sync, sync of the folder, and only then use."""
        capacity = self._options.segment_size
        header, slots = self._header(number, first_sequence, capacity, chain, base)
        path = self.directory / segment_name(number)
        fd = self.fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self.fs.preallocate(fd, capacity)
            write_all(self.fs, fd, slots + self.codec.blank_slot, 0)
            uninterrupted(lambda: self.fs.sync(fd))
            self.fs.sync_directory(self.directory)
            return self._segment_type(self.fs, fd, path, header, 0)
        except OSError:
            self.fs.close(fd)
            with suppress(OSError):  # the first error is the one to report
                self.fs.unlink(path)
            raise

    def _header(
        self, number: int, first_sequence: int, capacity: int, chain: int, base: bool
    ) -> tuple[SegmentHeader, bytes]:
        header = SegmentHeader(number, self._salts(), first_sequence, capacity, chain, base)
        slot, crc = self.codec.header(header)
        return replace(header, crc=crc), slot

    # --- while open --------------------------------------------------------------------------

    def rotate(self, first_sequence: int, end: int, chain: int) -> None:
        """Go on in a new segment. The caller has synced the current one: that a segment has a
        successor is a promise that all of it is durable."""
        new = self._create(self.current.header.number + 1, first_sequence, chain, base=False)
        allocated = self.fs.allocated(self.current.fd)
        self._retired.append(Retired(self.current.path, end, allocated))
        old, self.current = self.current, new
        self.rotations += 1
        old.close()

    def reset(self, first_sequence: int, end: int) -> None:
        """Forget all records, keep the current file. The order is what makes it safe:

        1. the header of an empty base segment, numbered one higher, into the unused slot; sync.
           The slot of the file's own number still counts: the whole old log is there.
        2. rename to the new number, sync of the folder. From here on the log is empty.
        3. remove the older segments; one left by a crash lies before the base and is ignored.
        4. zero the old frames. Their salt is gone, so this is only to tell a clean end from a
           torn one later; it keeps the pages mapped and cached.
        """
        segment = self.current
        header, slot = self._header(
            segment.header.number + 1, first_sequence, segment.header.capacity, 0, base=True
        )
        unused = 1 - segment.slot
        segment.write(unused * SLOT, slot)
        segment.sync(unused * SLOT, unused * SLOT + SLOT)
        path = self.directory / segment_name(header.number)
        self.fs.rename(segment.path, path)
        self.fs.sync_directory(self.directory)
        segment.path, segment.header, segment.slot = path, header, unused
        segment.seed = salt_seed(header.salt)
        while self._retired:
            self.fs.unlink(self._retired[-1].path)
            self._retired.pop()
        for at in range(DATA_START, end, len(_ZEROS)):
            segment.write(at, memoryview(_ZEROS)[: min(len(_ZEROS), end - at)])

    def sizes(self, end: int) -> tuple[int, int, int]:
        """(segments, logical bytes, allocated bytes)."""
        logical = end + sum(segment.end for segment in self._retired)
        allocated = sum(segment.allocated for segment in self._retired)
        if self._open:
            allocated += self.fs.allocated(self.current.fd)
        return len(self._retired) + 1, logical, allocated

    def _allocated(self, path: Path) -> int:
        fd = self.fs.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return self.fs.allocated(fd)
        finally:
            self.fs.close(fd)

    # --- closing -----------------------------------------------------------------------------

    def finish(self, end: int) -> None:
        """Give the unused rest of the current segment back and sync."""
        self.current.detach()
        self.fs.truncate(self.current.fd, end)
        uninterrupted(lambda: self.fs.sync(self.current.fd))

    def release(self) -> None:
        """Close everything and release the lock."""
        if self._open:
            self._open = False
            self.current.close()
        if self._lock_fd is not None:
            fd, self._lock_fd = self._lock_fd, None
            self.fs.close(fd)
