"""What a checkpoint keeps when the log is emptied: ``cache.snapshot`` beside the log.

Little-endian, one checksum over everything before it::

    | magic 8 | version u32 | block size u32 | covered u64 | file | ... | 0xFFFFFFFF | crc32c u32 |

    file:   | name length u32 | name | size u64 | block | block | ... | 0xFFFFFFFFFFFFFFFF |
    block:  | number u64 | generation u64 | extents u32 | extent | ... |
    extent: | start u32 | length u32 | bytes |

``covered`` is the log's last sequence number when the snapshot was taken. Recovery skips the
records up to it, so a crash between the rename and the emptying of the log replays nothing twice.
Block numbers mean nothing without the block size, so a cache with another one is refused.
The file is written aside, synced and renamed: it is whole or it is the one before.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google_crc32c import extend

from bench_cli.errors import LogCorrupt
from bench_cli.interfaces import FileSystem

NAME = "cache.snapshot"
_TEMPORARY = "cache.snapshot.new"
_MAGIC = b"BENCHCSN"
_VERSION = 1
_HEAD = struct.Struct("<8sIIQ")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_BLOCK = struct.Struct("<QQI")
_EXTENT = struct.Struct("<II")
_NO_FILE = 0xFFFFFFFF
_NO_BLOCK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class SavedBlock:
    number: int
    generation: int
    extents: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class SavedFile:
    """``blocks`` are the dirty ones; an iterator, so that one block at a time is copied."""

    name: str
    size: int
    blocks: Iterable[SavedBlock]


def write_snapshot(
    file_system: FileSystem,
    directory: Path,
    block_size: int,
    covered: int,
    files: Iterable[SavedFile],
) -> None:
    """Durable when it returns. Raises OSError, and then the snapshot before is untouched."""
    temporary = directory / _TEMPORARY
    fd = file_system.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        offset = crc = 0
        for part in _encode(block_size, covered, files):
            crc = extend(crc, part)
            offset = _write_all(file_system, fd, part, offset)
        _write_all(file_system, fd, _U32.pack(crc), offset)
        file_system.sync(fd)
    finally:
        file_system.close(fd)
    file_system.rename(temporary, directory / NAME)
    file_system.sync_directory(directory)


def _encode(block_size: int, covered: int, files: Iterable[SavedFile]) -> Iterator[bytes]:
    yield _HEAD.pack(_MAGIC, _VERSION, block_size, covered)
    for file in files:
        name = file.name.encode("utf-8", "surrogateescape")
        yield _U32.pack(len(name)) + name + _U64.pack(file.size)
        for block in file.blocks:
            yield _BLOCK.pack(block.number, block.generation, len(block.extents))
            for start, data in block.extents:
                yield _EXTENT.pack(start, len(data))
                yield data
        yield _U64.pack(_NO_BLOCK)
    yield _U32.pack(_NO_FILE)


def _write_all(file_system: FileSystem, fd: int, data: bytes, offset: int) -> int:
    """Writes may be short. The offset after ``data``."""
    view = memoryview(data)
    while view:
        written = file_system.pwrite(fd, view, offset)
        offset, view = offset + written, view[written:]
    return offset


class _Reader:
    """The file front to back, each part checked against the file's end before it is taken."""

    def __init__(self, file_system: FileSystem, fd: int, path: Path) -> None:
        self._file_system, self._fd, self._path = file_system, fd, path
        self._size = file_system.size(fd)
        self.offset = self.crc = 0

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise self.damage(f"{length} bytes should follow, {self.left} do")
        parts: list[bytes] = []
        while length:
            part = self._file_system.pread(self._fd, length, self.offset)
            if not part:
                raise self.damage("the file became shorter while it was read")
            parts.append(part)
            self.crc = extend(self.crc, part)
            self.offset += len(part)
            length -= len(part)
        return b"".join(parts)

    @property
    def left(self) -> int:
        return self._size - self.offset

    def number(self, kind: struct.Struct) -> int:
        value: int = kind.unpack(self.take(kind.size))[0]
        return value

    def check_end(self) -> None:
        crc = self.crc
        if self.number(_U32) != crc or self.offset != self._size:
            raise self.damage("the checksum does not hold")

    def damage(self, reason: str) -> LogCorrupt:
        return LogCorrupt(
            f"{self._path} is damaged at byte {self.offset}: {reason}",
            path=str(self._path),
            offset=self.offset,
            remedy="restore the file from a copy; without it the blocks it holds are lost",
        )


def read_snapshot(
    file_system: FileSystem,
    directory: Path,
    block_size: int,
    visit: Callable[[SavedFile], None],
) -> int:
    """Hand each file of the snapshot to ``visit``, its blocks to be used up during the call, and
    return the sequence number it covers; 0 when there is none. The checksum is looked at first,
    over the whole file: nothing of a damaged one is visited. Raises LogCorrupt, ValueError for
    another block size, or OSError."""
    path = directory / NAME
    try:
        fd = file_system.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return 0
    try:
        _check(_Reader(file_system, fd, path))
        reader = _Reader(file_system, fd, path)
        written_with, covered = _HEAD.unpack(reader.take(_HEAD.size))[2:]
        if written_with != block_size:
            raise ValueError(f"{path} holds blocks of {written_with} bytes, not {block_size}")
        while (length := reader.number(_U32)) != _NO_FILE:
            name = reader.take(length).decode("utf-8", "surrogateescape")
            visit(SavedFile(name, reader.number(_U64), _read_blocks(reader)))
        return int(covered)
    finally:
        file_system.close(fd)


def _check(reader: _Reader) -> None:
    magic, version, _, _ = _HEAD.unpack(reader.take(_HEAD.size))
    if magic != _MAGIC or version != _VERSION:
        raise reader.damage(f"not a snapshot of version {_VERSION}")
    left = reader.left - _U32.size
    while left > 0:
        left -= len(reader.take(min(left, 1 << 20)))
    reader.check_end()


def _read_blocks(reader: _Reader) -> Iterator[SavedBlock]:
    while (number := reader.number(_U64)) != _NO_BLOCK:
        generation, extents = reader.number(_U64), reader.number(_U32)
        yield SavedBlock(number, generation, [_read_extent(reader) for _ in range(extents)])


def _read_extent(reader: _Reader) -> tuple[int, bytes]:
    start, length = _EXTENT.unpack(reader.take(_EXTENT.size))
    return start, reader.take(length)
