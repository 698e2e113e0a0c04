"""Logs that a kill between two system calls breaks, and one that can do nothing but the least."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench_cli.faults.bugs import BatchInPieces, ForgetsTheBase, SlotInPlace, Variant
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import Buffer, Capability, LogOptions
from bench_cli.wal.log import FileLog
from tests.verify.liars import Closed


class OnFiles(Variant):
    """On the system's own files, without flush policies. As it is, there is nothing wrong."""

    name = "on-files"
    capabilities = Closed.capabilities - {Capability.COMMIT}

    def open(self, directory: Path, options: LogOptions) -> FileLog:
        return super().open(directory, replace(options, file_system=SYSTEM))


class Least(OnFiles):
    name = "least"
    capabilities = frozenset({Capability.RECOVERY})


class InPieces(OnFiles):
    """A batch is written record by record."""

    name = "in-pieces"
    log_type = BatchInPieces


class Baseless(OnFiles):
    """Removes its oldest segment, and nothing says that it begins with another one now."""

    name = "baseless"
    set_type = ForgetsTheBase


class Slotted(OnFiles):
    """Empties itself over the very header that counts."""

    name = "slotted"
    set_type = SlotInPlace


class _Late(FileLog):
    """Keeps each record until the next one comes."""

    held: tuple[bytes, int] | None = None

    def append(self, payload: Buffer, kind: int = 1) -> int:
        self._let_go()
        self.held = (bytes(payload), kind)
        return self._next

    def close(self) -> None:
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        if self.held is not None:
            held, self.held = self.held, None
            super().append(*held)


class Late(Least):
    """Says that a record is written before it is."""

    name = "late"
    log_type = _Late
