"""A CPU-bound log, and copies of it that burn 5 and 10 % more, to be found out."""

from __future__ import annotations

from pathlib import Path

from bench_cli.interfaces import Buffer, LogOptions, RecordKind, WriteAheadLog
from bench_cli.wal.log import NoneBackend, NoneLog

TURNS = 17
"""Of the loop; the call around it takes about as long as three more."""


class BurningLog(NoneLog):
    """Keeps nothing and takes its time over it."""

    turns = TURNS

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        state = 1
        for _ in range(self.turns):
            state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        return super().append(payload, kind)


class Plain(NoneBackend):
    log: type[BurningLog] = BurningLog

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return self.log(options)


class FivePercentLog(BurningLog):
    turns = TURNS + 1


class TenPercentLog(BurningLog):
    turns = TURNS + 2


class FivePercent(Plain):
    log = FivePercentLog


class TenPercent(Plain):
    log = TenPercentLog
