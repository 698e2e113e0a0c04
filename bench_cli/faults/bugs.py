"""Layer F: the prover proven. Logs with one well-known mistake each; the proof must catch every
one of them, and pass the same log without a mistake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench_cli.faults.tiny import TinyBackend
from bench_cli.interfaces import Buffer, FileSystem, LogBackend, LogOptions
from bench_cli.wal import files, recovery, segment
from bench_cli.wal import format as fmt
from bench_cli.wal.codec import Codec
from bench_cli.wal.files import MappedSegment
from bench_cli.wal.log import BasicBackend, FileLog
from bench_cli.wal.recovery import Scan
from bench_cli.wal.segment import Retired, SegmentSet

Making = Callable[[], AbstractContextManager[LogBackend]]


@dataclass(frozen=True, slots=True)
class Bug:
    """``make`` yields the log with the mistake; outside of it nothing is changed."""

    name: str
    what: str
    make: Making


class Between:
    """A file system between the log and the disk; the mistakes are what subclasses change."""

    def __init__(self, inner: FileSystem) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Variant(BasicBackend):
    """The Python twin, with parts of it replaced."""

    between: Callable[[FileSystem], Any] = staticmethod(lambda fs: fs)
    log_type: type[FileLog] = FileLog
    set_type: type[SegmentSet] = SegmentSet

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        assert options.file_system is not None
        under = replace(options, file_system=self.between(options.file_system))
        segments = self.set_type(directory, under, self.segment_type, fmt.new_salt)
        return self.log_type(segments, segments.start())


def variant(**parts: Any) -> Making:
    """Of the Python twin, with these class attributes."""
    if "between" in parts:
        parts["between"] = staticmethod(parts["between"])

    @contextmanager
    def make() -> Iterator[LogBackend]:
        yield type("Mistaken", (Variant,), parts)()

    return make


@contextmanager
def replaced_in(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """While (module or class, name, value) stand in for what is there."""
    before = [getattr(place, name) for place, name, _ in changes]
    try:
        for place, name, value in changes:
            setattr(place, name, value)
        yield
    finally:
        for (place, name, _), value in zip(changes, before, strict=True):
            setattr(place, name, value)


def replaced(*changes: tuple[Any, str, Any]) -> Making:
    """The Python twin while they do."""

    @contextmanager
    def make() -> Iterator[LogBackend]:
        with replaced_in(*changes):
            yield Variant()

    return make


# --- mistakes of the file system's use -------------------------------------------------------


class NoSync(Between):
    def sync(self, fd: int) -> None:
        """As MS_ASYNC: returns at once, and nothing is on its way."""


class NoFolderSync(Between):
    def sync_directory(self, path: Path) -> None:
        """Names are left to luck."""


class RetriedSync(Between):
    def sync(self, fd: int) -> None:
        try:
            self.inner.sync(fd)
        except OSError:
            self.inner.sync(fd)


class InterruptedIsSynced(Between):
    def sync(self, fd: int) -> None:
        try:
            self.inner.sync(fd)
        except InterruptedError:
            return


class SwallowedError(Between):
    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        try:
            return self.inner.pwrite(fd, data, offset)
        except OSError:
            return len(data)


class HeaderUnsynced(Between):
    """The first sync of a new file is left out."""

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        fd = self.inner.open(path, flags, mode)
        self.new = fd if flags & os.O_CREAT else -1
        return fd

    def sync(self, fd: int) -> None:
        if fd == self.new:
            self.new = -1
        else:
            self.inner.sync(fd)


def _ignore_short(fs: FileSystem, fd: int, data: Buffer, offset: int) -> int:
    fs.pwrite(fd, data, offset)
    return 1


# --- mistakes of the log ---------------------------------------------------------------------


class AcknowledgesFirst(FileLog):
    """Sync returns, and the sync is done before the next record."""

    owed = False

    def sync(self) -> None:
        self._check_usable()
        self.owed = True

    def _put(self, encode: Callable[[int, int, int], tuple[bytes, int]], count: int) -> int:
        if self.owed:
            self.owed = False
            super().sync()
        return super()._put(encode, count)


class FailedSyncCounts(FileLog):
    """The watermark moves although the sync failed, and the log goes on."""

    def sync(self) -> None:
        try:
            super().sync()
        except Exception:
            self._durable, self._failed = self._next - 1, 0
            raise


class NeverPoisoned(FileLog):
    def _fail(self, error: OSError) -> Any:
        failure = super()._fail(error)
        self._failed = 0
        return failure


class SyncsCurrentOnly(SegmentSet):
    def sync_retired(self) -> None:
        self._close_unsynced()


class ForgetsTheBase(SegmentSet):
    def _rebased(self, full: Retired) -> Retired:
        return full

    def _rebase_current(self) -> None:
        """Nothing says that the log begins here now."""


class RecycledTooSoon(SegmentSet):
    """A removed segment is the next one again before its new header is durable."""

    def _recycle(self, spare: Retired, number: int) -> files.Segment:
        path = self.directory / fmt.segment_name(number)
        self.fs.rename(spare.path, path)
        self.fs.sync_directory(self.directory)
        return super()._recycle(replace(spare, path=path), number)


class BatchInPieces(FileLog):
    def append_many(self, payloads: Sequence[Buffer], kind: int = 1) -> int:
        return [self.append(payload, kind) for payload in payloads][-1]


class FooterFirst(FileLog):
    """The clean-close mark, which promises everything, goes out with what it promises."""

    def _write_footer(self) -> None:
        current, codec = self._segments.current, self._segments.codec
        footer, _ = codec.frame(current.seed, self._next, 0, fmt.FOOTER, b"")
        current.write(self._end, footer)
        self._segments.finish(self._end + len(footer))


class UncutTail(SegmentSet):
    """Appends over a torn tail without clearing it first."""

    def _reopen(self, scan: Scan) -> None:
        file = scan.live[-1]
        assert file.header is not None
        fd = self.fs.open(file.path, os.O_RDWR)
        self.fs.preallocate(fd, file.header.capacity)
        self.fs.sync(fd)
        self.fs.sync_directory(self.directory)
        self._install(self._segment_type(self.fs, fd, file.path, file.header, file.slot))


class _Reordered(Between):
    """Takes calls out of one emptying, and makes them later."""

    def __init__(self, inner: FileSystem, held: str, until: str) -> None:
        super().__init__(inner)
        self._held, self._until = held, until
        self._later: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)
        if name == self._held:
            return lambda *arguments: self._later.append(lambda: call(*arguments))
        if name == self._until:
            return lambda *arguments: self._release(call, arguments)
        return call

    def _release(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        call(*arguments)
        while self._later:
            self._later.pop(0)()


class RenameFirst(SegmentSet):
    """The emptied segment gets its name before its header is on the disk."""

    def reset(self, first_sequence: int, end: int) -> None:
        fs = self.fs
        self.fs = self.current.fs = cast(FileSystem, _Reordered(fs, "sync", "sync_directory"))
        try:
            super().reset(first_sequence, end)
        finally:
            self.fs = self.current.fs = fs


class RemovesFirst(SegmentSet):
    """Old segments are removed before what replaces them is durable."""

    def reset(self, first_sequence: int, end: int) -> None:
        while self._retired:
            self.fs.unlink(self._retired.pop().path)
        self.fs.sync_directory(self.directory)
        super().reset(first_sequence, end)


class FirstPageOnly(MappedSegment):
    def sync(self, start: int, end: int) -> None:
        super().sync(start, min(end, start // 4096 * 4096 + 4096))


class SlotInPlace(SegmentSet):
    """An emptying writes the new header over the one that counts."""

    def reset(self, first_sequence: int, end: int) -> None:
        current = self.current
        current.write((1 - current.slot) * fmt.SLOT, self.codec.blank_slot)
        current.slot = 1 - current.slot
        super().reset(first_sequence, end)


# --- mistakes of the format ------------------------------------------------------------------

_decode, _encode = fmt.decode_frame_header, fmt.encode_frame


def _without_length(seed: int, head: bytes) -> bytes:
    """The header's checksum as it is when the length is not under it."""
    return fmt.crc32c(head[:4] + bytes(4) + head[8:20], seed).to_bytes(4, "little")


def _encode_unchecked(
    seed: int, sequence: int, lag: int, kind: int, payload: bytes, count: int = 0
) -> tuple[bytes, int]:
    frame, crc = _encode(seed, sequence, lag, kind, payload, count)
    return frame[:20] + _without_length(seed, frame) + frame[24:], crc


def _decode_unchecked(seed: int, head: bytes) -> tuple[int, int, int, int, int, int] | None:
    if len(head) < 24 or head[20:24] != _without_length(seed, head):
        return None
    return _decode(seed, head[:20] + fmt.crc32c(head[:20], seed).to_bytes(4, "little"))


_search = recovery._search


def _zeros_end(codec: Codec, reader: Any, seed: int, offset: int, low: int) -> fmt.Frame | None:
    if not any(reader.at(offset, 24)):
        return None
    return _search(codec, reader, seed, offset, low)


@contextmanager
def _unsalted() -> Iterator[LogBackend]:
    yield TinyBackend(lambda: 7)


BUGS = (
    Bug("acknowledge before sync", "sync returns before it is done",
        variant(log_type=AcknowledgesFirst)),
    Bug("asynchronous sync", "sync starts nothing, as MS_ASYNC does", variant(between=NoSync)),
    Bug("no folder sync", "new names are never synced", variant(between=NoFolderSync)),
    Bug("rename before sync", "a file is renamed before its header is synced",
        variant(set_type=RenameFirst)),
    Bug("retry after a failed sync", "a second sync is believed", variant(between=RetriedSync)),
    Bug("interrupted sync", "EINTR of a sync is taken for success",
        variant(between=InterruptedIsSynced)),
    Bug("swallowed error", "a failed write is ignored", variant(between=SwallowedError)),
    Bug("short write ignored", "what a write did not take is never written",
        replaced((segment, "write_all", _ignore_short), (files, "write_all", _ignore_short))),
    Bug("header not synced", "a segment is used before its header is durable",
        variant(between=HeaderUnsynced)),
    Bug("watermark on a failed sync", "a failed sync moves the durable watermark",
        variant(log_type=FailedSyncCounts)),
    Bug("not poisoned", "the log goes on after a failed write", variant(log_type=NeverPoisoned)),
    Bug("full segments unsynced", "a sync leaves out the segments before the current one",
        variant(set_type=SyncsCurrentOnly)),
    Bug("removed without a base", "old segments go, and nothing says where the log begins",
        variant(set_type=ForgetsTheBase)),
    Bug("recycled too soon", "a file is used again before its new header is durable",
        variant(set_type=RecycledTooSoon)),
    Bug("batch in pieces", "a batch is several frames", variant(log_type=BatchInPieces)),
    Bug("footer before sync", "the clean-close mark is written with what it promises",
        variant(log_type=FooterFirst)),
    Bug("uncut torn tail", "appends go over a torn tail that was not cleared",
        variant(set_type=UncutTail)),
    Bug("removed before durable", "old segments go before what replaces them is durable",
        variant(set_type=RemovesFirst)),
    Bug("first page only", "the sync of a range covers one page of it",
        variant(segment_type=FirstPageOnly)),
    Bug("header in place", "an emptying writes over the header that counts",
        variant(set_type=SlotInPlace)),
    Bug("length unchecked", "the checksum does not cover the length",
        replaced((fmt, "encode_frame", _encode_unchecked),
                 (fmt, "decode_frame_header", _decode_unchecked))),
    Bug("payload unchecked", "no checksum covers the payload",
        replaced((fmt, "payload_crc", lambda seed, sequence, payload: 0))),
    Bug("zeros are the end", "a zeroed page is taken for the end of the log",
        replaced((recovery, "_search", _zeros_end))),
    Bug("no salt", "bytes of an earlier life of the file pass as records", _unsalted),
)  # fmt: skip

SOUND: tuple[Bug, ...] = (
    Bug("none", "the log as it is", variant()),
    Bug("none, mapped", "the mapped log as it is", variant(segment_type=MappedSegment)),
)
"""Controls: what the same effort must not find anything in."""
