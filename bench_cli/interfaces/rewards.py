"""The reward pool, its queue and its snapshots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bench_cli.interfaces.engine import Backend, FileSystem
from bench_cli.interfaces.log import LogBackend, LogOptions, Recovery, SnapshotInfo, WriteAheadLog


@dataclass(frozen=True, slots=True)
class Item:
    """One prize. ``weight`` is a positive integer; the sum over a catalogue stays below 2^63.
    ``stock`` is how many there are, None for without end."""

    name: str
    weight: int = 1
    stock: int | None = None


class RewardPool(Protocol):
    """A weighted draw ledger. Each draw picks an item with probability weight / sum of weights
    over the items that are left, logs it, and only then takes it from stock. Draw ids start at 1
    and have no gaps. A failed append consumes the random number and no stock."""

    names: Sequence[str]  # item names by index

    def draw(self) -> str:
        """The name of the drawn item. Raises PoolExhausted when nothing is left."""

    def draw_record(self) -> tuple[int, str]:
        """(draw id, item name)."""

    def draw_many(self, count: int) -> tuple[int, Sequence[int]]:
        """Up to ``count`` draws as one atomic log record each of at most 65,535 draws: (first
        draw id, item indices into ``names``). Fewer than ``count`` only when the pool runs empty
        on the way; none left at all raises PoolExhausted."""

    def select(self) -> int:
        """Reserve: pick an item, take one from stock, log nothing. The index must be given to
        ``commit`` or ``revert`` once."""

    def commit(self, index: int) -> int:
        """Log a reserved item and return its draw id. If the log fails, the stock is put back
        and the error raised."""

    def revert(self, index: int) -> None:
        """Put a reserved item back."""

    def stock(self) -> dict[str, int | None]:
        """What is left, by name; None for without end."""

    @property
    def drawn(self) -> int:
        """Committed draws, those recovered included."""

    @property
    def next_id(self) -> int: ...

    def sync(self) -> None:
        """Make all draws durable."""

    def close(self) -> None:
        """Close the pool; its log stays open (whoever opened it closes it)."""


@runtime_checkable
class SnapshotPool(RewardPool, Protocol):
    """A pool of a backend with ``SNAPSHOT``."""

    def snapshot(
        self,
        directory: Path,
        *,
        incremental: bool = False,
        file_system: FileSystem | None = None,
    ) -> SnapshotInfo:
        """Keep all draws so far in a file in ``directory``, the log's, and let the log forget the
        records it covers. The log must hold nothing else that is still needed. When it returns,
        the snapshot is durable and was read back; whatever fails before that leaves the one
        before and the log as they are.

        ``incremental``: only the items drawn since the last snapshot in this directory, which
        becomes the base; a full one where there is none. Reserved items count as left. Draws go
        on while the file is written. Raises Unsupported without a log and on one that a sync does
        not make durable, SnapshotFailed, and what ``sync`` raises (a poisoned log takes none)."""


DrawCallback = Callable[[int, str | None, BaseException | None], None]
"""``callback(draw id, item name, error)``: (id, name, None) or (0, None, error)."""


class DrawQueue(Protocol):
    """Requests to a pool through a bounded queue. ``ack`` says when a request is answered: after
    the draw is taken in "memory" (before its log record is synced or even written), after it is
    "logged", or after it is "durable" (one sync for all that were waiting). ``mode`` says who
    works: "caller" (the caller that finds nobody working drains the queue) or "worker" (one
    thread)."""

    def submit(self, callback: DrawCallback) -> None:
        """Raises QueueFull or QueueClosed. A callback may submit again."""

    def request(self) -> Any:
        """A ``concurrent.futures.Future`` of (draw id, item name)."""

    def close(self) -> None:
        """Answer what is queued, then stop. Later submits raise QueueClosed. Idempotent."""


class PoolBackend(Backend, Protocol):
    def open(
        self,
        items: Sequence[Item],
        *,
        seed: int,
        log: WriteAheadLog | None = None,
        selector: str = "fenwick",
        flush_every: int = 0,
    ) -> RewardPool:
        """A new pool. ``selector``: "fenwick" | "prefix_sum". ``flush_every``: sync the log after
        that many draws, 0 = never by itself. Raises CatalogueError."""

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
        """Rebuild a pool from its newest usable snapshots and its log, and open that log for
        appending. Draw ids go on after the last recovered one; the generator starts from
        ``seed``. ``Recovery.snapshots`` tells what was used and what was rejected; the other
        fields are the log's. Raises CatalogueError when the snapshots or the log are of another
        catalogue, SnapshotUnusable when the log does not reach back to a usable snapshot (or,
        without one, to the first record), and what opening the log raises."""

    def queue(
        self, pool: RewardPool, *, capacity: int = 1024, ack: str = "logged", mode: str = "caller"
    ) -> DrawQueue: ...
