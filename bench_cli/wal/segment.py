"""The files of an open log: creating, rotating, emptying and closing segments.

Everything here is rare and shared by both twins; what happens per record is in ``log.py`` and
``native.pyx``. Methods raise OSError; the log turns that into LogWriteFailed and poisons itself.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench_cli.errors import LogLocked
from bench_cli.filesystem import CLOCK, SYSTEM
from bench_cli.interfaces import Apply, FileSystem, LogOptions
from bench_cli.wal.ahead import LEAST, Ahead, Maker, Relay
from bench_cli.wal.codec import CODECS
from bench_cli.wal.files import Segment, uninterrupted, write_all, write_zeros, zeros_between
from bench_cli.wal.format import (
    DATA_START,
    FOOTER,
    FOOTER_ROOM,
    LINK_ROOM,
    MAX_SEGMENT,
    MIN_SEGMENT,
    SLOT,
    SegmentHeader,
    encode_link,
    lag_of,
    salt_seed,
    segment_name,
)
from bench_cli.wal.recovery import Scan, Walk, recover

SPARE = "00000000.spare"  # a removed segment, to be used again
MAX_UNSYNCED = 64  # full segments that wait for a sync with their files open
LEAST_PAUSE, MOST_PAUSE = 0.001, 10.0  # of the thread, in seconds


def check_options(options: LogOptions) -> None:
    if options.format not in CODECS:
        raise ValueError(f"log format {options.format!r}; known: {', '.join(CODECS)}")
    if not MIN_SEGMENT <= options.segment_size <= MAX_SEGMENT:
        raise ValueError(
            f"segment_size is {options.segment_size}, outside {MIN_SEGMENT}..{MAX_SEGMENT}"
        )
    if options.workers < 1:
        raise ValueError(f"workers is {options.workers}, must be at least 1")
    if options.rotate_after_ns < 0:
        raise ValueError(f"rotate_after_ns is {options.rotate_after_ns}, must not be negative")


@dataclass(slots=True)
class Retired:
    """A full segment: only its size is still of interest, its removal, and that of those before
    it. ``last``: its last sequence number."""

    path: Path
    header: SegmentHeader
    slot: int
    last: int
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
        self.first = 1  # the number the log begins with
        self.begins = 1  # the number the current segment begins with
        self.clock = options.clock or CLOCK
        self.period = options.rotate_after_ns
        self.started = 0  # when the current segment got its first record, or was opened with some
        self._options = options
        self._segment_type = segment_type
        self._salts = salts
        self._retired: list[Retired] = []
        self._unsynced: list[Segment] = []  # the retired ones that no sync has covered
        self._maker = Maker()
        self.ahead: Ahead | None = None
        self.relay: Relay | None = None
        self._spare: Retired | None = None  # a removed segment whose file is used again
        self._lock_fd: int | None = None
        self._open = False

    @property
    def largest(self) -> int:
        """Bytes of the largest frame that fits a new segment."""
        return self._options.segment_size - DATA_START - LINK_ROOM - FOOTER_ROOM

    # --- opening -----------------------------------------------------------------------------

    def start(self, walk: Walk | None = None) -> Scan:
        """Lock, recover, cut what was torn, and be ready to append. Raises LogLocked, LogCorrupt
        or OSError, and then holds nothing."""
        scan = self.read(walk)
        self.resume(scan)
        return scan

    def read(self, walk: Walk | None = None, apply: Apply | None = None) -> Scan:
        """The first half of ``start``, which changes nothing. Raises what ``apply`` raises too."""
        self.fs.mkdir(self.directory)
        self._lock()
        try:
            return recover(self.directory, self._options, self.fs, apply, walk)
        except BaseException:
            self.release()
            raise

    def resume(self, scan: Scan) -> None:
        """The second half."""
        try:
            scan.refuse_damage()
            self._go_on(scan)
        except BaseException:
            self.release()
            raise

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

    def _go_on(self, scan: Scan) -> None:
        with suppress(FileNotFoundError):
            self.fs.unlink(self.directory / SPARE)
        for file in reversed(scan.leftover):  # a crash must not leave one behind a missing one
            self.fs.unlink(file.path)
            self.fs.sync_directory(self.directory)
        for file, last, end in zip(scan.live[:-1], scan.lasts[:-1], scan.ends[:-1], strict=True):
            assert file.header is not None
            held = self._synced(file.path)
            self._retired.append(Retired(file.path, file.header, file.slot, last, end, held))
        self.first = scan.first or 1
        self.begins = scan.lasts[-2] + 1 if len(scan.lasts) > 1 else self.first
        self.started = self.clock.now_ns()
        if scan.live:
            self._reopen(scan)
        else:
            self.fs.sync_directory(self.directory.parent)
            self._install(self._create(1, scan.next_sequence))
            self.current.populate()
        if self.period:  # it may be needed long before the current one is full
            self.prepare()
        scan.chain = scan.chain if scan.live else self.current.header.crc

    def _reopen(self, scan: Scan) -> None:
        """Go on in the last segment. What stands behind its last frame is cut off and comes back
        as zeros, durably, before anything is appended: no remains can follow a new record. Its
        pages are not faulted in: all of them take longer than most logs take to be read."""
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

    def _create(self, number: int, first_sequence: int = 0) -> Segment:
        """Create, preallocate, header, sync, sync of the folder, and only then use. A base, if it
        is given its first sequence number."""
        header, slots = self._header(number, self._options.segment_size, first_sequence)
        path = self.directory / segment_name(number)
        fd = self.fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self.fs.preallocate(fd, header.capacity)
            write_all(self.fs, fd, slots + self.codec.blank_slot, 0)
            uninterrupted(lambda: self.fs.sync(fd))
            self.fs.sync_directory(self.directory)
            return self._segment_type(self.fs, fd, path, header, 0)
        except OSError:
            self.fs.close(fd)
            with suppress(OSError):  # the first error is the one to report
                self.fs.unlink(path)
            raise

    def _take_spare(self) -> Retired | None:
        spare, self._spare = self._spare, None
        return spare

    def _create_next(self, number: int, spare: Retired | None) -> Segment:
        return self._create(number) if spare is None else self._recycle(spare, number)

    def _recycle(self, spare: Retired, number: int) -> Segment:
        """The file of a removed segment as the next one: its blocks are there. Its new header is
        durable before it is called a segment again. What a crash may bring back of its old bytes is
        worth nothing under the new salt; zeros only tell a clean end from a torn one."""
        header, slots = self._header(number, self._options.segment_size, 0)
        path = self.directory / segment_name(number)
        fd = self.fs.open(spare.path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            write_all(self.fs, fd, slots + self.codec.blank_slot, 0)
            uninterrupted(lambda: self.fs.sync(fd))
            write_zeros(self.fs, fd, DATA_START, spare.end)
            self.fs.rename(spare.path, path)
            self.fs.sync_directory(self.directory)
            return self._segment_type(self.fs, fd, path, header, 0)
        except OSError:
            self.fs.close(fd)
            for name in (spare.path, path):
                with suppress(OSError):  # the first error is the one to report
                    self.fs.unlink(name)
            raise

    def _header(
        self, number: int, capacity: int, first_sequence: int
    ) -> tuple[SegmentHeader, bytes]:
        header = SegmentHeader(number, self._salts(), first_sequence, capacity)
        slot, crc = self.codec.header(header)
        return replace(header, crc=crc), slot

    # --- while open --------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the next segment on a thread, if that is worth one and none is made yet."""
        if self.prepares and (self.ahead is None or self.ahead.taken):
            self.ahead = self._maker.begin(self._job(self.current, None))

    @property
    def prepares(self) -> bool:
        """An injected file system sees everything in order, on one thread."""
        return self.fs is SYSTEM and self._options.segment_size >= LEAST and self.current.ahead

    def due(self, sequence: int) -> bool:
        """Whether the current segment is too old for the record of that number. Its age is that of
        its first record: an idle log does not rotate."""
        now = self.clock.now_ns()
        if sequence == self.begins:
            self.started = now
        return now - self.started >= self.period

    def rotate(self, sequence: int, durable: int, end: int, chain: int) -> tuple[int, int]:
        """Go on in a new segment; (where its first record goes, the chain value). Nothing is
        synced: the link at its start says up to where the log is known to be durable, and the
        next sync covers this segment too."""
        full, lag = self.switch(sequence, end), lag_of(sequence, durable)
        link, crc = self.codec.frame(self.current.seed, sequence, lag, FOOTER, encode_link(chain))
        self.current.write(DATA_START, link)
        self.let_go(full)
        return DATA_START + len(link), crc

    def switch(self, sequence: int, end: int) -> Segment:
        """The first part of a rotation: the new segment is current. Returns the full one, which is
        let go of in the end."""
        if self.ahead is not None and not self.ahead.taken:
            new = self.ahead.take()
            self._withdraw()
        else:
            new = self._create_next(self.current.header.number + 1, self._take_spare())
            new.populate()
        old, self.current = self.current, new
        self._retired.append(
            Retired(old.path, old.header, old.slot, sequence - 1, end, old.allocated)
        )
        self.rotations += 1
        self.begins = sequence
        self._unsynced.append(old)
        if len(self._unsynced) > MAX_UNSYNCED:
            self._sync_oldest()
        return old

    def let_go(self, full: Segment) -> None:
        """Unmap a full segment. Unmapping takes long, so it is left to the thread if there is
        one; which then goes on to the next segment, as a log that rotated will do so again."""
        if self.prepares:
            self.ahead = self._maker.begin(self._job(self.current, full))
        else:
            full.detach()

    def connect(self, make: Callable[..., Relay]) -> None:
        """Offer what is made from here on to a relay, which is made of the full segments, those of
        them that no sync has covered, how many those may be, and what begins a job. Whoever
        rotates by what is offered does what ``switch`` and ``let_go`` do."""
        self.relay = make(self._retired, self._unsynced, MAX_UNSYNCED, self._maker.put)
        if self.period:  # the next call may be the next rotation: do not wait for it to catch up
            pause = min(max(self.period / 2e9, LEAST_PAUSE), MOST_PAUSE)
            self._maker.look(pause, partial(_overdue, weakref.ref(self)))

    def _job(self, before: Segment, full: Segment | None) -> Ahead:
        """Make the segment that follows ``before``, the current one; ``full`` was so until now."""
        return Ahead(lambda: self._make_next(before), partial(self._offer, before), full)

    def _make_next(self, before: Segment) -> Segment:
        """On the thread, which may take the spare: see ``_remove``."""
        return self._create_next(before.header.number + 1, self._take_spare())

    def _offer(self, before: Segment, new: Segment) -> None:
        if self.relay is not None:
            retired = Retired(before.path, before.header, before.slot, 0, 0, before.allocated)
            self.relay.offer(new, retired, self._job(new, before))

    def _withdraw(self) -> None:
        if self.relay is not None:
            self.relay.withdraw()

    def sync_retired(self) -> None:
        """Make durable what was written before the current segment."""
        while self._unsynced:
            self._sync_oldest()

    def _sync_oldest(self) -> None:
        """Its mapping is not touched: the thread may still be at it, and unmaps it."""
        self._unsynced[0].sync_file()
        self.fs.close(self._unsynced.pop(0).fd)

    def _forget_ahead(self) -> None:
        if self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            ahead.abandon()
            self._withdraw()
            ahead.remove()
            self._maker.end()

    def reset(self, first_sequence: int, end: int) -> None:
        """Forget all records, keep the current file. The order is what makes it safe:

        1. the header of an empty base segment, numbered one higher, into the unused slot; sync.
           The slot of the file's own number still counts: the whole old log is there.
        2. rename to the new number, sync of the folder. From here on the log is empty.
        3. remove the older segments; one left by a crash lies before the base and is ignored.
        4. zero the old frames. Their salt is gone, so this is only to tell a clean end from a
           torn one later; it keeps the pages mapped and cached.
        """
        self._forget_ahead()  # it has the number that the current segment will get
        segment = self.current
        header, slot = self._header(
            segment.header.number + 1, segment.header.capacity, first_sequence
        )
        self.first = self.begins = first_sequence
        unused = 1 - segment.slot
        segment.write(unused * SLOT, slot)
        segment.sync(unused * SLOT, unused * SLOT + SLOT)
        path = self.directory / segment_name(header.number)
        self.fs.rename(segment.path, path)
        self.fs.sync_directory(self.directory)
        segment.path, segment.header, segment.slot = path, header, unused
        segment.seed = salt_seed(header.salt)
        self._close_unsynced()
        while self._retired:
            self.fs.unlink(self._retired[-1].path)
            self._retired.pop()
        for at, zeros in zeros_between(DATA_START, end):
            segment.write(at, zeros)

    def covered(self, sequence: int) -> int:
        """How many full segments end at or below ``sequence``."""
        covered = 0
        while covered < len(self._retired) and self._retired[covered].last <= sequence:
            covered += 1
        return covered

    def remove_front(self, covered: int) -> None:
        """Remove the oldest ``covered`` segments. The first one left is made a base before: from
        there on those before it do not belong to the log, so it does not matter which of them a
        crash leaves. One file is kept for the next segment."""
        if not covered:
            return
        self.first = self._retired[covered - 1].last + 1
        if covered < len(self._retired):
            self._retired[covered] = self._rebased(self._retired[covered])
        else:
            self._rebase_current()
        self._close_unsynced(self._retired[covered - 1].header.number)
        for _ in range(covered):
            self._remove(self._retired[0])
            self._retired.pop(0)

    def _remove(self, full: Retired) -> None:
        """The thread takes the spare before what it makes is ready: it is not touched meanwhile."""
        taken = self._spare is not None or (self.ahead is not None and not self.ahead.ready)
        if taken or full.header.capacity != self._options.segment_size:
            self.fs.unlink(full.path)
            return
        path = self.directory / SPARE
        self.fs.rename(full.path, path)
        self._spare = replace(full, path=path)

    def _rebased(self, full: Retired) -> Retired:
        header, slot = self._base_of(full.header)
        unused = 1 - full.slot
        fd = self.fs.open(full.path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            write_all(self.fs, fd, slot, unused * SLOT)
            uninterrupted(lambda: self.fs.sync(fd))
        finally:
            self.fs.close(fd)
        return replace(full, header=header, slot=unused)

    def _rebase_current(self) -> None:
        segment = self.current
        segment.header, slot = self._base_of(segment.header)
        segment.slot = 1 - segment.slot
        segment.write(segment.slot * SLOT, slot)
        segment.sync(0, DATA_START + LINK_ROOM)  # the link too: it stands before all records

    def _base_of(self, header: SegmentHeader) -> tuple[SegmentHeader, bytes]:
        """The same header, with the number its records begin with."""
        base = replace(header, first_sequence=self.first, link_kept=True)
        slot, crc = self.codec.header(base)
        return replace(base, crc=crc), slot

    def sizes(self, end: int) -> tuple[int, int, int]:
        """(segments, logical bytes, allocated bytes)."""
        logical = end + sum(segment.end for segment in self._retired)
        spare = self._spare  # the thread may take it
        held = self._retired if spare is None else [*self._retired, spare]
        allocated = sum(segment.allocated for segment in held)
        if self._open:
            allocated += self.fs.allocated(self.current.fd)
        return len(self._retired) + 1, logical, allocated

    def _synced(self, path: Path) -> int:
        """Sync a full segment that a process left, perhaps before it was durable; its allocated
        bytes."""
        fd = self.fs.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            uninterrupted(lambda: self.fs.sync(fd))
            return self.fs.allocated(fd)
        finally:
            self.fs.close(fd)

    # --- closing -----------------------------------------------------------------------------

    def finish(self, end: int) -> None:
        """Give the unused rest of the current segment, and a spare one, back and sync."""
        self._forget_ahead()
        self.current.detach()
        self.fs.truncate(self.current.fd, end)
        uninterrupted(lambda: self.fs.sync(self.current.fd))
        spare = self._take_spare()
        if spare is not None:
            with suppress(OSError):  # one that stays is removed when the log is opened
                self.fs.unlink(spare.path)

    def release(self) -> None:
        """Close everything and release the lock."""
        self._forget_ahead()
        if self._open:
            self._open = False
            self._close_unsynced()
            self.current.close()
        if self._lock_fd is not None:
            fd, self._lock_fd = self._lock_fd, None
            self.fs.close(fd)

    def _close_unsynced(self, last: int | None = None) -> None:
        """Without a sync: all of them, or those up to the one of that number."""
        while self._unsynced and (last is None or self._unsynced[0].header.number <= last):
            self.fs.close(self._unsynced.pop(0).fd)


def _overdue(segments: weakref.ref[SegmentSet]) -> Ahead | None:
    found = segments()
    return None if found is None or found.relay is None else found.relay.due(found)
