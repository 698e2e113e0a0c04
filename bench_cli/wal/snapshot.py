"""Snapshot files beside a log: each is whole or not there, and names the one it adds to.

Little-endian::

    | magic 8 | version u32 | base crc u32 | number u64 | base u64 | covered u64 | length u64 |
    | body crc u32 | header crc u32 | body |

    name: <stem>-<number, 8 digits or more>-<covered, 20 digits>.snapshot

The body is the engine's. ``covered`` is the log's last sequence number when the state was copied:
recovery passes over the records up to it, so a crash before they are removed applies nothing
twice. ``base`` is the number of the snapshot that this one adds to (0: a full one), and ``base
crc`` the checksum of that one's header, which covers its body: a chain is of these very files.
Name and header say number and covered alike; where the header is lost the name still tells which
records a damaged snapshot held.

Order: the log is synced up to ``covered``; temporary file, written and synced; rename; sync of
the folder; the file is read back and checked; and only then the log forgets (``drop_covered``).
The two newest chains are kept: where the newest is damaged later and the log still reaches back,
the one before serves.

    version 1: the first
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench_cli.errors import LogCorrupt, LogError, SnapshotFailed, SnapshotUnusable, Unsupported
from bench_cli.interfaces import (
    Damage,
    FileSystem,
    Recovery,
    SnapshotInfo,
    SnapshotsRead,
    TruncatableLog,
    WriteAheadLog,
)
from bench_cli.wal.files import uninterrupted, write_all
from bench_cli.wal.format import crc32c

VERSION = 1
_HEAD = struct.Struct("<8sIIQQQQI")
_U32 = struct.Struct("<I")
HEADER = _HEAD.size + _U32.size
_PIECE = 1 << 20
# O_NONBLOCK and O_NOFOLLOW: a FIFO or a link under a snapshot's name is damage, not a trap.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
_LAST_NUMBER = 10**18 - 1  # what the name pattern holds


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose snapshots these are. ``magic`` is 8 bytes; ``stem`` begins their names."""

    magic: bytes
    stem: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read whole and checks out. ``crc`` is that of its header."""

    path: Path
    number: int
    covered: int
    size: int
    crc: int
    base: int
    base_crc: int


@dataclass(frozen=True, slots=True)
class Found:
    """``chain``: the newest one that can be used, the full snapshot first. ``rejected``: newer
    ones that cannot. ``claimed``: the highest sequence number that a rejected one said to cover.
    """

    chain: tuple[Snapshot, ...] = ()
    rejected: tuple[Damage, ...] = ()
    claimed: int = 0

    @property
    def covered(self) -> int:
        return self.chain[-1].covered if self.chain else 0


class _Rejected(Exception):
    """A snapshot that cannot be used: from which byte on, and why."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Body:
    """The body of a snapshot, front to back. Its checksum held when it was opened; what does not
    parse all the same raises LogCorrupt."""

    def __init__(self, fs: FileSystem, fd: int, path: Path, length: int) -> None:
        self._fs, self._fd, self._path = fs, fd, path
        self._offset, self._end = HEADER, HEADER + length

    @property
    def left(self) -> int:
        return self._end - self._offset

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise self.damage(f"{length} bytes should follow, {self.left} do")
        data = _read(self._fs, self._fd, self._offset, length)
        if len(data) < length:
            raise self.damage("the file became shorter while it was read")
        self._offset += length
        return data

    def skip(self, length: int) -> None:
        if length > self.left:
            raise self.damage(f"{length} bytes should follow, {self.left} do")
        self._offset += length

    def damage(self, reason: str) -> LogCorrupt:
        return LogCorrupt(
            f"{self._path} is damaged at byte {self._offset}: {reason}",
            path=str(self._path),
            offset=self._offset,
            remedy="restore the file from a copy",
        )


def _read(fs: FileSystem, fd: int, offset: int, length: int) -> bytes:
    """``length`` bytes, fewer where the file ends."""
    parts: list[bytes] = []
    while length and (part := fs.pread(fd, length, offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Folder:
    """The snapshots of one kind in one directory."""

    def __init__(self, fs: FileSystem, directory: Path, kind: Kind) -> None:
        self.directory = directory
        self.fs = fs
        self._kind = kind
        self._pattern = re.compile(
            rf"{re.escape(kind.stem)}-([0-9]{{8,18}})-([0-9]{{20}})\.snapshot(\.new)?"
        )
        self._failed = 0  # errno of a sync of the folder; what it lost no later one brings back

    # --- writing -----------------------------------------------------------------------------

    def write(
        self, covered: int, chain: Sequence[Snapshot], body: Callable[[], Iterable[bytes]]
    ) -> Snapshot:
        """Durable and read back when it returns. ``chain`` is what it adds to; empty for a full
        one. The log is synced up to ``covered`` already. Raises SnapshotFailed, and what ``body``
        raises."""
        if self._failed:
            raise self._failure(self._failed, "an earlier sync of the folder failed")
        try:
            path = self._path(covered, chain)
            temporary = path.with_name(path.name + ".new")
            try:
                self._fill(temporary, path, chain[-1] if chain else None, body())
                self.fs.rename(temporary, path)
            except BaseException:
                with suppress(OSError):  # the first error is the one to report
                    self.fs.unlink(temporary)
                raise
            self._sync_names()
            return self._read_back(path)
        except OSError as error:
            raise self._refused(error) from error

    def prune(self, first: int) -> None:
        """Remove our snapshots numbered below ``first``. Raises SnapshotFailed."""
        try:
            for number, _, path in self._files():
                if number < first and self._is_ours(path):
                    self.fs.unlink(path)
        except OSError as error:
            raise self._refused(error) from error

    def _path(self, covered: int, chain: Sequence[Snapshot]) -> Path:
        """Where the next one goes. What a crash left unfinished is removed."""
        names = self.fs.listdir(self.directory)
        for name in names:
            if name.endswith(".new") and self._pattern.fullmatch(name):
                self.fs.unlink(self.directory / name)
        for link in chain:
            if link.path.name not in names:
                raise OSError(errno.ENOENT, f"its base {link.path.name} is gone: take a full one")
        number = 1 + max((number for number, _, _ in self._files()), default=0)
        if number > _LAST_NUMBER:
            raise OSError(errno.EOVERFLOW, f"no snapshot number above {_LAST_NUMBER}")
        return self.directory / f"{self._kind.stem}-{number:08d}-{covered:020d}.snapshot"

    def _fill(
        self, temporary: Path, path: Path, base: Snapshot | None, body: Iterable[bytes]
    ) -> None:
        fd = self.fs.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            length = crc = 0
            for part in body:
                crc = crc32c(part, crc)
                write_all(self.fs, fd, part, HEADER + length)
                length += len(part)
            write_all(self.fs, fd, self._header(path, base, length, crc), 0)
            uninterrupted(lambda: self.fs.sync(fd))
        finally:
            self.fs.close(fd)

    def _header(self, path: Path, base: Snapshot | None, length: int, crc: int) -> bytes:
        number, covered = self._numbers(path.name)
        head = _HEAD.pack(
            self._kind.magic,
            VERSION,
            base.crc if base else 0,
            number,
            base.number if base else 0,
            covered,
            length,
            crc,
        )
        return head + _U32.pack(crc32c(head))

    def _sync_names(self) -> None:
        try:
            uninterrupted(lambda: self.fs.sync_directory(self.directory))
        except OSError as error:
            self._failed = error.errno or errno.EIO
            raise

    def _read_back(self, path: Path) -> Snapshot:
        try:
            return self._check(path)
        except _Rejected as damage:
            raise OSError(errno.EIO, f"{path} read back: {damage.reason}") from damage

    def _refused(self, error: OSError) -> SnapshotFailed:
        place = f" ({error.filename})" if error.filename else ""
        return self._failure(error.errno or errno.EIO, f"{error.strerror or error}{place}")

    def _failure(self, number: int, reason: str) -> SnapshotFailed:
        return SnapshotFailed(
            f"no snapshot in {self.directory}: {reason}",
            errno=number,
            remedy="the log holds everything; free what is short and take another one",
        )

    # --- reading -----------------------------------------------------------------------------

    def newest(self) -> Found:
        """Nothing is changed, and nothing raised for damage."""
        files = self._files()
        paths = {number: path for number, _, path in files}
        checked: dict[Path, Snapshot | _Rejected] = {}
        rejected: list[Damage] = []
        claimed = 0
        for _, covered, path in reversed(files):
            try:
                return Found(self._chain(path, paths, checked), tuple(rejected), claimed)
            except _Rejected as damage:
                rejected.append(Damage(str(path), damage.offset, 0, damage.reason))
                claimed = max(claimed, covered)
        return Found((), tuple(rejected), claimed)

    def _chain(
        self, path: Path, paths: dict[int, Path], checked: dict[Path, Snapshot | _Rejected]
    ) -> tuple[Snapshot, ...]:
        chain = [self._check_once(path, checked)]
        while chain[-1].base:
            last = chain[-1]
            base = paths.get(last.base)
            if base is None or last.base >= last.number:
                raise _Rejected(0, f"its base, number {last.base}, is missing")
            try:
                chain.append(self._check_once(base, checked))
            except _Rejected as damage:
                reason = f"its base {base.name} cannot be used: {damage.reason}"
                raise _Rejected(0, reason) from damage
            if chain[-1].crc != last.base_crc:
                raise _Rejected(0, f"it adds to another {base.name} than this one")
        return tuple(reversed(chain))

    def _check_once(self, path: Path, checked: dict[Path, Snapshot | _Rejected]) -> Snapshot:
        """Each file is read once, however many candidates lead to it."""
        if path not in checked:
            try:
                checked[path] = self._check(path)
            except _Rejected as damage:
                checked[path] = damage
            except OSError as error:
                checked[path] = _Rejected(0, f"cannot be read: {error.strerror or error}")
        result = checked[path]
        if isinstance(result, _Rejected):
            raise _Rejected(result.offset, result.reason)
        return result

    def _check(self, path: Path) -> Snapshot:
        fd = self.fs.open(path, _READ)
        try:
            size = self.fs.size(fd)
            snapshot, length, body_crc = self._parse(path, _read(self.fs, fd, 0, HEADER))
            if length != size - HEADER:
                raise _Rejected(min(size, HEADER + length), f"{size} bytes, not {HEADER + length}")
            offset, crc = HEADER, 0
            while offset < size:
                part = _read(self.fs, fd, offset, min(_PIECE, size - offset))
                if not part:
                    raise _Rejected(offset, "the file became shorter while it was read")
                crc = crc32c(part, crc)
                offset += len(part)
        finally:
            self.fs.close(fd)
        if crc != body_crc:
            raise _Rejected(HEADER, "the checksum of its body does not hold")
        return snapshot

    def _parse(self, path: Path, header: bytes) -> tuple[Snapshot, int, int]:
        """(the snapshot, length and checksum of its body)."""
        if len(header) < HEADER:
            raise _Rejected(len(header), f"torn: {len(header)} bytes, a header has {HEADER}")
        magic, version, base_crc, number, base, covered, length, body = _HEAD.unpack_from(header)
        if magic != self._kind.magic:
            raise _Rejected(0, "not a snapshot of this kind")
        if version != VERSION:
            raise _Rejected(8, f"written in format version {version}; this program reads {VERSION}")
        crc = _U32.unpack_from(header, _HEAD.size)[0]
        if crc != crc32c(header[: _HEAD.size]):
            raise _Rejected(0, "the checksum of its header does not hold")
        if (number, covered) != self._numbers(path.name):
            raise _Rejected(16, f"it is number {number} up to record {covered}, by its header")
        snapshot = Snapshot(path, number, covered, HEADER + length, crc, base, base_crc)
        return snapshot, length, body

    def _files(self) -> list[tuple[int, int, Path]]:
        """(number, covered, path) of all snapshots by name, in order."""
        try:
            names = self.fs.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(
            (*self._numbers(name), self.directory / name)
            for name in names
            if self._pattern.fullmatch(name) and not name.endswith(".new")
        )

    def _numbers(self, name: str) -> tuple[int, int]:
        match = self._pattern.fullmatch(name)
        assert match is not None  # only names of this pattern are asked for
        return int(match[1]), int(match[2])

    def _is_ours(self, path: Path) -> bool:
        """Not known of what cannot be read: a link, a folder, a spoilt sector."""
        try:
            fd = self.fs.open(path, _READ)
            try:
                return _read(self.fs, fd, 0, 8) == self._kind.magic
            finally:
                self.fs.close(fd)
        except OSError:
            return False

    @contextmanager
    def body(self, snapshot: Snapshot) -> Iterator[Body]:
        fd = self.fs.open(snapshot.path, _READ)
        try:
            yield Body(self.fs, fd, snapshot.path, snapshot.size - HEADER)
        finally:
            self.fs.close(fd)


# --- what engines do with them ---------------------------------------------------------------


def describe(chain: Sequence[Snapshot]) -> SnapshotInfo:
    """The last of a chain."""
    last = chain[-1]
    base = str(chain[-2].path) if len(chain) > 1 else None
    return SnapshotInfo(str(last.path), last.covered, last.size, base)


def read_by(found: Found) -> SnapshotsRead:
    chain = tuple(describe(found.chain[: end + 1]) for end in range(len(found.chain)))
    return SnapshotsRead(chain, found.rejected)


def covered_by(log: WriteAheadLog) -> int:
    """The last record of a log that was just synced. Raises Unsupported for a log that a sync does
    not make durable: after a crash it would end before the snapshot does."""
    stats = log.stats()
    if stats.durable_sequence < stats.last_sequence:
        raise Unsupported(
            f"a snapshot needs a log that keeps what it syncs: of {stats.last_sequence} records "
            f"{stats.durable_sequence} are durable"
        )
    return stats.last_sequence


def drop_covered(log: WriteAheadLog, covered: int) -> None:
    """Let the log forget what a durable snapshot holds: all of it where nothing was appended
    since, and otherwise its oldest segments, where it can."""
    if log.stats().last_sequence == covered:
        with suppress(Unsupported):  # it keeps its records, and recovery passes over them
            log.reset()
    elif isinstance(log, TruncatableLog):
        log.truncate_front(covered)


def check_reach(directory: Path, found: Found, recovery: Recovery) -> None:
    """After a replay: snapshot and log hold every record between them. Raises SnapshotUnusable.
    A damaged log is left to those who open it, who say more."""
    if recovery.damages:
        return
    forgotten = recovery.last_sequence - recovery.records
    if forgotten > found.covered:
        raise unreached(directory, found, forgotten + 1)
    known = max(found.covered, found.claimed)
    if recovery.last_sequence < known:
        raise _unusable(
            directory,
            found,
            recovery.last_sequence + 1,
            known,
            f"the log ends at record {recovery.last_sequence}, and a snapshot covers {known}",
        )


def check_unchanged(log: WriteAheadLog, read: int) -> None:
    """Refuse a log that, once open, does not end with record ``read``, the last that was replayed:
    its owner was still writing, or a part of it could not be read for a moment. What stands on it
    would lack records that are there, and give their ids away again. Closes the log and raises
    LogError."""
    last = log.stats().last_sequence
    if last != read:
        log.close()
        raise LogError(
            f"the log ended at record {read} when it was read and at {last} when it was opened",
            remedy="stop whoever writes to this log, then recover again",
        )


def unreached(directory: Path, found: Found, begins: int) -> SnapshotUnusable:
    """The log begins with record ``begins``, and no snapshot reaches it."""
    newest = f"the newest usable snapshot covers {found.covered}" if found.chain else "no snapshot"
    reason = f"the log begins with record {begins}, and {newest}"
    return _unusable(directory, found, found.covered + 1, begins - 1, reason)


def _unusable(
    directory: Path, found: Found, first: int, last: int, reason: str
) -> SnapshotUnusable:
    worst = found.rejected[0] if found.rejected else Damage(str(directory), 0, 0, "")
    rejected = "".join(f"; {damage.path}: {damage.reason}" for damage in found.rejected)
    return SnapshotUnusable(
        f"records {first} to {last} are missing from {directory}: {reason}{rejected}",
        path=worst.path,
        offset=worst.offset,
        first=first,
        last=last,
        remedy="restore the snapshots and the log from a copy of the whole folder",
    )
