"""What is done with a reward pool on a log to prove it: every promised draw once, ids without a
gap, nothing invented, and drawn + left = what there was, after any crash, any error, and with or
without snapshots."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench_cli.errors import BenchError, SnapshotFailed
from bench_cli.faults.explore import Broken, Doing
from bench_cli.faults.images import Content
from bench_cli.faults.recorder import HOME, Recorder
from bench_cli.interfaces import (
    Capability,
    Item,
    LogBackend,
    LogOptions,
    PoolBackend,
    Recovery,
    RewardPool,
    SnapshotPool,
    WriteAheadLog,
)

ENDLESS = (Item("gold coin", 1, 3), Item("two\nlines", 2, 60), Item("tin", 7, None))
FINITE = (Item("one", 5, 1), Item("few", 1, 7), Item("many", 40, 900))
LASTING = (
    Item("one", 5, 1),
    Item("few", 1, 7),
    Item("many", 40, 900_000),
    Item("\u00e9", 9, 9_000),
)
"""For lives without end: all is counted, and never used up."""
CATALOGUES = {"endless": ENDLESS, "finite": FINITE, "lasting": LASTING}
FLUSH_EVERY = {"never": 0, "record": 1, "every": 8}
ACKS = (None, "logged", "durable", "memory")
"""How draws are asked for: of the pool itself, or through a queue that answers then."""
PATIENCE = 60.0  # seconds until a request counts as never answered


@dataclass(frozen=True, slots=True)
class Making:
    """Which pool on which log, in which folder, and how it is asked. ``items`` names a catalogue,
    ``flush_every`` is as the pool takes it, ``mode`` that of the queue."""

    backend: PoolBackend
    log_backend: LogBackend
    format: str
    segment: int
    items: str = "endless"
    flush_every: int = 0
    selector: str = "fenwick"
    ack: str | None = None
    mode: str = "caller"
    home: Path = HOME

    @property
    def catalogue(self) -> Sequence[Item]:
        return CATALOGUES[self.items]

    def setting(self) -> dict[str, Any]:
        """What a recovery has to be told, for an image that is kept."""
        return {"items": self.items, "segment": self.segment, "selector": self.selector}

    def options(self, disk: Recorder | None) -> LogOptions:
        return LogOptions(self.format, self.segment, disk)

    def open(self, disk: Recorder | None, seed: int) -> tuple[RewardPool, WriteAheadLog]:
        log = self.log_backend.open(self.home, self.options(disk))
        pool = self.backend.open(
            self.catalogue,
            seed=seed,
            log=log,
            selector=self.selector,
            flush_every=self.flush_every,
        )
        return pool, log

    def recover(self, disk: Recorder | None) -> tuple[RewardPool, WriteAheadLog, Recovery]:
        return self.backend.recover(
            self.catalogue,
            seed=99,
            backend=self.log_backend,
            directory=self.home,
            options=self.options(disk),
            selector=self.selector,
            flush_every=self.flush_every,
        )

    @property
    def snapshots(self) -> bool:
        return Capability.SNAPSHOT in self.backend.capabilities


@dataclass(slots=True)
class Draws(Doing):
    """``drawn[i]`` is the item of draw i + 1. ``ends``: where a recovery may end without cutting
    a batch. ``unflushed`` counts as the pool does."""

    making: Making
    drawn: list[str] = field(default_factory=list)
    ends: set[int] = field(default_factory=lambda: {0})
    unflushed: int = 0

    # --- doing -------------------------------------------------------------------------------

    def attempt(self, count: int) -> None:
        self.mark(attempted=len(self.drawn) + count)

    def done(self, first: int, names: Sequence[str], *, written: bool = True) -> None:
        """``names`` were drawn from id ``first`` on, as one record."""
        if first != len(self.drawn) + 1:
            raise Broken(f"draw {first} follows draw {len(self.drawn)}")
        self.drawn += names
        self.ends.add(len(self.drawn))
        if written:
            self.written(len(self.drawn), len(names))

    def written(self, last: int, count: int) -> None:
        """The record that ends with draw ``last`` holds ``count`` draws."""
        self.unflushed += count
        self.mark(written=last)
        if 0 < self.making.flush_every <= self.unflushed:
            self.promised(last)

    def promised(self, last: int) -> None:
        self.unflushed = 0
        self.mark(written=last, promised=last)

    def open(self, seed: int) -> tuple[RewardPool, WriteAheadLog]:
        return self.making.open(self.recorded, seed)

    def reopen(self) -> tuple[RewardPool, WriteAheadLog, Recovery]:
        return self.making.recover(self.recorded)

    def snapshot(self, pool: SnapshotPool, *, incremental: bool) -> None:
        try:
            pool.snapshot(self.making.home, incremental=incremental, file_system=self.recorded)
        except SnapshotFailed:
            if not self.forgiving:
                raise
            self.unflushed = 0  # it may have failed after the sync that it begins with
        else:
            self.promised(len(self.drawn))

    def lead(self, pool: RewardPool, log: WriteAheadLog, seed: int, actions: int) -> None:
        """Draws one at a time, in batches and from reserve, and now and then a sync or a snapshot.
        Raises Broken for answers that are wrong."""
        draw = random.Random(f"{seed} {self.making.ack}")
        asking = _Asking(self, pool)
        can_batch = Capability.DRAW_MANY in self.making.backend.capabilities
        for _ in range(actions):
            what = draw.random()
            if what < 0.12 and can_batch:
                _batch(self, pool, draw.randint(2, 6))
            elif what < 0.2:
                _reserve(self, pool, keep=draw.random() < 0.7)
            elif what < 0.25:
                pool.sync()
                self.promised(len(self.drawn))
            elif what < 0.3 and self.making.snapshots and isinstance(pool, SnapshotPool):
                self.snapshot(pool, incremental=draw.random() < 0.6)
            elif self.making.ack is None:
                self.attempt(1)
                draw_id, name = pool.draw_record()
                self.done(draw_id, [name])
            else:
                asking.group(draw.randint(1, 4))
        asking.close()

    def end(self, pool: RewardPool, log: WriteAheadLog) -> None:
        pool.close()
        log.close()
        self.promised(len(self.drawn))

    # --- recovering --------------------------------------------------------------------------

    def recover(self, image: Content | None) -> int:
        pool, log, _ = self.making.recover(Recorder(image))
        found = self.check(pool, log)
        draw_id, _ = pool.draw_record()
        if draw_id != found + 1:
            raise Broken(f"after {found} draws the next id is {draw_id}")
        pool.close()
        log.close()
        return found

    def check(self, pool: RewardPool, log: WriteAheadLog) -> int:
        """How many draws ``pool`` knows of. Raises Broken unless they are the first ones."""
        found = pool.drawn
        if found not in self.ends:
            raise Broken(f"draw {found} is a part of a batch, or was never made")
        self._check_counts(pool)
        return found

    def check_failed(self, pool: RewardPool, log: WriteAheadLog, error: BenchError) -> None:
        """After a call that raised ``error``: the pool counts right, and draws nothing more. Raises
        Broken."""
        self._check_counts(pool)
        try:
            drawn = pool.draw_record()
        except BenchError:
            self._check_counts(pool)
        else:
            raise Broken(f"draw {drawn[0]} was made after {type(error).__name__}")

    def _check_counts(self, pool: RewardPool) -> None:
        found = pool.drawn
        if pool.next_id != found + 1:
            raise Broken(f"{found} draws, and the next id is {pool.next_id}")
        if found > len(self.drawn):
            raise Broken(f"{found} draws are counted; {len(self.drawn)} were made")
        taken, left = Counter(self.drawn[:found]), pool.stock()
        for item in self.making.catalogue:
            expected = None if item.stock is None else item.stock - taken[item.name]
            if left[item.name] != expected:
                told = f"{left[item.name]} of {item.name!r} are left; {taken[item.name]} were drawn"
                raise Broken(f"{told} of {item.stock}")

    def probe(self, image: Content) -> tuple[int, Recovery]:
        pool, log, recovery = self.making.recover(Recorder(image))
        found = self.check(pool, log)
        pool.close()
        log.close()
        return found, recovery

    def after(self, found: int, making: Making, recorded: Recorder | None) -> Draws:
        """A life that begins where this one was after ``found`` draws."""
        life = Draws(making, recorded, drawn=self.drawn[:found], ends={found})
        life.bounds.mark(0, promised=found, written=found, attempted=found)
        return life

    def again(self, image: Content | None, found: int) -> Draws:
        life = self.after(found, replace(self.making, ack=None), Recorder(image))
        pool, log, _ = life.reopen()
        life.lead(pool, log, seed=found, actions=8)
        return life

    def knowing(self, whole: Draws) -> None:
        """Take over what a life that began as this one did, and was not disturbed, knows of draws
        that were begun here."""
        if self.drawn != whole.drawn[: len(self.drawn)]:
            raise Broken("other items were drawn than in a life that nothing disturbed")
        self.drawn, self.ends = whole.drawn, whole.ends


def record(making: Making, seed: int, actions: int, *, closed: bool = True) -> Draws:
    life = Draws(making)
    pool, log = life.open(seed)
    life.lead(pool, log, seed, actions)
    if closed:
        life.end(pool, log)
    return life


def sayings(making: Making, image: Mapping[str, bytes]) -> list[str]:
    """What a pool that is recovered from an image says of itself. Raises what the recovery does."""
    pool, log, recovery = making.recover(Recorder(image))
    stock = pool.stock()
    lines = [f"{recovery}", f"drawn {pool.drawn}, next id {pool.next_id}"]
    for item in making.catalogue:
        left = "without end" if item.stock is None else f"{stock[item.name]} left of {item.stock}"
        lines.append(f"{item.name!r}: {left}")
    pool.close()
    log.close()
    return lines


@contextmanager
def snapshots_meanwhile(life: Draws, pool: RewardPool, seed: int) -> Iterator[None]:
    """A thread takes one snapshot after the other. Raises what it met."""
    stop, failures = threading.Event(), list[Exception]()
    draw = random.Random(seed)

    def work() -> None:
        assert isinstance(pool, SnapshotPool)
        try:
            while not stop.is_set():
                incremental = draw.random() < 0.6
                pool.snapshot(life.making.home, incremental=incremental, file_system=life.recorded)
        except Exception as error:  # raised again where somebody can meet it
            failures.append(error)

    thread = threading.Thread(target=work, name="snapshots", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _batch(life: Draws, pool: RewardPool, count: int) -> None:
    life.attempt(count)
    first, indices = pool.draw_many(count)
    life.done(first, [pool.names[index] for index in indices])


def _reserve(life: Draws, pool: RewardPool, *, keep: bool) -> None:
    index = pool.select()
    if keep:
        life.attempt(1)
        life.done(pool.commit(index), [pool.names[index]])
    else:
        pool.revert(index)


class _Asking:
    """Requests through a queue: the first is answered alone, the callback then asks for the
    others, which are answered as a group."""

    def __init__(self, life: Draws, pool: RewardPool) -> None:
        making = life.making
        self._life, self._ack, self._pool = life, making.ack, pool
        self._queue = (
            making.backend.queue(pool, ack=making.ack, mode=making.mode) if making.ack else None
        )
        self._more = self._left = 0
        self._all = threading.Event()
        self._failed: Exception | None = None

    def group(self, count: int) -> None:
        """Raises Broken for answers that are not what was asked for, and the error that one of
        them was."""
        assert self._queue is not None
        self._more, self._left = count - 1, count
        self._all.clear()
        self._life.attempt(count)
        self._queue.submit(self._answered)
        if not self._all.wait(PATIENCE if self._life.making.mode == "worker" else 0):
            raise Broken("a request was not answered")
        if self._failed is not None:
            raise self._failed
        if self._ack == "memory" and not self._life.forgiving:  # written behind the answers
            last = len(self._life.drawn)
            for draw_id in range(last - count + 1, last + 1):
                self._life.written(draw_id, 1)

    def _answered(self, draw_id: int, name: str | None, error: BaseException | None) -> None:
        """What a callback raises does not come out of ``submit``."""
        try:
            self._note(draw_id, name, error)
        except (Broken, BenchError) as failed:
            self._failed = failed
            self._all.set()
            return
        self._left -= 1
        more, self._more = self._more, 0
        assert self._queue is not None
        for _ in range(more):
            self._queue.submit(self._answered)
        if not self._left:
            self._all.set()

    def _note(self, draw_id: int, name: str | None, error: BaseException | None) -> None:
        if name is None:
            raise error if isinstance(error, BenchError) else Broken(f"an answer was {error}")
        self._life.done(draw_id, [name], written=self._ack != "memory")
        if self._ack == "durable":
            self._life.promised(draw_id)

    def close(self) -> None:
        if self._queue is not None:
            self._queue.close()
