"""Engines that say they did the work and did not: each must fail its row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_cli.cache.python import Backend, Cache
from bench_cli.interfaces import (
    BlockStore,
    Buffer,
    FileSystem,
    Item,
    LogOptions,
    RecordKind,
    SnapshotInfo,
    WriteAheadLog,
)
from bench_cli.rewards.pool import Backend as PoolBackend
from bench_cli.rewards.pool import Pool
from bench_cli.rewards.snapshot import Frozen
from tests.foreign.backends import SlowLog, SlowLogBackend


class _ReadsTheStart(Cache):
    def read_into(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        return super().read_into(name, 0, buffer)


class _WritesOnce(Cache):
    def write(self, name: str, offset: int, data: Buffer) -> None:
        if not self.is_range_covered(name, offset, len(data)):
            super().write(name, offset, data)


class ReadsTheStart(Backend):
    """Every read returns the first bytes of the file."""

    def open(self, options: Any, **rest: Any) -> Cache:
        return _ReadsTheStart(options, rest.get("log"), rest.get("directory"), None, None, None)


class WritesOnce(Backend):
    """What is held already is not written again."""

    def open(self, options: Any, **rest: Any) -> Cache:
        return _WritesOnce(options, rest.get("log"), rest.get("directory"), None, None, None)


class _ReadsOneOfMany(Cache):
    def read_many(self, requests: Any) -> int:
        wanted = list(requests)
        return super().read_many(wanted[:1]) * len(wanted)


class ReadsOneOfMany(Backend):
    """Of a vectored read only the first request is done, and all are counted."""

    def open(self, options: Any, **rest: Any) -> Cache:
        return _ReadsOneOfMany(options, rest.get("log"), rest.get("directory"), None, None, None)


class RecoversZeros(Backend):
    """Of a recovered file the second half begins with zeros."""

    def recover(self, options: Any, **rest: Any) -> Any:
        cache, log, found = super().recover(options, **rest)
        cache.attach(None, None)
        for name, size in cache.list_files():
            cache.write(name, size // 2, bytes(4096))
        return cache, log, found


class _Forgets:
    def put(self, name: str, block: int, extents: object) -> None:
        """Keeps nothing."""

    def get(self, name: str, block: int) -> None:
        return None


class StoresNothing(Backend):
    """Uploads go nowhere."""

    def store(self, kind: str, directory: Path) -> BlockStore:
        return _Forgets()  # type: ignore[return-value]  # what a file copy needs of it


class _OnlyCounts(SlowLog):
    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        self._appends += 1
        return self._appends


class OnlyCounts(SlowLogBackend):
    """Appends are counted and not written."""

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return _OnlyCounts(directory)  # type: ignore[return-value]  # as SlowLog


class _SnapshotsNothing(Pool):
    """Says that it kept everything, and leaves it all to the log."""

    def snapshot(
        self, directory: Path, *, incremental: bool = False, file_system: FileSystem | None = None
    ) -> SnapshotInfo:
        frozen = self.freeze()
        return SnapshotInfo(str(directory / "none"), frozen.covered, 8)


class SnapshotsNothing(PoolBackend):
    name = "rewards.snapshots-nothing"

    def open(self, items: Sequence[Item], **how: Any) -> Pool:
        return _SnapshotsNothing(items, **how)


class _SnapshotsOnce(Pool):
    """Later snapshots are copies of the first."""

    def freeze(self) -> Frozen:
        now = super().freeze()
        self.first = getattr(self, "first", now)
        return Frozen(now.covered, now.next_id, self.first.left)


class SnapshotsOnce(PoolBackend):
    name = "rewards.snapshots-once"

    def open(self, items: Sequence[Item], **how: Any) -> Pool:
        return _SnapshotsOnce(items, **how)
