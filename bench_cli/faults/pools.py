"""Layers A and E for a reward pool on a log: every promised draw once, ids without a gap, nothing
invented, and drawn + left = what there was, after any crash and with or without snapshots."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench_cli.faults.explore import Bounds, Broken
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
FLUSH_EVERY = {"never": 0, "record": 1, "every": 8}
ACKS = (None, "logged", "durable", "memory")
"""How draws are asked for: of the pool itself, or through a queue that answers then."""


@dataclass(frozen=True, slots=True)
class Making:
    """Which pool on which log. ``flush_every`` as the pool takes it."""

    backend: PoolBackend
    log_backend: LogBackend
    format: str
    segment: int
    items: Sequence[Item] = ENDLESS
    flush_every: int = 0
    selector: str = "fenwick"

    def options(self, disk: Recorder) -> LogOptions:
        return LogOptions(self.format, self.segment, disk)

    def open(self, disk: Recorder, seed: int) -> tuple[RewardPool, WriteAheadLog]:
        log = self.log_backend.open(HOME, self.options(disk))
        pool = self.backend.open(
            self.items,
            seed=seed,
            log=log,
            selector=self.selector,
            flush_every=self.flush_every,
        )
        return pool, log

    def recover(self, disk: Recorder) -> tuple[RewardPool, WriteAheadLog, Recovery]:
        return self.backend.recover(
            self.items,
            seed=99,
            backend=self.log_backend,
            directory=HOME,
            options=self.options(disk),
            selector=self.selector,
            flush_every=self.flush_every,
        )

    @property
    def snapshots(self) -> bool:
        return Capability.SNAPSHOT in self.backend.capabilities


@dataclass(slots=True)
class Draws:
    """``drawn[i]`` is the item of draw i + 1. ``ends``: where a recovery may end without cutting
    a batch. ``unflushed`` counts as the pool does."""

    making: Making
    disk: Recorder = field(default_factory=Recorder)
    bounds: Bounds = field(default_factory=Bounds)
    drawn: list[str] = field(default_factory=list)
    ends: set[int] = field(default_factory=lambda: {0})
    unflushed: int = 0

    # --- doing -------------------------------------------------------------------------------

    def attempt(self, count: int) -> None:
        self.bounds.mark(len(self.disk.ops), attempted=len(self.drawn) + count)

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
        self.bounds.mark(len(self.disk.ops), written=last)
        if 0 < self.making.flush_every <= self.unflushed:
            self.promised(last)

    def promised(self, last: int) -> None:
        self.unflushed = 0
        self.bounds.mark(len(self.disk.ops), written=last, promised=last)

    # --- recovering --------------------------------------------------------------------------

    def recover(self, image: Content | None) -> int:
        pool, log, _ = self.making.recover(Recorder(image))
        found = self.check(pool)
        draw_id, _ = pool.draw_record()
        if draw_id != found + 1:
            raise Broken(f"after {found} draws the next id is {draw_id}")
        pool.close()
        log.close()
        return found

    def check(self, pool: RewardPool) -> int:
        """How many draws ``pool`` knows of. Raises Broken unless they are the first ones."""
        found = pool.drawn
        if pool.next_id != found + 1:
            raise Broken(f"{found} draws, and the next id is {pool.next_id}")
        if found not in self.ends:
            raise Broken(f"draw {found} is a part of a batch, or was never made")
        taken, left = Counter(self.drawn[:found]), pool.stock()
        for item in self.making.items:
            expected = None if item.stock is None else item.stock - taken[item.name]
            if left[item.name] != expected:
                told = f"{left[item.name]} of {item.name!r} are left; {taken[item.name]} were drawn"
                raise Broken(f"{told} of {item.stock}")
        return found

    def probe(self, image: Content) -> tuple[int, Recovery]:
        pool, log, recovery = self.making.recover(Recorder(image))
        found = self.check(pool)
        pool.close()
        log.close()
        return found, recovery

    def again(self, image: Content | None, found: int) -> Draws:
        disk = Recorder(image)
        life = Draws(self.making, disk, drawn=self.drawn[:found], ends={found})
        life.bounds.mark(0, promised=found, written=found, attempted=found)
        pool, log, _ = self.making.recover(disk)
        lead(life, pool, log, seed=found, actions=8, ack=None)
        return life


def record(
    making: Making, seed: int, actions: int, ack: str | None = None, *, closed: bool = True
) -> Draws:
    life = Draws(making)
    pool, log = making.open(life.disk, seed)
    lead(life, pool, log, seed, actions, ack, closed=closed)
    return life


def lead(
    life: Draws,
    pool: RewardPool,
    log: WriteAheadLog,
    seed: int,
    actions: int,
    ack: str | None,
    *,
    closed: bool = False,
) -> None:
    """Draws one at a time, in batches and from reserve, and now and then a sync or a snapshot."""
    draw = random.Random(f"{seed} {ack}")
    asking = _Asking(life, pool, ack)
    for _ in range(actions):
        what = draw.random()
        if what < 0.12 and Capability.DRAW_MANY in life.making.backend.capabilities:
            _batch(life, pool, draw.randint(2, 6))
        elif what < 0.2:
            _reserve(life, pool, keep=draw.random() < 0.7)
        elif what < 0.25:
            pool.sync()
            life.promised(len(life.drawn))
        elif what < 0.3 and life.making.snapshots and isinstance(pool, SnapshotPool):
            incremental = draw.random() < 0.6
            pool.snapshot(HOME, incremental=incremental, file_system=life.disk)
            life.promised(len(life.drawn))
        elif ack is None:
            life.attempt(1)
            draw_id, name = pool.draw_record()
            life.done(draw_id, [name])
        else:
            asking.group(draw.randint(1, 4))
    if closed:
        asking.close()
        pool.close()
        log.close()
        life.promised(len(life.drawn))


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

    def __init__(self, life: Draws, pool: RewardPool, ack: str | None) -> None:
        self._life, self._ack = life, ack
        self._queue = life.making.backend.queue(pool, ack=ack) if ack else None
        self._more = 0
        self._broken: Broken | None = None

    def group(self, count: int) -> None:
        """Raises Broken for answers that are not what was asked for."""
        assert self._queue is not None
        self._more = count - 1
        self._life.attempt(count)
        self._queue.submit(self._answered)
        if self._broken is not None:
            raise self._broken
        if self._ack == "memory":  # written behind the answers
            last = len(self._life.drawn)
            for draw_id in range(last - count + 1, last + 1):
                self._life.written(draw_id, 1)

    def _answered(self, draw_id: int, name: str | None, error: BaseException | None) -> None:
        """What a callback raises does not come out of ``submit``."""
        try:
            if name is None:
                raise Broken(f"a request was answered with {error}")
            self._life.done(draw_id, [name], written=self._ack != "memory")
        except Broken as broken:
            self._broken = broken
            return
        if self._ack == "durable":
            self._life.promised(draw_id)
        more, self._more = self._more, 0
        assert self._queue is not None
        for _ in range(more):
            self._queue.submit(self._answered)

    def close(self) -> None:
        if self._queue is not None:
            self._queue.close()
