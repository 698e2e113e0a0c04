"""Both twins of the block cache, and what the cache tests share."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from bench_cli.interfaces import CacheBackend, CacheOptions

KIB, MIB = 1 << 10, 1 << 20
TWINS = ("bench_cli.cache.python", "bench_cli.cache.native")


def load(module: str) -> CacheBackend:
    try:
        backend: CacheBackend = importlib.import_module(module).Backend()
    except ImportError as missing:
        pytest.skip(f"{module} is not built: {missing}")
    return backend


def small(**changes: Any) -> CacheOptions:
    """Blocks of 4 KiB, four to a chunk: many blocks from few bytes."""
    return CacheOptions(**{"block_size": 4 * KIB, "chunk_size": 16 * KIB, **changes})


def random_bytes(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def read(cache: Any, name: str, offset: int, length: int) -> bytes:
    """What is read over a buffer of ones, so that bytes left alone show."""
    buffer = bytearray(b"\xff" * length)
    cache.read_into(name, offset, buffer)
    return bytes(buffer)


def upload(cache: Any, name: str | None = None) -> None:
    """Mark everything dirty as uploaded."""
    for name_, block, generation in cache.dirty_blocks(name):
        assert cache.mark_uploaded(name_, block, generation)


class FakeClock:
    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        return self.now

    def wall_ns(self) -> int:
        return self.now


class FakeWaiter:
    """Waiting passes no real time: it runs ``meanwhile`` once (what another thread would do), or
    lets the clock reach the time limit."""

    def __init__(self, clock: FakeClock, meanwhile: Callable[[], None] | None = None) -> None:
        self.clock = clock
        self.meanwhile = meanwhile
        self.waits: list[int] = []
        self.wakes = 0

    def ticket(self) -> int:
        return self.wakes

    def wait(self, ticket: int, timeout_ns: int) -> None:
        self.waits.append(timeout_ns)
        if self.meanwhile is None:
            self.clock.now += timeout_ns
            return
        work, self.meanwhile = self.meanwhile, None
        self.clock.now += 10
        work()

    def wake(self) -> None:
        self.wakes += 1
