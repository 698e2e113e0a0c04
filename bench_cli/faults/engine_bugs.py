"""Pools and caches with one well-known mistake each, for the prover's own test: most are of
snapshots, where a log is let go of because something else is believed to be safe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_cli.cache import python as cache
from bench_cli.cache import replay
from bench_cli.errors import LogError, SnapshotFailed
from bench_cli.faults.bugs import Between, Bug, replaced_in
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import Buffer, FileSystem, LogOptions, SnapshotInfo
from bench_cli.rewards import pool
from bench_cli.rewards.queue import Interrupts, Queue
from bench_cli.rewards.snapshot import Frozen
from bench_cli.wal import snapshot
from bench_cli.wal.snapshot import Folder, Found

SNAPSHOT = ".snapshot"


# --- mistakes of a snapshot's file work -------------------------------------------------------


class UnsyncedSnapshot(Between):
    """A snapshot is renamed before it is on the disk."""

    def __init__(self, inner: FileSystem) -> None:
        super().__init__(inner)
        self._fds: set[int] = set()

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        fd = self.inner.open(path, flags, mode)
        self._fds.discard(fd)
        if SNAPSHOT in path.name and flags & os.O_CREAT:
            self._fds.add(fd)
        return fd

    def sync(self, fd: int) -> None:
        if fd not in self._fds:
            self.inner.sync(fd)


class UnnamedSnapshot(Between):
    """The folder is not synced after the rename of a snapshot."""

    _renamed = False

    def rename(self, source: Path, target: Path) -> None:
        self._renamed = SNAPSHOT in target.name
        self.inner.rename(source, target)

    def sync_directory(self, path: Path) -> None:
        if not self._renamed:
            self.inner.sync_directory(path)
        self._renamed = False


# --- mistakes of a pool -----------------------------------------------------------------------


class MistakenPool(pool.Pool):
    """Its snapshots go through ``between``."""

    between: Callable[[FileSystem], Any] = staticmethod(lambda fs: fs)
    _over: Any = None

    def snapshot(
        self,
        directory: Path,
        *,
        incremental: bool = False,
        file_system: FileSystem | None = None,
    ) -> SnapshotInfo:
        if self._over is None:
            self._over = self.between(file_system or SYSTEM)
        return super().snapshot(directory, incremental=incremental, file_system=self._over)


class MistakenBackend(pool.Backend):
    pool_type: type[pool.Pool] = MistakenPool

    def open(self, items: Any, **settings: Any) -> pool.Pool:
        return self.pool_type(items, **settings)


class AnswersFirst(MistakenBackend):
    def queue(
        self, pool: pool.Pool, *, capacity: int = 1024, ack: str = "logged", mode: str = "caller"
    ) -> Queue:
        return super().queue(pool, capacity=capacity, ack=ack.replace("durable", "logged"))


class NeverFlushes(MistakenPool):
    def _flush_after(self, draws: int) -> None:
        """As if ``flush_every`` were 0."""


class ForgetsFirst(MistakenPool):
    """The log lets go of its records, and then the snapshot is written."""

    def snapshot(self, *arguments: Any, **options: Any) -> SnapshotInfo:
        self.forget(self.freeze().covered)
        return super().snapshot(*arguments, **options)


class ReplaysTwice(MistakenPool):
    """Records that the snapshot covers are applied on top of it."""

    def restore(self, frozen: Frozen) -> None:
        super().restore(frozen)
        self._reached = 0


class CountsAnew(MistakenPool):
    """Ids begin with 1 again after a recovery."""

    def attach(self, log: Any) -> None:
        super().attach(log)
        self._next_id = 1


class TakesTheRefused(MistakenPool):
    """A batch that the log refuses is taken from stock all the same."""

    def _draw_batch(self, count: int) -> Any:
        self._refusing = True
        try:
            return super()._draw_batch(count)
        finally:
            self._refusing = False

    _refusing = False

    def _put_back(self, index: int) -> None:
        if not self._refusing:
            super()._put_back(index)


class TrustsSnapshots(MistakenPool):
    """The log forgets, whether there is a snapshot or not."""

    def snapshot(self, *arguments: Any, **options: Any) -> SnapshotInfo:
        try:
            return super().snapshot(*arguments, **options)
        except SnapshotFailed:
            self.forget(self.freeze().covered)
            raise


class LateQueue(Queue):
    """A worker answers first, and leaves the log to the next draw."""

    def _answer_when_logged(self, group: Any, interrupts: Interrupts) -> None:
        if self._worker is None:
            super()._answer_when_logged(group, interrupts)
            return
        for callback in group:
            self._reply(self._answer(self._pool.take, callback, interrupts), interrupts)


class AnswersLate(MistakenBackend):
    def queue(
        self, pool: pool.Pool, *, capacity: int = 1024, ack: str = "logged", mode: str = "caller"
    ) -> Queue:
        return LateQueue(pool, capacity=capacity, ack=ack, mode=mode)


def _pool(pool_type: type[pool.Pool], **parts: Any) -> type[pool.Backend]:
    made = type("Mistaken", (pool_type,), parts)
    return type("Backend", (MistakenBackend,), {"pool_type": made})


# --- mistakes of a cache ----------------------------------------------------------------------


class ResetsFirst(cache.Cache):
    """A checkpoint empties the log, and then writes what was in it."""

    def checkpoint(self, *, incremental: bool = False) -> SnapshotInfo:
        assert self._log is not None
        self._log.reset()
        return super().checkpoint(incremental=incremental)


class SavesTheOld(cache.Cache):
    """An incremental checkpoint leaves out what was written since the one it adds to."""

    def _saved_files(self, since: int) -> Any:
        return super()._saved_files(1 << 62 if since else 0)


class ForgetsSizes(cache.Cache):
    """What a snapshot says of files without dirty blocks is passed over."""

    def adopt(self, name: str, size: int) -> None:
        if name in self._files:
            super().adopt(name, size)


class TrustsCheckpoints(cache.Cache):
    """The log is emptied, whether there is a snapshot or not."""

    def checkpoint(self, *, incremental: bool = False) -> SnapshotInfo:
        try:
            return super().checkpoint(incremental=incremental)
        except SnapshotFailed:
            assert self._log is not None
            self._log.reset()
            raise


class WritesTheRefused(cache.Cache):
    """A write that the log refuses is kept in memory all the same."""

    def _log_write(self, name: str, offset: int, data: Buffer) -> int:
        try:
            return super()._log_write(name, offset, data)
        except LogError:
            return next(self._generations)


class CacheBackend(cache.Backend):
    """The Python twin; ``between`` stands between its snapshots and the disk."""

    cache_type: type[cache.Cache] = cache.Cache
    between: Callable[[FileSystem], Any] = staticmethod(lambda fs: fs)

    def open(self, options: Any, **settings: Any) -> cache.Cache:
        over = self.between(settings["file_system"])
        return self.cache_type(options, settings["log"], settings["directory"], over, None, None)

    def recover(self, options: Any, *, log_options: LogOptions, **settings: Any) -> Any:
        def empty(log: Any) -> cache.Cache:
            return self.cache_type(options, log, None, log_options.file_system, None, None)

        return replay.recover(
            empty, options.block_size, settings["backend"], settings["directory"], log_options
        )


def _cache(cache_type: type[cache.Cache] = cache.Cache, **parts: Any) -> type[cache.Backend]:
    return type("Backend", (CacheBackend,), {"cache_type": cache_type, **parts})


# --- mistakes of both -------------------------------------------------------------------------

_newest = Folder.newest


def _keeps_silent(folder: Folder) -> Found:
    """An older snapshot is used without a word on the newer one."""
    return Found(_newest(folder).chain)


def _ignored(self: replay.Replay, name: str, block: int, generation: int) -> None:
    """A mark of an upload is read and not heeded."""


@dataclass(frozen=True, slots=True)
class EngineBug(Bug):
    """``make`` yields the backend of the engine. ``layers``: where it must be found; kills need a
    backend that another process can import, ``place``."""

    engine: str = "rewards"
    layers: str = "EA"
    place: str | None = None


def _bug(
    engine: str,
    name: str,
    what: str,
    backend: type[Any],
    *changes: tuple[Any, str, Any],
    layers: str = "EA",
) -> EngineBug:
    @contextmanager
    def make() -> Iterator[Any]:
        with replaced_in(*changes):
            yield backend()

    place = f"{backend.__module__}:{backend.__name__}" if "C" in layers else None
    return EngineBug(name, what, make, engine, layers, place)


Making = Callable[[], AbstractContextManager[Any]]

ENGINE_BUGS = (
    _bug("rewards", "answer before sync", "a durable queue answers without a sync", AnswersFirst),
    _bug("rewards", "flush forgotten", "flush_every syncs nothing", _pool(NeverFlushes)),
    _bug("rewards", "log removed first", "the log forgets before the snapshot is durable",
         _pool(ForgetsFirst)),
    _bug("rewards", "snapshot replayed twice", "records that it covers are applied again",
         _pool(ReplaysTwice)),
    _bug("rewards", "ids begin again", "a recovered pool counts from 1", _pool(CountsAnew)),
    _bug("rewards", "snapshot not synced", "it is renamed before it is on the disk",
         _pool(MistakenPool, between=staticmethod(UnsyncedSnapshot))),
    _bug("rewards", "snapshot not named", "the folder is not synced after its rename",
         _pool(MistakenPool, between=staticmethod(UnnamedSnapshot))),
    _bug("rewards", "snapshot unchecked", "no checksum covers it", MistakenBackend,
         (snapshot, "crc32c", lambda data, crc=0: 0)),
    _bug("rewards", "snapshot passed over", "a damaged one is left out in silence",
         MistakenBackend, (Folder, "newest", _keeps_silent)),
    _bug("cache", "log emptied first", "a checkpoint empties the log before it writes",
         _cache(ResetsFirst)),
    _bug("cache", "checkpoint of the old", "an incremental one leaves out what is new",
         _cache(SavesTheOld)),
    _bug("cache", "sizes forgotten", "a snapshot's files without dirty blocks are not restored",
         _cache(ForgetsSizes)),
    _bug("cache", "marks not heeded", "a recovery passes marks of uploads over", _cache(),
         (replay.Replay, "_uploaded", _ignored)),
    _bug("cache", "checkpoint not synced", "it is renamed before it is on the disk",
         _cache(between=staticmethod(UnsyncedSnapshot))),
    _bug("rewards", "refused batch taken", "what the log refuses is gone from stock",
         _pool(TakesTheRefused), layers="D"),
    _bug("rewards", "failed snapshot trusted", "the log forgets what no snapshot holds",
         _pool(TrustsSnapshots), layers="D"),
    _bug("rewards", "answer before log", "a worker answers what it has not written", AnswersLate,
         layers="C"),
    _bug("cache", "failed checkpoint trusted", "the log is emptied of what no snapshot holds",
         _cache(TrustsCheckpoints), layers="D"),
    _bug("cache", "refused write taken", "what the log refuses is in memory",
         _cache(WritesTheRefused), layers="D"),
)  # fmt: skip

SOUND_ENGINES = (
    _bug("rewards", "none, pool", "the pool as it is", MistakenBackend, layers="EADC"),
    _bug("cache", "none, cache", "the cache as it is", CacheBackend, layers="EADC"),
)
