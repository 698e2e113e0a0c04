"""A log that stalls once a second, by the clock of this machine."""

from __future__ import annotations

import time
from pathlib import Path

from bench_cli.interfaces import Buffer, LogOptions, RecordKind, WriteAheadLog
from bench_cli.wal.log import NoneBackend, NoneLog

EVERY_S = 1.0
STALL_S = 0.1


class StallingLog(NoneLog):
    """Keeps nothing; whoever appends when a second has passed waits a tenth of one."""

    def __init__(self, options: LogOptions) -> None:
        super().__init__(options)
        self._due = time.monotonic() + EVERY_S

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        if time.monotonic() >= self._due:
            self._due += EVERY_S
            time.sleep(STALL_S)
        return super().append(payload, kind)


class Stalling(NoneBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return StallingLog(options)
