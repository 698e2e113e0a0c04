"""The write-ahead log, Python twin: open, append, rotate, sync, reset, close. This is the
specification; ``native.pyx`` does the same call for call and byte for byte.

A flush policy or a group commit (``flush.py``) stands in front of it, with the same methods; it
syncs in three steps, so that appends can go on meanwhile. A snapshot calls ``reset`` when it is
durable.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_cli.errors import (
    LogClosed,
    LogError,
    LogPoisoned,
    LogWriteFailed,
    RecordTooLarge,
)
from bench_cli.filesystem import SYSTEM
from bench_cli.flushing import flushed
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Capability,
    Durability,
    LiveFiles,
    LogOptions,
    LogStats,
    RecordKind,
    Recovery,
    WriteAheadLog,
)
from bench_cli.payloads import (
    encode_remove,
    encode_truncate,
    encode_uploaded,
    encode_write,
    live_files,
)
from bench_cli.wal import format as fmt
from bench_cli.wal.files import MappedSegment, Segment
from bench_cli.wal.flush import FlushedLog
from bench_cli.wal.recovery import Scan, recover
from bench_cli.wal.segment import SegmentSet, check_options

VOLATILE = frozenset(
    {
        Capability.BATCH,
        Capability.COMMIT,
        Capability.FILE_RECORDS,
        Capability.RESET,
        Capability.TRUNCATE,
    }
)
ON_DISK = VOLATILE | {
    Capability.RECOVERY,
    Capability.SYNC,
    Capability.ROTATION,
    Capability.LOCK,
    Capability.TEXT,
    Capability.JSONL,
    Capability.FAULTS,
}


def check_kind(kind: int) -> None:
    if not 1 <= kind <= fmt.MAX_KIND:
        raise ValueError(f"record kind {kind}, outside 1..{fmt.MAX_KIND}")


def check_batch(count: int) -> None:
    if count == 0:
        raise ValueError("an empty batch")
    if count > fmt.MAX_BATCH:
        raise RecordTooLarge(
            f"a batch of {count} records; one holds {fmt.MAX_BATCH}",
            size=count,
            limit=fmt.MAX_BATCH,
        )


def write_failed(error: OSError, what: object) -> LogWriteFailed:
    number = error.errno or errno.EIO
    return LogWriteFailed(
        f"{what}: {error.strerror or error}",
        errno=number,
        remedy="free what is short, reopen the log and let it recover",
    )


class FileRecords(ABC):
    """The records of a cache, in terms of ``append``."""

    @abstractmethod
    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int: ...

    def append_write(self, name: str, offset: int, data: Buffer) -> int:
        return self.append(encode_write(name, offset, data), RecordKind.WRITE)

    def append_remove(self, name: str) -> int:
        return self.append(encode_remove(name), RecordKind.REMOVE)

    def append_truncate(self, name: str, size: int) -> int:
        return self.append(encode_truncate(name, size), RecordKind.TRUNCATE)

    def append_uploaded(self, name: str, block: int, generation: int) -> int:
        return self.append(encode_uploaded(name, block, generation), RecordKind.UPLOADED)


class NoneLog(FileRecords):
    """Counts and numbers records, and keeps nothing."""

    def __init__(self, options: LogOptions) -> None:
        check_options(options)
        self.format = options.format
        self._last = 0
        self._closed = False

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        if self._closed or not 1 <= kind <= fmt.MAX_KIND:
            self._check_open()
            check_kind(kind)
        if not isinstance(payload, bytes):
            memoryview(payload)
        self._last += 1
        return self._last

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        self._check_open()
        check_kind(kind)
        payloads = list(payloads)
        check_batch(len(payloads))
        self._last += len(payloads)
        return self._last

    def sync(self) -> None:
        self._check_open()

    def reset(self) -> None:
        self._check_open()

    def truncate_front(self, sequence: int) -> int:
        self._check_open()
        return self._last + 1

    def stats(self) -> LogStats:
        return LogStats(self._last, 0, 0, 0, 0, 0, 0, 0, self._last, 0)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")


def _nobody_syncs() -> None:
    """Without a flush policy in front, the thread that rotates is the one that syncs."""


def under_policy(log: WriteAheadLog, options: LogOptions) -> WriteAheadLog:
    """``log``, behind the flush policy of ``options`` if there is one."""
    return log if options.flush is None else FlushedLog(log, options.flush, options.clock)


class FileLog(FileRecords):
    """A log in segment files, written by ``pwrite`` or through a mapping."""

    def __init__(self, segments: SegmentSet, scan: Scan) -> None:
        self.format = segments.codec.name
        self.settle: Callable[[], None] = _nobody_syncs
        self._segments = segments
        self._next = scan.next_sequence
        self._durable = self._next - 1  # opening synced what it found
        self._end = scan.ends[-1] if scan.ends else fmt.DATA_START
        self._synced = self._end
        self._chain = scan.chain
        self._appends = self._bytes = self._writes = self._syncs = 0
        self._failed = 0  # errno of the first failure
        self._closed = False

    # --- records -----------------------------------------------------------------------------

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        codec = self._segments.codec
        self._check_usable()
        check_kind(kind)
        return self._put(lambda seed, at, lag: codec.frame(seed, at, lag, kind, payload), 1)

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        codec = self._segments.codec
        self._check_usable()
        check_kind(kind)
        parts = list(payloads)
        check_batch(len(parts))
        return self._put(lambda seed, at, lag: codec.batch(seed, at, lag, kind, parts), len(parts))

    def _put(self, encode: Callable[[int, int, int], tuple[bytes, int]], count: int) -> int:
        """Write the frame that ``encode(seed, sequence, lag)`` makes."""
        frame, crc = self._encoded(encode)
        if self._end + len(frame) > self._segments.current.room:
            self._check_size(len(frame))
            self._rotate()
            frame, crc = self._encoded(encode)
        while self._segments.period and self._segments.due(self._next):
            self._rotate()
            frame, crc = self._encoded(encode)
        try:
            self._writes += self._segments.current.write(self._end, frame)
        except OSError as error:
            raise self._fail(error) from error
        self._chain = crc
        self._end += len(frame)
        self._bytes += len(frame)
        self._appends += count
        self._next += count
        return self._next - 1

    def _encoded(self, encode: Callable[[int, int, int], tuple[bytes, int]]) -> tuple[bytes, int]:
        lag = fmt.lag_of(self._next, self._durable)
        return encode(self._segments.current.seed, self._next, lag)

    def _check_size(self, size: int) -> None:
        limit = self._segments.largest
        if size > limit:
            raise RecordTooLarge(
                f"a record of {size} bytes with its frame; a segment holds {limit}",
                size=size,
                limit=limit,
            )

    def _rotate(self) -> None:
        self.settle()
        try:
            self._end, self._chain = self._segments.rotate(
                self._next, self._durable, self._end, self._chain
            )
        except OSError as error:
            raise self._fail(error) from error
        except BaseException:
            self._stopped()
            raise
        self._synced = fmt.DATA_START

    # --- the rest ----------------------------------------------------------------------------

    def sync(self) -> None:
        reach, failed = self.begin_sync(), None
        try:
            self.run_sync(reach)
        except OSError as error:
            failed = error
        self.end_sync(reach, failed)

    def begin_sync(self) -> tuple[int, int]:
        """(end, last sequence number) of what will be synced."""
        self._check_usable()
        return self._end, self._next - 1

    def run_sync(self, reach: tuple[int, int]) -> None:
        self._segments.sync_retired()
        self._segments.current.sync(self._synced, reach[0])

    def end_sync(self, reach: tuple[int, int], error: OSError | None) -> None:
        if error is not None:
            raise self._fail(error) from error
        self._synced, self._durable = reach
        self._syncs += 1

    @property
    def grown(self) -> int:
        return self._bytes

    def reset(self) -> None:
        self._check_usable()
        try:
            self._segments.reset(self._next, self._end)
        except OSError as error:
            raise self._fail(error) from error
        except BaseException:
            self._stopped()
            raise
        self._durable = self._next - 1
        self._end = self._synced = fmt.DATA_START
        self._chain = self._segments.current.header.crc

    def truncate_front(self, sequence: int) -> int:
        self._check_usable()
        covered = self._segments.covered(sequence)
        try:
            self._segments.remove_front(covered)
        except OSError as error:
            raise self._fail(error) from error
        except BaseException:
            self._stopped()
            raise
        return self._segments.first

    def stats(self) -> LogStats:
        segments, size, allocated = self._segments.sizes(self._end)
        return LogStats(
            appends=self._appends,
            bytes=self._bytes,
            writes=self._writes,
            syncs=self._syncs,
            rotations=self._segments.rotations,
            segments=segments,
            file_size=size,
            allocated=allocated,
            last_sequence=self._next - 1,
            durable_sequence=self._durable,
        )

    def close(self) -> None:
        if self._closed:
            return
        try:
            if not self._failed:
                self._write_footer()
        finally:
            self._closed = True
            self._segments.release()

    def _write_footer(self) -> None:
        """The footer promises every record, so they are synced first, and it after them."""
        if self._durable < self._next - 1:
            self.sync()
        current, codec = self._segments.current, self._segments.codec
        footer, _ = codec.frame(current.seed, self._next, 0, fmt.FOOTER, b"")
        try:
            current.write(self._end, footer)
            self._segments.finish(self._end + len(footer))
        except OSError as error:
            raise self._fail(error) from error

    def _check_usable(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")
        if self._failed:
            raise LogPoisoned(
                "an earlier write or sync failed",
                errno=self._failed,
                remedy="reopen the log and let it recover",
            )

    def _stopped(self) -> None:
        """A signal handler raised in the midst of a rotation, an emptying or a cut: which segments
        are in use, and from where, only a recovery can tell."""
        self._failed = errno.EINTR

    def _fail(self, error: OSError) -> LogError:
        failure = write_failed(error, self._segments.current.path)
        self._failed = failure.errno
        return failure


# --- backends --------------------------------------------------------------------------------


class NoneBackend:
    name = "wal.none"
    core = "python"
    capabilities = VOLATILE

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D0")

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return under_policy(NoneLog(options), options)

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        return Recovery(0, 0, 0, "clean", 0, 0)

    def live_files(self, directory: Path, options: LogOptions) -> tuple[Recovery, LiveFiles]:
        return live_files(self, directory, options)


class BasicBackend:
    """One write per record or per batch. ``salts`` lets a test choose the salts of segments."""

    name = "wal.basic"
    core = "python"
    capabilities = ON_DISK
    segment_type: type[Segment] = Segment

    def __init__(self, salts: Callable[[], int] = fmt.new_salt) -> None:
        self._salts = salts

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return flushed(Durability("D1", None, "I1", "C2"), options.get("flush"))

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        segments = SegmentSet(directory, options, self.segment_type, self._salts)
        return under_policy(FileLog(segments, segments.start()), options)

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        check_options(options)
        return recover(directory, options, options.file_system or SYSTEM, apply).result()

    def live_files(self, directory: Path, options: LogOptions) -> tuple[Recovery, LiveFiles]:
        return live_files(self, directory, options)


class MmapBackend(BasicBackend):
    """Stores into preallocated, mapped segments."""

    name = "wal.mmap"
    segment_type = MappedSegment
