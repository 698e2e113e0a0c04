"""Reward draw rows: pick a prize by weight, log the draw, take it from stock.

Pools are filled so that no batch meets an empty one (except ``rewards.exhaust``, whose point it
is), and every batch is checked: stock left = stock - draws, records in the log = draws.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from functools import partial
from itertools import repeat
from typing import Any, cast

from bench_cli.errors import PoolExhausted, Unsupported, VerificationFailed
from bench_cli.interfaces import (
    Body,
    BodyInfo,
    Capability,
    Item,
    LogBackend,
    Needs,
    Parameter,
    PoolBackend,
    RewardPool,
    Setting,
    SnapshotPool,
    WriteAheadLog,
)
from bench_cli.workloads.base import (
    MIB,
    Declared,
    PlainBody,
    choice,
    count,
    durable_copy,
    expect,
    laps,
    size,
)
from bench_cli.workloads.wal import log_options

PLENTY = 1 << 40
"""Stock of an item that must not run out."""
MOST_DRAWS = {"native": 100_000, "python": 10_000}
LEAST_DRAWS = 2_000
QUEUED_DRAWS = {"native": 20_000, "python": 4_000}
SNAPSHOTS_AFTER: dict[str, tuple[int, ...]] = {"none": (), "full": (99,), "incremental": (98, 99)}
"""After which percentages of the draws a recovery row took a snapshot."""


def catalogue(items: int, stock: int | None, weights: str) -> list[Item]:
    """``equal``: all weights 1; ``skewed``: 1, 2, 3 ... so that every item is rarer than the
    next. Names are as long as real ones."""
    return [
        Item(f"prize-{number:05d}", 1 if weights == "equal" else number + 1, stock)
        for number in range(items)
    ]


class PoolBody(PlainBody):
    """A body over one pool and the log behind it."""

    unit = "draws"

    def __init__(self, setting: Setting) -> None:
        assert setting.backend is not None  # a pool row always names its backend
        self.setting = setting
        params = setting.params
        self.backend = cast(PoolBackend, setting.engines.resolve(setting.backend))
        self.log_backend = cast(LogBackend, setting.engines.resolve(str(params["wal"])))
        self.options = log_options(params)
        self.place = setting.scratch / "log"
        self.log: WriteAheadLog = self.log_backend.open(self.place, self.options)
        self.items = catalogue(int(params["items"]), self.stock_each(), str(params["weights"]))
        self.pool = self.open_pool(self.log)
        self.drawn = 0
        self._start = 0

    def stock_each(self) -> int | None:
        return PLENTY

    def open_pool(self, log: WriteAheadLog) -> Any:
        params = self.setting.params
        return self.backend.open(
            self.items,
            seed=self.setting.seed,
            log=log,
            selector=str(params["selector"]),
            flush_every=int(params["flush_every"]),
        )

    def empty_log(self) -> None:
        """What the pool knows is kept; the log starts again, as after a checkpoint."""
        self.log.reset()
        self._mark()

    def _mark(self) -> None:
        self.drawn = self.pool.drawn
        self._start = self.log.stats().bytes

    def prepare(self) -> None:
        self.empty_log()

    def verify(self) -> None:
        self.check_draws(self.info.ops)

    def check_draws(self, wanted: int) -> None:
        expect("draws", self.pool.drawn - self.drawn, wanted)
        taken = sum(PLENTY - (left or 0) for left in self.pool.stock().values())
        expect("stock taken", taken, self.pool.drawn)
        self.check_log(wanted)

    def check_log(self, wanted: int) -> None:
        """Every draw of the batch is in the log, once."""
        if Capability.RECOVERY in self.log_backend.capabilities:
            found = self.log_backend.recover(self.place, self.options)
            expect("damages found by recovery", found.damages, ())
            expect("records in the log", found.records, self.records(wanted))

    def records(self, draws: int) -> int:
        return draws

    def metrics(self) -> dict[str, float]:
        stats = self.log.stats()
        if not stats.file_size:
            return {}
        return {
            "wal_bytes_per_op": (stats.bytes - self._start) / self.info.ops,
            "wal_file_size": float(stats.file_size),
            "wal_allocated_bytes": float(stats.allocated),
        }

    def close(self) -> None:
        self.pool.close()
        self.log.close()


class DrawBody(PoolBody):
    """One draw per lap, or one batch of draws."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.batch = int(setting.params["batch"])
        if self.batch > 1 and Capability.DRAW_MANY not in self.backend.capabilities:
            raise Unsupported(f"{setting.backend} does not offer: {Capability.DRAW_MANY}")
        most = MOST_DRAWS[setting.core or "python"]
        flush = int(setting.params["flush_every"])
        if flush:
            most = min(most, max(50, flush * 50))  # a sync takes long; keep a batch short
        self.laps = laps(max(1, setting.batch(most, LEAST_DRAWS) // self.batch))
        # bound once, so that a batch allocates nothing of its own
        self.draw = self.pool.draw
        self.draw_many: Any = self.pool.draw_many if self.batch > 1 else None
        self.info = BodyInfo(len(self.laps) * self.batch, unit=self.unit, loop=self.laps)
        self.steps = len(self.laps)

    def stepper(self) -> Callable[[], object]:
        if self.batch > 1:
            return partial(self.pool.draw_many, self.batch)
        draw: Callable[[], object] = self.pool.draw
        return draw

    def verify_steps(self, count: int) -> None:
        self.check_draws(count * self.batch)

    def run(self) -> None:
        if self.batch > 1:
            draw_many, batch = self.draw_many, self.batch
            for _ in self.laps:
                draw_many(batch)
            return
        draw = self.draw
        for _ in self.laps:
            draw()

    def records(self, draws: int) -> int:
        return draws // self.batch


class QueuedBody(PoolBody):
    """Draws through the request queue: ``in_flight`` requests are open at any time, each answer
    asks for the next draw."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if Capability.QUEUE not in self.backend.capabilities:
            raise Unsupported(f"{setting.backend} has no request queue")
        params = setting.params
        self.in_flight = int(params["in_flight"])
        self.queue = self.backend.queue(
            self.pool, capacity=2 * self.in_flight, ack=str(params["ack"]), mode=str(params["mode"])
        )
        total = setting.batch(QUEUED_DRAWS[setting.core or "python"], LEAST_DRAWS)
        if params["ack"] == "durable":
            total = min(total, 50 * self.in_flight)
        self.info = BodyInfo(max(1, total // self.in_flight) * self.in_flight, unit=self.unit)
        if self.in_flight == 1:  # with more, one request's time is that of those before it too
            self.steps = self.info.ops
        self._done = threading.Event()
        self.open = 0
        self.failure: BaseException | None = None

    def prepare(self) -> None:
        super().prepare()
        self.open = self.in_flight
        self.failure = None
        self._done.clear()

    def run(self) -> None:
        """The first answer fills the queue up to ``in_flight``; each later one refills it, and the
        last ones, when nothing is left to ask for, are counted."""
        submit = self.queue.submit
        done, in_flight = self._done, self.in_flight
        more = repeat(True, self.info.ops - in_flight)  # counts without making a number

        def answered(draw: int, item: str | None, error: BaseException | None) -> None:
            if error is not None:
                self.failure = error
                done.set()
                return
            if next(more, False):
                submit(answered)
                return
            self.open -= 1
            if not self.open:
                done.set()

        def first(draw: int, item: str | None, error: BaseException | None) -> None:
            for _ in range(in_flight - 1):
                submit(answered)
            answered(draw, item, error)

        submit(first)
        done.wait()

    def stepper(self) -> Callable[[], object]:
        """One request and its answer."""
        submit, done = self.queue.submit, self._done

        def answered(draw: int, item: str | None, error: BaseException | None) -> None:
            self.failure = error or self.failure
            done.set()

        def step() -> None:
            done.clear()
            submit(answered)
            done.wait()

        return step

    def verify(self) -> None:
        self.verify_steps(self.info.ops)

    def verify_steps(self, count: int) -> None:
        if self.failure is not None:
            raise VerificationFailed(f"a queued draw failed: {self.failure}")
        self.pool.sync()  # with ack "memory" the last reply comes before its record
        self.check_draws(count)

    def close(self) -> None:
        self.queue.close()
        super().close()


class ExhaustBody(PoolBody):
    """Draw a pool until nothing is left: totals exact, no item over-delivered."""

    def __init__(self, setting: Setting) -> None:
        self.stock = int(setting.params["stock"])
        super().__init__(setting)
        self.info = BodyInfo(self.stock * len(self.items), unit=self.unit)

    def stock_each(self) -> int | None:
        return self.stock

    def prepare(self) -> None:
        self.pool.close()
        self.pool = self.open_pool(self.log)
        self.empty_log()

    def run(self) -> None:
        draw = self.pool.draw
        try:
            while True:
                draw()
        except PoolExhausted:
            return

    def verify(self) -> None:
        expect("draws until empty", self.pool.drawn, self.info.ops)
        expect("items left", sum(left or 0 for left in self.pool.stock().values()), 0)
        self.check_log(self.info.ops)


class RecoverBody(PlainBody):
    """Rebuild a pool from the log of ``draws`` draws, until usable.

    ``snapshot: full``: one after 99 % of the draws; ``incremental``: a full one after 98 %, and one
    that adds to it after 99 %. The log then holds what is left."""

    def __init__(self, setting: Setting) -> None:
        assert setting.backend is not None  # a pool row always names its backend
        params = setting.params
        self.setting = setting
        self.backend = cast(PoolBackend, setting.engines.resolve(setting.backend))
        self.log_backend = cast(LogBackend, setting.engines.resolve(str(params["wal"])))
        if Capability.RECOVERY not in self.log_backend.capabilities:
            raise Unsupported(f"{params['wal']} keeps nothing to recover from")
        self.snapshots = SNAPSHOTS_AFTER[str(params["snapshot"])]
        if self.snapshots and Capability.SNAPSHOT not in self.backend.capabilities:
            raise Unsupported(f"{setting.backend} does not offer: {Capability.SNAPSHOT}")
        self.options = log_options(params)
        self.place = setting.scratch / "log"
        self.items = catalogue(int(params["items"]), PLENTY, str(params["weights"]))
        self.draws = int(params["draws"])
        self.stock = self._write_log(int(params["batch"]))
        self.pool: Any = None
        self.log: WriteAheadLog | None = None
        self.info = BodyInfo(self.draws, unit="draws")

    def _write_log(self, batch: int) -> dict[str, int | None]:
        log = self.log_backend.open(self.place, self.options)
        pool = self.backend.open(self.items, seed=self.setting.seed, log=log)
        for number, percent in enumerate(self.snapshots):
            self._draw(pool, batch, self.draws * percent // 100)
            cast(SnapshotPool, pool).snapshot(self.place, incremental=number > 0)
        self._draw(pool, batch, self.draws)
        stock = pool.stock()
        pool.close()
        log.close()
        self.pristine = self.setting.scratch / "pristine"
        shutil.copytree(self.place, self.pristine)
        return stock

    @staticmethod
    def _draw(pool: RewardPool, batch: int, until: int) -> None:
        """Draw until so many are drawn in all."""
        for _ in range(until - pool.drawn if batch == 1 else 0):
            pool.draw()
        while pool.drawn < until:
            pool.draw_many(min(batch, until - pool.drawn))

    def prepare(self) -> None:
        """Recovery opens the log for appending, so each batch starts from a copy. The log it is a
        copy of was closed, hence on the device: so is the copy, or recovery would wait for it."""
        self._release()
        shutil.rmtree(self.place)
        durable_copy(self.pristine, self.place)

    def run(self) -> None:
        self.pool, self.log, self.found = self.backend.recover(
            self.items,
            seed=self.setting.seed,
            backend=self.log_backend,
            directory=self.place,
            options=self.options,
        )

    def verify(self) -> None:
        expect("draws recovered", self.pool.drawn, self.draws)
        expect("stock after recovery", self.pool.stock(), self.stock)
        expect("snapshots used", len(self.found.snapshots.chain), len(self.snapshots))
        expect("snapshots rejected", self.found.snapshots.rejected, ())

    def _release(self) -> None:
        if self.log is not None:
            self.pool.close()
            self.log.close()
            self.log = None

    def close(self) -> None:
        self._release()


def _draw_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    """A draw cannot cost less than a call; on wal.basic not less than its write(2)."""
    if int(params.get("batch", 1)) > 1 or int(params["flush_every"]):
        return None
    if params["wal"] == "wal.basic":
        return "limits.write_syscall"
    return "limits.call"


def _no_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    return None


def _pool_needs(params: Mapping[str, Any]) -> Needs:
    records = int(params.get("draws", 0)) + int(params.get("stock", 0)) * int(params["items"])
    segment = int(params["segment"])
    return Needs(96 * MIB + 400 * int(params["items"]), 2 * segment + 3 * 48 * records)


def _declared(
    name: str,
    help: str,
    make: type[Body] | Any,
    *own: Parameter,
    requires: frozenset[Capability] = frozenset(),
    ceiling: Any = _no_ceiling,
) -> Declared:
    group = "Draws by WAL type" if name == "draw" else "Draws: queue, exhaustion, recovery"
    return Declared(f"rewards.{name}", "rewards", group, help, make, (*own, *_COMMON),
                    requires, _pool_needs, ceiling)  # fmt: skip


_COMMON = (
    Parameter("wal", "backend", "wal.none", "the log behind the pool", choices=("wal",)),
    count("items", 10, "items in the catalogue", most=1_000_000),
    choice("weights", "skewed", "1, 2, 3 ... or all the same", "skewed", "equal"),
    choice("selector", "fenwick", "how an item is found", "fenwick", "prefix_sum"),
    count("flush_every", 0, "sync the log after that many draws; 0: never", 0),
    choice("format", "binary", "how records are written", "binary", "text", "jsonl"),
    size("segment", 64 * MIB, "bytes of one log file before it rotates", 1 * MIB),
)

WORKLOADS = (
    _declared("draw", "one draw: pick, log, take from stock", DrawBody,
              count("batch", 1, "draws of one draw_many; 1: draw", most=65_535),
              requires=frozenset({Capability.LOGGED}), ceiling=_draw_ceiling),
    _declared("draw_queued", "a draw through the request queue and its callback", QueuedBody,
              count("in_flight", 1, "requests open at any time", most=100_000),
              choice("ack", "logged", "when a request is answered", "memory", "logged", "durable"),
              choice("mode", "caller", "who works on the queue", "caller", "worker"),
              requires=frozenset({Capability.LOGGED, Capability.QUEUE})),
    _declared("exhaust", "draw until every item is gone", ExhaustBody,
              count("stock", 50, "pieces of each item", most=1_000_000)),
    _declared("recover", "rebuild a pool from its log, until usable", RecoverBody,
              count("draws", 100_000, "draws in the log", most=100_000_000),
              count("batch", 1, "draws per log record", most=65_535),
              choice("snapshot", "none", "what holds the first 99 % of the draws",
                     *SNAPSHOTS_AFTER),
              count("workers", 1, "threads that read the log", most=64)),
)  # fmt: skip
