"""Two backends somebody else might have written: a slow log that keeps one JSON file per append,
and a pool that picks from a list. They keep the Protocols in their own ways, and run through
scenarios and contract suites without a change to the tool. The pool is in ``tickets.py``."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_cli import payloads as encodings
from bench_cli.errors import LogClosed, LogCorrupt, LogLocked, LogPoisoned, LogWriteFailed
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Capability,
    Damage,
    Durability,
    LogOptions,
    LogStats,
    Record,
    RecordKind,
    Recovery,
    WriteAheadLog,
)

KINDS = range(1, 255)


class SlowLog:
    """One file per append, named by the sequence of its first record and put in place by a
    rename: ``[[kind, payload in hex], ...]``. A batch is one file too. A file without records
    forgets those before it and keeps the place of the numbers."""

    format = "binary"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._lock = _locked(directory)
        try:
            self._last = _repaired(directory)
        except BaseException:
            os.close(self._lock)
            raise
        self._durable = self._last
        self._appends = self._bytes = self._writes = self._syncs = 0
        self._unsynced: list[Path] = []
        self._failed = 0  # errno of the first failure
        self._closed = False

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        return self.append_many([payload], kind)

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        self._check_usable()
        if kind not in KINDS:
            raise ValueError(f"record kind {kind} is outside {KINDS}")
        if not payloads:
            raise ValueError("an empty batch")
        text = json.dumps([[int(kind), memoryview(payload).hex()] for payload in payloads])
        self._put(self._last + 1, text)
        self._last += len(payloads)
        self._appends += len(payloads)
        self._bytes += len(text)
        self._writes += 1
        return self._last

    def sync(self) -> None:
        self._check_usable()
        with self._poisoning():
            for path in (*self._unsynced, self._directory):
                _fsync(path)
        self._unsynced.clear()
        self._syncs += 1
        self._durable = self._last

    def reset(self) -> None:
        self._check_usable()
        before = sorted(self._directory.glob("*.json"))
        mark = self._put(self._last + 1, "[]")
        with self._poisoning():
            _fsync(mark)
            _fsync(self._directory)
            for path in before:
                if path != mark:
                    path.unlink()
        self._unsynced.clear()
        self._durable = self._last

    def stats(self) -> LogStats:
        files = [path.stat() for path in self._directory.glob("*.json")]
        return LogStats(
            appends=self._appends, bytes=self._bytes, writes=self._writes, syncs=self._syncs,
            rotations=0, segments=1, file_size=sum(file.st_size for file in files),
            allocated=sum(file.st_blocks * 512 for file in files),
            last_sequence=self._last, durable_sequence=self._durable,
        )  # fmt: skip

    def close(self) -> None:
        if self._closed:
            return
        try:
            if self._durable < self._last and not self._failed:
                self.sync()
        finally:
            self._closed = True
            os.close(self._lock)

    def _put(self, first: int, text: str) -> Path:
        temporary, path = self._directory / "writing.tmp", self._directory / f"{first:020d}.json"
        with self._poisoning():
            temporary.write_bytes(text.encode())
            temporary.rename(path)
        self._unsynced.append(path)
        return path

    def _check_usable(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")
        if self._failed:
            raise LogPoisoned("an earlier write or sync failed", errno=self._failed)

    @contextmanager
    def _poisoning(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = error.errno or errno.EIO
            raise LogWriteFailed(f"{self._directory}: {error}", errno=self._failed) from error


class SlowFileLog(SlowLog):
    """A slow log that a cache could stand on."""

    def append_write(self, name: str, offset: int, data: Buffer) -> int:
        return self.append(encodings.encode_write(name, offset, data), RecordKind.WRITE)

    def append_remove(self, name: str) -> int:
        return self.append(encodings.encode_remove(name), RecordKind.REMOVE)

    def append_truncate(self, name: str, size: int) -> int:
        return self.append(encodings.encode_truncate(name, size), RecordKind.TRUNCATE)

    def append_uploaded(self, name: str, block: int, generation: int) -> int:
        payload = encodings.encode_uploaded(name, block, generation)
        return self.append(payload, RecordKind.UPLOADED)


def _locked(directory: Path) -> int:
    """The descriptor that holds the lock."""
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LogLocked(f"{directory} is open already") from None
    return lock


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Found:
    """What the files of a directory hold. ``torn`` is the last file when it is cut off."""

    records: list[Record] = field(default_factory=list)
    last: int = 0
    size: int = 0
    torn: Path | None = None
    damages: list[Damage] = field(default_factory=list)


def _scan(directory: Path) -> _Found:
    found = _Found()
    paths = sorted(directory.glob("*.json"))
    for path in paths:
        content = path.read_bytes()
        found.size += len(content)
        records = _parsed(int(path.stem), content)
        if records is not None:
            if not records:
                found.records.clear()
            found.records.extend(records)
            found.last = int(path.stem) + len(records) - 1
        elif path == paths[-1]:
            found.torn = path
        else:
            found.damages.append(Damage(path.name, 0, len(content), "cannot be read as records"))
    return found


def _parsed(first: int, content: bytes) -> list[Record] | None:
    """None when they are no records."""
    try:
        entries = enumerate(json.loads(content), first)
        return [Record(number, kind, bytes.fromhex(text)) for number, (kind, text) in entries]
    except (TypeError, ValueError):
        return None


def _repaired(directory: Path) -> int:
    """Cut the torn tail and sync what is left: a log goes on only after what will last. Returns
    the last sequence. Raises LogCorrupt."""
    found = _scan(directory)
    for damage in found.damages:
        raise LogCorrupt(damage.reason, path=damage.path, offset=damage.offset)
    if found.torn:
        found.torn.unlink()
    for path in (*directory.glob("*.json"), directory):
        _fsync(path)
    return found.last


class SlowLogBackend:
    name = "slow.log"
    core = "python"
    capabilities = frozenset(
        {
            Capability.BATCH,
            Capability.RECOVERY,
            Capability.SYNC,
            Capability.RESET,
            Capability.LOCK,
        }
    )

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D1", integrity="I1", damage="C0")

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        _check(options)
        return SlowLog(directory)  # type: ignore[return-value]  # no file records: a capability

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        _check(options)
        found = _scan(directory)
        if apply is not None:
            for record in found.records:
                apply(record.sequence, record.kind, memoryview(record.payload))
        return Recovery(
            records=len(found.records),
            first_sequence=found.records[0].sequence if found.records else 0,
            last_sequence=found.last,
            tail="corrupt" if found.damages else "torn" if found.torn else "clean",
            segments=1,
            bytes_read=found.size,
            dropped_bytes=found.torn.stat().st_size if found.torn else 0,
            damages=tuple(found.damages),
        )


def _check(options: LogOptions) -> None:
    if options.format != "binary":
        raise ValueError(f"log format {options.format!r}; a slow log knows only its own")


class SlowFileLogBackend(SlowLogBackend):
    name = "slow.file-log"
    capabilities = SlowLogBackend.capabilities | {Capability.FILE_RECORDS}

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        _check(options)
        return SlowFileLog(directory)
