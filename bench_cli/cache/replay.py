"""Rebuilding a cache from its last checkpoint and its log; the same for both twins.

Replay calls the cache's own operations, with a stand-in for the log that answers with the
sequence number of the record being replayed: each block gets the generation it had, limits hold
as ever, and there is no second way of writing that could differ from the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar, cast

from bench_cli.cache.snapshot import KIND, SavedBlock, Snapshots, load
from bench_cli.errors import CacheFull, FileNotCached
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import (
    BlockCache,
    Buffer,
    LogBackend,
    LogOptions,
    RecordKind,
    Recovery,
    WriteAheadLog,
)
from bench_cli.payloads import decode_remove, decode_truncate, decode_uploaded, decode_write
from bench_cli.wal.snapshot import Folder, Found, check_reach, read_by, unreached


class Recoverable(BlockCache, Protocol):
    """What recovery needs of a cache beyond its public face."""

    snapshots: Snapshots

    def adopt(self, name: str, size: int) -> None:
        """A file of at least this size, made if need be."""

    def attach(self, log: WriteAheadLog | None, directory: Path | None) -> None:
        """Go on with this log."""


C = TypeVar("C", bound=Recoverable)


class ReplayedLog:
    """Stands in for the log during replay: what is appended is in it already."""

    format = "binary"

    def __init__(self) -> None:
        self.sequence = 0

    def append_write(self, name: str, offset: int, data: Buffer) -> int:
        return self.sequence

    def append_remove(self, name: str) -> int:
        return self.sequence

    def append_truncate(self, name: str, size: int) -> int:
        return self.sequence

    def append_uploaded(self, name: str, block: int, generation: int) -> int:
        return self.sequence


class Replay:
    """Applies the snapshots, then the records after them. ``lean``: a block is dropped as soon as
    its upload is met, so that no more is held than in any run that wrote this log."""

    def __init__(
        self,
        cache: Recoverable,
        log: ReplayedLog,
        block_size: int,
        folder: Folder,
        found: Found,
        *,
        lean: bool,
    ) -> None:
        self._cache = cache
        self._log = log
        self._block_size = block_size
        self._folder = folder
        self._found = found
        self._lean = lean
        self._reached = found.covered

    def snapshots(self) -> None:
        load(self._folder, self._found, self._block_size, self._cache.adopt, self._block)

    def _block(self, name: str, block: SavedBlock) -> None:
        self._log.sequence = block.generation
        for start, data in block.extents or ():
            self._cache.write(name, block.number * self._block_size + start, data)

    def record(self, sequence: int, kind: int, payload: memoryview) -> None:
        """Kinds of other engines change no file and are passed over."""
        if sequence <= self._reached:
            return
        if sequence != self._reached + 1:
            raise unreached(self._folder.directory, self._found, sequence)
        self._reached = sequence
        self._log.sequence = sequence
        if kind == RecordKind.WRITE:
            self._cache.write(*decode_write(payload))
        elif kind == RecordKind.REMOVE:
            self._remove(decode_remove(payload))
        elif kind == RecordKind.TRUNCATE:
            self._truncate(*decode_truncate(payload))
        elif kind == RecordKind.UPLOADED:
            self._uploaded(*decode_uploaded(payload))

    def _remove(self, name: str) -> None:
        try:
            self._cache.remove(name)
        except FileNotCached:
            return  # a file that held only bytes from the store: those were never logged

    def _truncate(self, name: str, size: int) -> None:
        try:
            self._cache.truncate(name, size)
        except FileNotCached:
            self._cache.adopt(name, size)  # as above: of it, only the size is known

    def _uploaded(self, name: str, block: int, generation: int) -> None:
        if self._cache.mark_uploaded(name, block, generation) and self._lean:
            self._cache.evict_all()


def recover(
    empty: Callable[[WriteAheadLog], C],
    block_size: int,
    backend: LogBackend,
    directory: Path,
    options: LogOptions,
) -> tuple[C, WriteAheadLog, Recovery]:
    """``empty`` makes an empty cache over a log, with the block size of the run that wrote it.
    Clean blocks are kept if they fit below the limits; if not, all are dropped while replaying,
    and only then is CacheFull final."""
    files = options.file_system or SYSTEM
    folder = Folder(files, directory, KIND)
    found = folder.newest()

    def replayed(lean: bool) -> tuple[C, Recovery]:
        stand_in = ReplayedLog()
        cache = empty(cast(WriteAheadLog, stand_in))
        try:
            replay = Replay(cache, stand_in, block_size, folder, found, lean=lean)
            replay.snapshots()
            return cache, backend.recover(directory, options, replay.record)
        except BaseException:
            cache.close()
            raise

    try:
        cache, recovery = replayed(lean=False)
    except CacheFull:
        cache, recovery = replayed(lean=True)
    try:
        log = backend.open(directory, options)
        try:
            check_reach(
                directory, found, replace(recovery, last_sequence=log.stats().last_sequence)
            )
        except BaseException:
            log.close()
            raise
    except BaseException:
        cache.close()
        raise
    cache.attach(log, directory)
    cache.snapshots.go_on(folder, found.chain)
    return cache, log, replace(recovery, snapshots=read_by(found))
