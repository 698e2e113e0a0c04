"""Rebuilding a cache from its last checkpoint and its log; the same for both twins.

Replay calls the cache's own operations. The cache has no log meanwhile, and its counter of
generations is set to the sequence number of the record being replayed: each block gets the
generation it had, limits hold as ever, and there is no second way of writing that could differ
from the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from bench_cli.cache.snapshot import KIND, SavedBlock, Snapshots, load
from bench_cli.errors import CacheFull, FileNotCached
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import (
    BlockCache,
    LogBackend,
    LogOptions,
    RecordKind,
    Recovery,
    WriteAheadLog,
)
from bench_cli.payloads import decode_remove, decode_truncate, decode_uploaded, decode_write
from bench_cli.wal.snapshot import (
    Folder,
    Found,
    check_reach,
    check_unchanged,
    read_by,
    unreached,
)


class Recoverable(BlockCache, Protocol):
    """What recovery needs of a cache beyond its public face."""

    snapshots: Snapshots

    def adopt(self, name: str, size: int) -> None:
        """A file of at least this size, made if need be."""

    def count_from(self, generation: int) -> None:
        """The next change without a log gets this generation."""

    def attach(self, log: WriteAheadLog | None, directory: Path | None) -> None:
        """Go on with this log."""


C = TypeVar("C", bound=Recoverable)


class Replay:
    """Applies the snapshots, then the records after them; ``reached`` is the last one applied or
    covered. ``lean``: a block is dropped as soon as its upload is met, so that no more is held
    than in any run that wrote this log."""

    def __init__(
        self,
        cache: Recoverable,
        block_size: int,
        folder: Folder,
        found: Found,
        *,
        lean: bool,
    ) -> None:
        self.cache = cache
        self._block_size = block_size
        self._folder = folder
        self._found = found
        self._lean = lean
        self.reached = found.covered

    def snapshots(self) -> None:
        load(self._folder, self._found, self._block_size, self.cache.adopt, self._block)

    def _block(self, name: str, block: SavedBlock) -> None:
        for start, data in block.extents or ():
            self.cache.count_from(block.generation)
            self.cache.write(name, block.number * self._block_size + start, data)

    def record(self, sequence: int, kind: int, payload: memoryview) -> None:
        """Kinds of other engines change no file and are passed over."""
        if sequence <= self.reached:
            return
        if sequence != self.reached + 1:
            raise unreached(self._folder.directory, self._found, sequence)
        self.reached = sequence
        self.cache.count_from(sequence)
        if kind == RecordKind.WRITE:
            self.cache.write(*decode_write(payload))
        elif kind == RecordKind.REMOVE:
            self._remove(decode_remove(payload))
        elif kind == RecordKind.TRUNCATE:
            self._truncate(*decode_truncate(payload))
        elif kind == RecordKind.UPLOADED:
            self._uploaded(*decode_uploaded(payload))

    def _remove(self, name: str) -> None:
        try:
            self.cache.remove(name)
        except FileNotCached:
            return  # a file that held only bytes from the store: those were never logged

    def _truncate(self, name: str, size: int) -> None:
        try:
            self.cache.truncate(name, size)
        except FileNotCached:
            self.cache.adopt(name, size)  # as above: of it, only the size is known

    def _uploaded(self, name: str, block: int, generation: int) -> None:
        if self.cache.mark_uploaded(name, block, generation) and self._lean:
            self.cache.evict_all()

    def complete(self, recovery: Recovery, last_sequence: int) -> Recovery:
        """After the last record: the log's recovery, with what the snapshots have to tell. Raises
        SnapshotUnusable where it ends, at ``last_sequence``, before they do, or begins later."""
        check_reach(
            self._folder.directory, self._found, replace(recovery, last_sequence=last_sequence)
        )
        return replace(recovery, snapshots=read_by(self._found))


Reopen = Callable[[Replay, LogBackend, Path, LogOptions], tuple[WriteAheadLog, Recovery]]


def reopen(
    replay: Replay, backend: LogBackend, directory: Path, options: LogOptions
) -> tuple[WriteAheadLog, Recovery]:
    """Replay the records of any log, and open it for appending."""
    recovery = backend.recover(directory, options, replay.record)
    log = backend.open(directory, options)
    try:
        recovery = replay.complete(recovery, log.stats().last_sequence)
        check_unchanged(log, replay.reached)
        return log, recovery
    except BaseException:
        log.close()
        raise


def recover(
    empty: Callable[[None], C],
    block_size: int,
    backend: LogBackend,
    directory: Path,
    options: LogOptions,
    reopen: Reopen = reopen,
) -> tuple[C, WriteAheadLog, Recovery]:
    """``empty`` makes an empty cache without a log, with the block size of the run that wrote it;
    ``reopen`` is how records get from the log into it.
    Clean blocks are kept if they fit below the limits; if not, all are dropped while replaying,
    and only then is CacheFull final."""
    files = options.file_system or SYSTEM
    folder = Folder(files, directory, KIND)
    found = folder.newest()

    def replayed(lean: bool) -> tuple[C, WriteAheadLog, Recovery]:
        cache = empty(None)
        try:
            replay = Replay(cache, block_size, folder, found, lean=lean)
            replay.snapshots()
            return cache, *reopen(replay, backend, directory, options)
        except BaseException:
            cache.close()
            raise

    try:
        cache, log, recovery = replayed(lean=False)
    except CacheFull:
        cache, log, recovery = replayed(lean=True)
    cache.attach(log, directory)
    cache.snapshots.go_on(folder, found.chain)
    return cache, log, recovery
