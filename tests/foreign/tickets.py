"""A pool somebody else might have written: it sums up its tickets again for every draw."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from bench_cli.errors import CatalogueError, LogError, PoolError, PoolExhausted, Unsupported
from bench_cli.interfaces import (
    Capability,
    DrawQueue,
    Durability,
    Item,
    LogBackend,
    LogOptions,
    RecordKind,
    Recovery,
    RewardPool,
    WriteAheadLog,
)
from bench_cli.rewards.catalogue import check_catalogue
from bench_cli.rewards.records import MAX_BATCH, check_draws, records_for


class TicketPool:
    """Each item has as many tickets as weight, while it lasts."""

    def __init__(
        self, items: Sequence[Item], seed: int, log: WriteAheadLog | None, flush_every: int
    ) -> None:
        catalogue = check_catalogue(items)
        if flush_every < 0:
            raise ValueError(f"flush_every is {flush_every}")
        self.names: Sequence[str] = catalogue.names
        self._weights = catalogue.weights
        self._stock = list(catalogue.stock)
        self._reserved: Counter[int] = Counter()
        self._random = Random(seed)
        self._flush_every = flush_every
        self._unflushed = self._drawn = 0
        self._closed = False
        self.write_to(log)

    def write_to(self, log: WriteAheadLog | None) -> None:
        self._log = log
        self._records = records_for(log.format if log else "binary", self.names)

    def draw(self) -> str:
        return self.draw_record()[1]

    def draw_record(self) -> tuple[int, str]:
        index = self.select()
        return self.commit(index), self.names[index]

    def draw_many(self, count: int) -> tuple[int, Sequence[int]]:
        if count < 1:
            raise ValueError(f"a batch of {count} draws")
        first, indices = self.next_id, self._batch(min(count, MAX_BATCH))
        while len(indices) < count and self._tickets()[-1]:
            indices += self._batch(min(count - len(indices), MAX_BATCH))
        return first, indices

    def _batch(self, count: int) -> list[int]:
        """One record."""
        indices = [self._take()]
        while len(indices) < count and self._tickets()[-1]:
            indices.append(self._take())
        payload = self._records.draws(self.next_id, array("I", indices))
        self._log_taken(indices, RecordKind.DRAWS, payload)
        return indices

    def select(self) -> int:
        index = self._take()
        self._reserved[index] += 1
        return index

    def commit(self, index: int) -> int:
        self._give_up(index)
        self._log_taken([index], RecordKind.DRAW, self._records.draw(self.next_id, index))
        return self._drawn

    def revert(self, index: int) -> None:
        self._give_up(index)
        self._put_back([index])

    def stock(self) -> dict[str, int | None]:
        return dict(zip(self.names, self._stock, strict=True))

    @property
    def drawn(self) -> int:
        return self._drawn

    @property
    def next_id(self) -> int:
        return self._drawn + 1

    def sync(self) -> None:
        self._check_open()
        if self._log is not None:
            self._log.sync()
        self._unflushed = 0

    def close(self) -> None:
        self._closed = True

    def replay(self, log_format: str, sequence: int, kind: int, payload: memoryview) -> None:
        """Count a recovered record, if it is one of draws. Raises CatalogueError."""
        if kind not in (RecordKind.DRAW, RecordKind.DRAWS):
            return
        first, indices = records_for(log_format, self.names).parse(kind, payload)
        check_draws(self.next_id, first, indices, len(self.names))
        for index in indices:
            if self._stock[index] == 0:
                raise CatalogueError(f"record {sequence}: {self.names[index]!r} is used up")
            self._count(index, -1)
            self._drawn += 1

    def _tickets(self) -> list[int]:
        """Running totals: item i has the tickets below the i-th total, from the one before on."""
        pairs = zip(self._weights, self._stock, strict=True)
        return list(accumulate(0 if left == 0 else weight for weight, left in pairs))

    def _take(self) -> int:
        self._check_open()
        tickets = self._tickets()
        if not tickets[-1]:
            raise PoolExhausted("no ticket is left")
        index = bisect_right(tickets, self._random.randrange(tickets[-1]))
        self._count(index, -1)
        return index

    def _put_back(self, indices: Sequence[int]) -> None:
        for index in indices:
            self._count(index, 1)

    def _count(self, index: int, pieces: int) -> None:
        left = self._stock[index]
        if left is not None:
            self._stock[index] = left + pieces

    def _give_up(self, index: int) -> None:
        """A reservation, to be committed or reverted."""
        self._check_open()
        if not self._reserved[index]:
            raise ValueError(f"item {index} is not reserved")
        self._reserved[index] -= 1

    def _log_taken(self, indices: Sequence[int], kind: RecordKind, payload: bytes) -> None:
        """Draws count once they are logged. A sync that fails afterwards leaves them in force and
        is tried again with the next draw."""
        if self._log is not None:
            try:
                self._log.append(payload, kind)
            except BaseException:
                self._put_back(indices)
                raise
        self._drawn += len(indices)
        self._unflushed += len(indices)
        if 0 < self._flush_every <= self._unflushed:
            self.sync()

    def _check_open(self) -> None:
        if self._closed:
            raise PoolError("the pool is closed")


class TicketBackend:
    name = "ticket.pool"
    core = "python"
    capabilities = frozenset({Capability.LOGGED, Capability.DRAW_MANY, Capability.RECOVERY})

    def durability(self, options: Mapping[str, Any]) -> Durability:
        if options.get("wal", "wal.none") == "wal.none":
            return Durability("D0")
        return Durability("D1", integrity="I1", damage="C0")

    def open(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        log: WriteAheadLog | None = None,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> TicketPool:
        if selector != "fenwick":  # the default; a choice is the capability SELECTORS
            raise Unsupported(f"{self.name} has no selector {selector!r}")
        return TicketPool(items, seed, log, flush_every)

    def recover(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        backend: LogBackend,
        directory: Path,
        options: LogOptions,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> tuple[RewardPool, WriteAheadLog, Recovery]:
        pool = self.open(items, seed=seed, selector=selector, flush_every=flush_every)

        def replay(sequence: int, kind: int, payload: memoryview) -> None:
            pool.replay(options.format, sequence, kind, payload)

        found = backend.recover(directory, options, replay)
        log = backend.open(directory, options)
        if log.stats().last_sequence != found.last_sequence:
            log.close()
            raise LogError("the log grew while it was read")
        pool.write_to(log)
        return pool, log, found

    def queue(
        self, pool: RewardPool, *, capacity: int = 1024, ack: str = "logged", mode: str = "caller"
    ) -> DrawQueue:
        raise Unsupported(f"{self.name} has no request queue")
