"""Both twins, step by step, against a model that is nothing but a dictionary and a list."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bench_cli.errors import EngineError, LogWriteFailed, PoolExhausted
from bench_cli.interfaces import Item, LogOptions
from tests.contract.pool_backends import TWINS
from tests.rewards.ledger_logs import MemoryLogBackend

HERE = Path("log")
ITEMS = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 9), st.integers(1, (1 << 59) - 1)),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    min_size=1,
    max_size=9,
)


class Model:
    """A pool without selectors, locks or records: what must come out."""

    def __init__(self, items: list[Item], seed: int) -> None:
        self.items = items
        self.names = [item.name for item in items]
        self.stock = {item.name: item.stock for item in items}
        self.draws: list[str] = []
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        self.bits = numpy.random.PCG64(seed)

    def pick(self) -> str | None:
        """Linear search over what is left; None when nothing is."""
        weights = [item.weight if self.stock[item.name] != 0 else 0 for item in self.items]
        total = sum(weights)
        if not total:
            return None
        while True:
            number, low = divmod(int(self.bits.random_raw()) * total, 1 << 64)
            if low >= (1 << 64) % total:
                break
        sums = accumulate(weights)
        return next(name for name, upto in zip(self.names, sums, strict=True) if upto > number)

    def move(self, name: str, by: int) -> None:
        left = self.stock[name]
        if left is not None:
            self.stock[name] = left + by


class Twin:
    """One pool on a log that outlives it."""

    def __init__(self, backend: Any, items: list[Item], seed: int, selector: str, fmt: str) -> None:
        self.backend, self.items, self.selector = backend, items, selector
        self.options = LogOptions(format=fmt)
        self.logs = MemoryLogBackend()
        self.log = self.logs.open(HERE, self.options)
        self.pool = backend.open(items, seed=seed, log=self.log, selector=selector)

    def crash(self, seed: int) -> None:
        self.logs.crash(HERE)
        self.pool, self.log, _ = self.backend.recover(
            self.items,
            seed=seed,
            backend=self.logs,
            directory=HERE,
            options=self.options,
            selector=self.selector,
        )

    def outcome(self, method: str, *arguments: Any) -> Any:
        """What a call returns, or the type of what it raises."""
        try:
            result = getattr(self.pool, method)(*arguments)
        except EngineError as error:
            return type(error)
        return (result[0], list(result[1])) if method == "draw_many" else result


class PoolMachine(RuleBasedStateMachine):
    @initialize(
        items=ITEMS,
        seed=st.integers(0, 1 << 64),
        selectors=st.permutations(["fenwick", "prefix_sum"]),
        fmt=st.sampled_from(["binary", "text", "jsonl"]),
    )
    def start(self, items: Any, seed: int, selectors: list[str], fmt: str) -> None:
        catalogue = [Item(f"no. {n}%", weight, left) for n, (weight, left) in enumerate(items)]
        self.model = Model(catalogue, seed)
        self.twins = [
            Twin(case.load(), catalogue, seed, selector, fmt)
            for case, selector in zip(TWINS, selectors, strict=True)
        ]
        self.reserved: list[str] = []
        self.durable: list[str] = []
        self.failing = False

    def both(self, method: str, *arguments: Any) -> Any:
        first, second = (twin.outcome(method, *arguments) for twin in self.twins)
        assert first == second
        return first

    def fails_now(self) -> bool:
        failing, self.failing = self.failing, False
        return failing

    @rule()
    def the_next_append_will_fail(self) -> None:
        self.failing = True
        for twin in self.twins:
            twin.log.fail_appends = frozenset({twin.log.appends + 1})

    @rule(with_id=st.booleans())
    def draw(self, with_id: bool) -> None:
        result = self.both("draw_record" if with_id else "draw")
        name = self.model.pick()
        if name is None:
            assert result is PoolExhausted
        elif self.fails_now():
            assert result is LogWriteFailed
        else:
            self.model.move(name, -1)
            self.model.draws.append(name)
            assert result == ((len(self.model.draws), name) if with_id else name)

    @rule(count=st.integers(1, 12))
    def draw_many(self, count: int) -> None:
        result = self.both("draw_many", count)
        batch: list[str] = []
        while len(batch) < count and (name := self.model.pick()) is not None:
            self.model.move(name, -1)
            batch.append(name)
        if not batch:
            assert result is PoolExhausted
        elif self.fails_now():
            assert result is LogWriteFailed
            for name in batch:
                self.model.move(name, +1)
        else:
            first_id = len(self.model.draws) + 1
            assert result == (first_id, [self.model.names.index(name) for name in batch])
            self.model.draws += batch

    @rule()
    def select(self) -> None:
        result = self.both("select")
        name = self.model.pick()
        if name is None:
            assert result is PoolExhausted
        else:
            assert self.model.names[result] == name
            self.model.move(name, -1)
            self.reserved.append(name)

    @precondition(lambda self: self.reserved)
    @rule(place=st.integers(0, 100))
    def commit(self, place: int) -> None:
        name = self.reserved.pop(place % len(self.reserved))
        result = self.both("commit", self.model.names.index(name))
        if self.fails_now():
            assert result is LogWriteFailed
            self.model.move(name, +1)
        else:
            self.model.draws.append(name)
            assert result == len(self.model.draws)

    @precondition(lambda self: self.reserved)
    @rule(place=st.integers(0, 100))
    def revert(self, place: int) -> None:
        name = self.reserved.pop(place % len(self.reserved))
        assert self.both("revert", self.model.names.index(name)) is None
        self.model.move(name, +1)

    @rule()
    def sync(self) -> None:
        assert self.both("sync") is None
        self.durable = list(self.model.draws)

    @rule(seed=st.integers(0, 1 << 64))
    def crash_and_recover(self, seed: int) -> None:
        for twin in self.twins:
            twin.crash(seed)
        self.model = Model(self.model.items, seed)
        self.model.draws = list(self.durable)
        for name in self.durable:
            self.model.move(name, -1)
        self.reserved, self.failing = [], False

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        for twin in self.twins:
            assert twin.pool.stock() == self.model.stock
            assert twin.pool.drawn == twin.pool.next_id - 1 == len(self.model.draws)
        assert self.twins[0].log.records == self.twins[1].log.records


PoolMachine.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestTwinsAgainstTheModel = PoolMachine.TestCase
