"""Logs that promise more than they keep, and one whose file work cannot be injected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from bench_cli.faults.bugs import NoSync, Variant
from bench_cli.faults.engine_bugs import (
    CacheBackend,
    CountsAnew,
    MistakenBackend,
    ResetsFirst,
)
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Capability,
    FileSystem,
    LogOptions,
    Recovery,
    WriteAheadLog,
)
from bench_cli.wal.flush import FlushedLog
from bench_cli.wal.log import BasicBackend, FileLog


class Forgetful(Variant):
    """Its sync does nothing."""

    name = "forgetful"
    between = staticmethod(NoSync)


class Closed(BasicBackend):
    """Sound, and takes no file system of anybody's."""

    name = "closed"
    capabilities = BasicBackend.capabilities - {
        Capability.FAULTS,
        Capability.TEXT,
        Capability.JSONL,
    }

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        return super().open(directory, replace(options, file_system=None))

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        return super().recover(directory, replace(options, file_system=None), apply)


class _Buffering(FileLog):
    """Says that a record is written, and writes it with the next one."""

    held: tuple[Buffer, int] | None = None

    def append(self, payload: Buffer, kind: int = 1) -> int:
        if self.held is not None:
            super().append(*self.held)
        self.held = (bytes(payload), kind)
        return self._next

    def append_many(self, payloads: object, kind: int = 1) -> int:
        raise NotImplementedError


class Buffering(Closed):
    name = "buffering"
    capabilities = Closed.capabilities - {Capability.BATCH}

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        log = super().open(directory, options)
        log.__class__ = _Buffering
        return log


class Unchecking(Closed):
    """Declares C2 and says nothing of damage."""

    name = "unchecking"

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        found = super().recover(directory, options, apply)
        return replace(found, damages=(), ambiguous_tail_bytes=0, tail="clean")


class Unopening(Closed):
    """Cannot go on with a log that there is."""

    name = "unopening"

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        if directory.exists():
            raise FileExistsError(directory)
        return super().open(directory, options)


class _Unsynced(FileLog):
    def sync(self) -> None:
        """Says that it is done."""


class _Hasty(FlushedLog):
    def _made_durable(self, sequence: int) -> None:
        super()._made_durable(self._last)


class Hasty(Closed):
    """A sync is taken to cover what was written while it ran."""

    name = "hasty"

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        log = super().open(directory, replace(options, flush=None))
        return log if options.flush is None else cast(FileLog, _Hasty(log, options.flush))


class Unsynced(Closed):
    """Its sync never reaches the device; whoever is only killed does not notice."""

    name = "unsynced"

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        log = super().open(directory, options)
        log.__class__ = _Unsynced
        return log


class Unflushing(BasicBackend):
    """Asks the system for no sync at all, and takes each for done."""

    name = "unflushing"

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        files = cast(FileSystem, NoSync(options.file_system or SYSTEM))
        return super().open(directory, replace(options, file_system=files))


class Recounting(MistakenBackend):
    """A pool that counts from 1 again after a recovery."""

    name = "recounting"
    pool_type = CountsAnew


class Emptying(CacheBackend):
    """A cache whose checkpoint empties the log before there is a snapshot."""

    name = "emptying"
    cache_type = ResetsFirst
