"""Logs in memory that can fail and crash, to stand behind a pool in tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_cli.errors import LogWriteFailed
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Durability,
    LogOptions,
    LogStats,
    RecordKind,
    Recovery,
)


@dataclass
class MemoryLog:
    """Records as (kind, payload). ``fail_appends`` and ``fail_syncs`` hold the numbers, from 1,
    of the calls that fail; the log takes further calls all the same, which is harder on a pool
    than a poisoned one. ``events`` tells what happened in which order."""

    format: str = "binary"
    records: list[tuple[int, bytes]] = field(default_factory=list)
    durable: int = 0
    fail_appends: frozenset[int] = frozenset()
    fail_syncs: frozenset[int] = frozenset()
    events: list[str] = field(default_factory=list)
    appends: int = 0
    syncs: int = 0
    closed: bool = False
    before_append: Callable[[], None] = lambda: None

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        self.before_append()
        self.appends += 1
        if self.appends in self.fail_appends:
            raise LogWriteFailed("no append today", errno=5)
        self.events.append("append")
        self.records.append((int(kind), bytes(payload)))
        return len(self.records)

    def append_many(self, payloads: Any, kind: int = RecordKind.DATA) -> int:
        for payload in payloads:
            self.append(payload, kind)
        return len(self.records)

    def sync(self) -> None:
        self.syncs += 1
        if self.syncs in self.fail_syncs:
            raise LogWriteFailed("no sync today", errno=5)
        self.events.append("sync")
        self.durable = len(self.records)

    def stats(self) -> LogStats:
        size = sum(len(payload) for _, payload in self.records)
        last = len(self.records)
        return LogStats(last, size, last, self.syncs, 0, 1, size, size, last, self.durable)

    def close(self) -> None:
        self.closed = True


class MemoryLogBackend:
    """Keeps logs by directory, as long as it lives."""

    name = "wal.memory"
    core = "python"
    capabilities: frozenset[Any] = frozenset()

    def __init__(self) -> None:
        self.logs: dict[Path, MemoryLog] = {}

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D0")

    def open(self, directory: Path, options: LogOptions) -> MemoryLog:
        old = self.logs.get(directory, MemoryLog())
        log = MemoryLog(options.format, list(old.records), len(old.records))
        self.logs[directory] = log
        return log

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        records = self.logs[directory].records if directory in self.logs else []
        for sequence, (kind, payload) in enumerate(records, 1):
            if apply is not None:
                apply(sequence, kind, memoryview(payload))
        return Recovery(len(records), min(1, len(records)), len(records), "torn", 1, 0)

    def crash(self, directory: Path) -> None:
        """Lose what no sync has covered."""
        log = self.logs[directory]
        self.logs[directory] = MemoryLog(log.format, log.records[: log.durable], log.durable)
