"""A log in memory with the real payload encodings: fast, and it can be told to fail or to let
something happen in the middle of an append. A crash is to open the cache anew over its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_cli.errors import LogWriteFailed
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Capability,
    Durability,
    LogOptions,
    LogStats,
    RecordKind,
    Recovery,
)
from bench_cli.payloads import encode_remove, encode_truncate, encode_uploaded, encode_write


class FakeLog:
    format = "binary"

    def __init__(self) -> None:
        self.records: list[tuple[int, int, bytes]] = []
        self.last_sequence = 0
        self.failing = False
        self.before_append: Callable[[], None] = lambda: None
        self.syncs = 0

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        self.before_append()
        if self.failing:
            raise LogWriteFailed("told to fail", errno=5)
        self.last_sequence += 1
        self.records.append((self.last_sequence, int(kind), bytes(payload)))
        return self.last_sequence

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        return [self.append(payload, kind) for payload in payloads][-1]

    def append_write(self, name: str, offset: int, data: Buffer) -> int:
        return self.append(encode_write(name, offset, data), RecordKind.WRITE)

    def append_remove(self, name: str) -> int:
        return self.append(encode_remove(name), RecordKind.REMOVE)

    def append_truncate(self, name: str, size: int) -> int:
        return self.append(encode_truncate(name, size), RecordKind.TRUNCATE)

    def append_uploaded(self, name: str, block: int, generation: int) -> int:
        return self.append(encode_uploaded(name, block, generation), RecordKind.UPLOADED)

    def sync(self) -> None:
        self.syncs += 1

    def reset(self) -> None:
        self.records.clear()

    def stats(self) -> LogStats:
        size = sum(len(payload) for _, _, payload in self.records)
        return LogStats(
            appends=self.last_sequence,
            bytes=size,
            writes=0,
            syncs=self.syncs,
            rotations=0,
            segments=1,
            file_size=size,
            allocated=size,
            last_sequence=self.last_sequence,
            durable_sequence=self.last_sequence,
        )

    def close(self) -> None:
        pass


class FakeLogBackend:
    """One log, whatever the directory; ``open`` gives the same records back."""

    name = "wal.fake"
    core = "python"
    capabilities = frozenset({Capability.FILE_RECORDS, Capability.RECOVERY, Capability.RESET})

    def __init__(self) -> None:
        self.log = FakeLog()

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D0")

    def open(self, directory: Path, options: LogOptions) -> FakeLog:
        return self.log

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        for sequence, kind, payload in list(self.log.records):
            if apply:
                apply(sequence, kind, memoryview(payload))
        records = self.log.records
        return Recovery(
            records=len(records),
            first_sequence=records[0][0] if records else 0,
            last_sequence=self.log.last_sequence,
            tail="clean",
            segments=1,
            bytes_read=0,
        )
