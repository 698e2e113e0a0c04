"""The smallest log that empties itself in place and has no sequence numbers in its records: there
a salt is all that tells new records from old ones. With one it passes the crash proof, without
one it must not (our own log would be saved by its sequence numbers)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_cli.errors import LogCorrupt, Unsupported
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Capability,
    Durability,
    FileSystem,
    LiveFiles,
    LogOptions,
    LogStats,
    Recovery,
    WriteAheadLog,
)
from bench_cli.wal.files import write_all
from bench_cli.wal.format import crc32c
from bench_cli.wal.log import FileRecords

START, SIZE = 1024, 64 << 10
_HEADER = struct.Struct("<QQQI")  # generation, salt, records before it, checksum
_RECORD = struct.Struct("<IBI")  # length, kind, checksum


def _headers(whole: bytes) -> tuple[int, int, int]:
    """(generation, salt, base) of the newest valid header; zeros where there is none."""
    best = (0, 0, 0)
    for at in (0, 512):
        *fields, crc = _HEADER.unpack_from(whole, at)
        if crc == crc32c(whole[at : at + 24]) and fields[0] > best[0]:
            best = (fields[0], fields[1], fields[2])
    return best


def _records(whole: bytes, salt: int) -> list[tuple[int, bytes, int]]:
    """(kind, payload, end) of each up to the first that does not check."""
    found, at = [], START
    while at + _RECORD.size <= len(whole):
        length, kind, crc = _RECORD.unpack_from(whole, at)
        end = at + _RECORD.size + length
        body = whole[at : at + 5] + whole[at + _RECORD.size : end]
        if not kind or end > len(whole) or crc32c(body, salt & 0xFFFFFFFF) != crc:
            break
        found.append((kind, whole[at + _RECORD.size : end], end))
        at = end
    return found


class TinyLog(FileRecords):
    format = "binary"

    def __init__(self, fs: FileSystem, directory: Path, salts: Callable[[], int]) -> None:
        self._fs, self._salts = fs, salts
        fs.mkdir(directory)
        path = directory / "tiny"
        self._fd = fs.open(path, os.O_RDWR | os.O_CREAT)
        fs.preallocate(self._fd, SIZE)
        whole = fs.pread(self._fd, SIZE, 0)
        self._generation, self._salt, base = _headers(whole)
        found = _records(whole, self._salt) if self._generation else []
        self._end = found[-1][2] if found else START
        self._last = base + len(found)
        if self._generation:
            write_all(fs, self._fd, bytes(SIZE - self._end), self._end)
            fs.sync(self._fd)
        else:
            self._head()
        fs.sync_directory(directory)
        fs.sync_directory(directory.parent)

    def _head(self) -> None:
        self._generation += 1
        self._salt = self._salts()
        body = struct.pack("<QQQ", self._generation, self._salt, self._last)
        at = 512 * (self._generation % 2)
        write_all(self._fs, self._fd, body + struct.pack("<I", crc32c(body)), at)
        self._fs.sync(self._fd)
        self._end = START

    def append(self, payload: Buffer, kind: int = 1) -> int:
        body = struct.pack("<IB", len(payload), kind)
        crc = crc32c(body + bytes(payload), self._salt & 0xFFFFFFFF)
        frame = body + struct.pack("<I", crc) + bytes(payload)
        if self._end + len(frame) > SIZE:
            raise LogCorrupt("the tiny log is full", path="tiny", offset=self._end)
        write_all(self._fs, self._fd, frame, self._end)
        self._end += len(frame)
        self._last += 1
        return self._last

    def append_many(self, payloads: Sequence[Buffer], kind: int = 1) -> int:
        raise Unsupported("a tiny log has no batches")

    def sync(self) -> None:
        self._fs.sync(self._fd)

    def reset(self) -> None:
        self._head()

    def stats(self) -> LogStats:
        return LogStats(0, 0, 0, 0, 0, 1, self._end, SIZE, self._last, 0)

    def close(self) -> None:
        self._fs.sync(self._fd)
        self._fs.close(self._fd)


class TinyBackend:
    name = "tiny"
    core = "python"
    capabilities = frozenset({Capability.RECOVERY, Capability.SYNC, Capability.RESET})

    def __init__(self, salts: Callable[[], int]) -> None:
        self._salts = salts

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D1", None, "I1", "C1")

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return TinyLog(options.file_system or SYSTEM, directory, self._salts)

    def live_files(self, directory: Path, options: LogOptions) -> tuple[Recovery, LiveFiles]:
        raise Unsupported("a tiny log has no file records")

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        fs = options.file_system or SYSTEM
        try:
            fd = fs.open(directory / "tiny", os.O_RDONLY)
        except FileNotFoundError:
            return Recovery(0, 0, 0, "clean", 0, 0)
        whole = fs.pread(fd, SIZE, 0).ljust(SIZE, b"\0")
        fs.close(fd)
        generation, salt, base = _headers(whole)
        found = _records(whole, salt) if generation else []
        for index, (kind, payload, _) in enumerate(found):
            if apply is not None:
                apply(base + 1 + index, kind, memoryview(payload))
        first = base + 1 if found else 0
        return Recovery(len(found), first, base + len(found) if found else 0, "torn", 1, SIZE)
