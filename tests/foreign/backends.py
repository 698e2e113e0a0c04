"""Two backends somebody else might have written: a slow log that keeps lists in one JSON file per
record, and a pool that is a list of tickets. They implement the Protocols and nothing more, and
run through scenarios and contract suites without a change to the tool."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from bench_cli.errors import LogClosed, LogLocked, PoolExhausted
from bench_cli.interfaces import (
    Apply,
    Buffer,
    Capability,
    Durability,
    Item,
    LogOptions,
    LogStats,
    Record,
    RecordKind,
    Recovery,
    WriteAheadLog,
)

_OPEN: set[Path] = set()


class SlowLog:
    """One file per record, named by its sequence; a batch is one file too."""

    format = "binary"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if directory in _OPEN:
            raise LogLocked(f"{directory} is open already")
        _OPEN.add(directory)
        self._directory = directory
        self._records = _read(directory)
        self._last = self._records[-1].sequence if self._records else 0
        self._appends = self._bytes = self._writes = self._syncs = self._durable = 0
        self._closed = False

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        return self.append_many([payload], kind)

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        if self._closed:
            raise LogClosed("the log is closed")
        if not payloads:
            raise ValueError("an empty batch")
        first = self._last + 1
        entries = [[first + i, int(kind), bytes(p).hex()] for i, p in enumerate(payloads)]
        text = json.dumps(entries)
        temporary = self._directory / "writing.tmp"
        temporary.write_text(text)
        temporary.rename(self._directory / f"{first:020d}.json")
        self._last += len(payloads)
        self._appends += len(payloads)
        self._bytes += len(text)
        self._writes += 1
        return self._last

    def sync(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")
        os.sync()
        self._syncs += 1
        self._durable = self._last

    def reset(self) -> None:
        for path in self._directory.glob("*.json"):
            path.unlink()

    def stats(self) -> LogStats:
        size = sum(path.stat().st_size for path in self._directory.glob("*.json"))
        return LogStats(
            appends=self._appends, bytes=self._bytes, writes=self._writes, syncs=self._syncs,
            rotations=0, segments=1, file_size=size, allocated=size,
            last_sequence=self._last, durable_sequence=self._durable,
        )  # fmt: skip

    def close(self) -> None:
        self._closed = True
        _OPEN.discard(self._directory)


def _read(directory: Path) -> list[Record]:
    entries = [
        entry for path in sorted(directory.glob("*.json")) for entry in json.loads(path.read_text())
    ]
    return [Record(sequence, kind, bytes.fromhex(text)) for sequence, kind, text in entries]


class SlowLogBackend:
    name = "slow.log"
    core = "python"
    capabilities = frozenset(
        {Capability.BATCH, Capability.RECOVERY, Capability.RESET, Capability.LOCK}
    )

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D1", integrity="I1", damage="C0")

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return SlowLog(directory)  # type: ignore[return-value]  # no file records: a capability

    def recover(self, directory: Path, options: LogOptions, apply: Apply | None = None) -> Recovery:
        records = _read(directory)
        for record in records if apply else ():
            assert apply is not None
            apply(record.sequence, record.kind, memoryview(record.payload))
        first = records[0].sequence if records else 0
        last = records[-1].sequence if records else 0
        return Recovery(len(records), first, last, "clean", 1, sum(len(r.payload) for r in records))


class TicketPool:
    """A list with one entry per piece and unit of weight; only finite, small stock."""

    def __init__(self, items: Sequence[Item], seed: int, log: WriteAheadLog | None) -> None:
        self.names = [item.name for item in items]
        self._weights = [item.weight for item in items]
        self._stock = [10**12 if item.stock is None else item.stock for item in items]
        self._endless = [item.stock is None for item in items]
        self._random = Random(seed)
        self._log = log
        self._drawn = 0

    def draw(self) -> str:
        return self.draw_record()[1]

    def draw_record(self) -> tuple[int, str]:
        index = self.select()
        return self.commit(index), self.names[index]

    def draw_many(self, count: int) -> tuple[int, Sequence[int]]:
        first, found = self.next_id, []
        for _ in range(count):
            try:
                index = self.select()
            except PoolExhausted:
                if not found:
                    raise
                break
            self.commit(index)
            found.append(index)
        return first, found

    def select(self) -> int:
        left = [
            weight if stock else 0 for weight, stock in zip(self._weights, self._stock, strict=True)
        ]
        if not any(left):
            raise PoolExhausted("no ticket is left")
        index = self._random.choices(range(len(left)), left)[0]
        self._stock[index] -= 1
        return index

    def commit(self, index: int) -> int:
        if self._log is not None:
            try:
                self._log.append(f"{self.next_id} {index}".encode(), RecordKind.DRAW)
            except Exception:
                self.revert(index)
                raise
        self._drawn += 1
        return self._drawn

    def revert(self, index: int) -> None:
        self._stock[index] += 1

    def stock(self) -> dict[str, int | None]:
        rows = zip(self.names, self._stock, self._endless, strict=True)
        return {name: None if endless else left for name, left, endless in rows}

    @property
    def drawn(self) -> int:
        return self._drawn

    @property
    def next_id(self) -> int:
        return self._drawn + 1

    def sync(self) -> None:
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Nothing to release."""


class TicketBackend:
    name = "ticket.pool"
    core = "python"
    capabilities = frozenset({Capability.LOGGED})

    def durability(self, options: Mapping[str, Any]) -> Durability:
        return Durability("D1", integrity="I1", damage="C2")

    def open(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        log: WriteAheadLog | None = None,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> TicketPool:
        return TicketPool(items, seed, log)
