"""What is done with a block cache on a log to prove it: after any crash and any error no dirty
block is lost, no byte is claimed that is not held, what was marked as uploaded stays clean, and
sizes are what they were.

A step is a record of the log. What must be there after each of them is kept twice over: files and
dirty blocks as the cache itself told them, and the bytes of each block as they were written."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_cli.errors import BenchError, FileNotCached, SnapshotFailed
from bench_cli.faults.explore import Broken, Doing
from bench_cli.faults.images import Content
from bench_cli.faults.recorder import HOME, Recorder
from bench_cli.interfaces import (
    BlockCache,
    CacheBackend,
    CacheOptions,
    LogBackend,
    LogOptions,
    Recovery,
    WriteAheadLog,
)

BLOCK = 4096
SIZES = CacheOptions(block_size=BLOCK, chunk_size=2 * BLOCK)
NAMES = ("a", "dir/b\u00fc", "c")
LARGEST = 3 * BLOCK  # where writes end
SYNC_EVERY = {"never": 0, "record": 1, "every": 8}

Lengths = tuple[int, ...]
LENGTHS: Lengths = (1, 16, 100, 100, 600, 3000, 5000)
SMALL: Lengths = (1, 8, 30)
"""Of writes; with small ones every bit of a snapshot can be tried."""

Key = tuple[str, int]
"""(file, number of the block)."""


@functools.cache
def _in_store(name: str) -> bytes:
    """More than any file's size."""
    return random.Random(name).randbytes(2 * LARGEST)


@dataclass(frozen=True, slots=True)
class Held:
    """A block's bytes. ``known`` has 1 for each byte ever written or filled; ``owed`` for those
    written since it was last clean, which only the cache has."""

    data: bytes = bytes(BLOCK)
    known: bytes = bytes(BLOCK)
    owed: bytes = bytes(BLOCK)

    def written(self, start: int, part: bytes) -> Held:
        end = start + len(part)
        ones = b"\1" * len(part)
        return Held(
            self.data[:start] + part + self.data[end:],
            self.known[:start] + ones + self.known[end:],
            self.owed[:start] + ones + self.owed[end:],
        )

    def stored(self, name: str, number: int, start: int, length: int) -> bytes:
        """What a store has: the bytes that were uploaded, and others that never change. They may
        be known and no longer held, after an eviction or a recovery, and are then filled again."""
        fresh = _in_store(name)[number * BLOCK :]
        span = range(start, start + length)
        return bytes(self.data[at] if self.known[at] else fresh[at] for at in span)

    def filled(self, start: int, part: bytes) -> Held:
        """Never over bytes that are known."""
        data, known = bytearray(self.data), bytearray(self.known)
        for at, byte in enumerate(part, start):
            if not known[at]:
                data[at], known[at] = byte, 1
        return Held(bytes(data), bytes(known), self.owed)

    def cut(self, length: int) -> Held:
        rest = bytes(BLOCK - length)
        return Held(
            self.data[:length] + rest, self.known[:length] + rest, self.owed[:length] + rest
        )

    def clean(self) -> Held:
        return Held(self.data, self.known)


@dataclass(slots=True)
class State:
    """What there is after a step. ``sizes`` and ``dirty`` None: the cache was not asked then, in
    the middle of a call."""

    blocks: dict[Key, Held]
    sizes: list[tuple[str, int]] | None = None
    dirty: set[Key] | None = None

    def check(self, cache: BlockCache) -> None:
        """Raises Broken."""
        if self.sizes is not None and cache.list_files() != self.sizes:
            raise Broken(f"files {cache.list_files()}, not {self.sizes}")
        dirty = dirty_of(cache)
        if self.dirty is not None and not dirty <= self.dirty:
            raise Broken(f"{min(dirty - self.dirty)} is dirty, which was marked as uploaded")
        owed = {key for key, held in self.blocks.items() if 1 in held.owed}
        if not owed <= dirty:
            raise Broken(f"{min(owed - dirty)} is not dirty, and has bytes only the cache had")
        for name, size in cache.list_files():
            whole = bytearray(size)
            cache.read_into(name, 0, whole)
            for number in range(LARGEST // BLOCK + 1):
                held = self.blocks.get((name, number), Held())
                got = _extents(cache, name, number)
                _check_block(held, got, f"block {number} of {name!r}", (name, number) in dirty)
                _check_read(cache, name, number, whole, got)


def dirty_of(cache: BlockCache) -> set[Key]:
    return {(name, number) for name, number, _ in cache.dirty_blocks()}


def _extents(cache: BlockCache, name: str, number: int) -> list[tuple[int, bytes]]:
    try:
        return cache.read_block(name, number)[1]
    except FileNotCached:
        return []


def _check_block(held: Held, got: list[tuple[int, bytes]], what: str, dirty: bool) -> None:
    claimed = bytearray(BLOCK)
    for start, data in got:
        end = start + len(data)
        claimed[start:end] = b"\1" * len(data)
        if 0 in held.known[start:end]:
            raise Broken(f"{what} claims bytes {start}..{end}, not all of which were ever written")
        if data != held.data[start:end]:
            raise Broken(f"{what} has other bytes at {start}..{end} than were written")
    if dirty and int.from_bytes(held.owed, "big") & ~int.from_bytes(claimed, "big"):
        raise Broken(f"{what} is dirty and lacks bytes that were written")


def _check_read(
    cache: BlockCache, name: str, number: int, whole: bytearray, got: list[tuple[int, bytes]]
) -> None:
    """A read gives the held bytes and zeros between them, and coverage says which is which."""
    block = bytearray(BLOCK)
    for start, data in got:
        block[start : start + len(data)] = data
        if not cache.is_range_covered(name, number * BLOCK + start, len(data)):
            raise Broken(f"bytes of {name!r} are held and not covered")
    part = whole[number * BLOCK : (number + 1) * BLOCK]
    if part != block[: len(part)]:
        raise Broken(f"a read of block {number} of {name!r} is not what it holds")


@dataclass(frozen=True, slots=True)
class Making:
    backend: CacheBackend
    log_backend: LogBackend
    format: str
    segment: int
    sync_every: int = 0
    lengths: Lengths = LENGTHS
    home: Path = HOME

    def setting(self) -> dict[str, Any]:
        """What a recovery has to be told, for an image that is kept."""
        return {"segment": self.segment}

    def options(self, disk: Recorder | None) -> LogOptions:
        return LogOptions(self.format, self.segment, disk)

    def open(self, disk: Recorder | None) -> tuple[BlockCache, WriteAheadLog]:
        log = self.log_backend.open(self.home, self.options(disk))
        return self.backend.open(SIZES, log=log, directory=self.home, file_system=disk), log

    def recover(self, disk: Recorder | None) -> tuple[BlockCache, WriteAheadLog, Recovery]:
        return self.backend.recover(
            SIZES, backend=self.log_backend, directory=self.home, log_options=self.options(disk)
        )


@dataclass(slots=True)
class Work(Doing):
    """``states[i]`` holds after step i."""

    making: Making
    states: list[State] = field(default_factory=lambda: [State({}, [], set())])
    unsynced: int = 0

    def attempt(self, count: int) -> None:
        self.mark(attempted=len(self.states) - 1 + count)

    def promised(self) -> None:
        last = len(self.states) - 1
        self.unsynced = 0
        self.mark(written=last, promised=last)

    def open(self, seed: int) -> tuple[BlockCache, WriteAheadLog]:
        return self.making.open(self.recorded)

    def reopen(self) -> tuple[BlockCache, WriteAheadLog, Recovery]:
        return self.making.recover(self.recorded)

    def lead(self, cache: BlockCache, log: WriteAheadLog, seed: int, actions: int) -> None:
        """Writes of all sizes, and everything else a cache is asked for now and then."""
        draw = random.Random(seed)
        user = _User(self, cache, log, draw)
        asked = (
            (0.5, user.write), (0.58, user.write_many), (0.66, user.truncate), (0.71, user.remove),
            (0.83, user.upload), (0.87, user.fill), (0.89, user.evict), (0.94, user.checkpoint),
            (1.0, user.sync),
        )  # fmt: skip
        for _ in range(actions):
            what = draw.random()
            next(do for share, do in asked if what < share)()

    def end(self, cache: BlockCache, log: WriteAheadLog) -> None:
        cache.close()
        log.close()
        self.promised()

    def recover(self, image: Content | None) -> int:
        cache, log, _ = self.making.recover(Recorder(image))
        found = self.check(cache, log)
        cache.write("after", 0, b"x")
        if log.stats().last_sequence != found + 1:
            raise Broken(f"after {found} steps the next is {log.stats().last_sequence}")
        cache.close()
        log.close()
        return found

    def check(self, cache: BlockCache, log: WriteAheadLog) -> int:
        found = log.stats().last_sequence
        if found >= len(self.states):
            raise Broken(f"{found} steps are in the log; {len(self.states) - 1} were made")
        self.states[found].check(cache)
        return found

    def check_failed(self, cache: BlockCache, log: WriteAheadLog, error: BenchError) -> None:
        """After a call that raised ``error``: the cache is as it was after one of the steps that
        were begun, and takes nothing more. Raises Broken."""
        now = self.bounds.now
        wrong: Broken | None = None
        for state in self.states[now.written : now.attempted + 1]:
            try:
                state.check(cache)
                break
            except Broken as broken:
                wrong = wrong or broken
        else:
            raise wrong or Broken("more steps were done than are known")
        try:
            cache.write("after", 0, b"x")
        except BenchError:
            return
        raise Broken(f"a write was taken after {type(error).__name__}")

    def probe(self, image: Content) -> tuple[int, Recovery]:
        cache, log, recovery = self.making.recover(Recorder(image))
        found = self.check(cache, log)
        cache.close()
        log.close()
        return found, recovery

    def after(self, found: int, making: Making, recorded: Recorder | None) -> Work:
        """A life that begins where this one was after ``found`` steps."""
        life = Work(making, recorded, states=self.states[: found + 1])
        life.bounds.mark(0, promised=found, written=found, attempted=found)
        return life

    def again(self, image: Content | None, found: int) -> Work:
        life = self.after(found, self.making, Recorder(image))
        cache, log, _ = life.reopen()
        life.lead(cache, log, seed=found, actions=5)
        return life

    def knowing(self, whole: Work) -> None:
        """Take over what a life that began as this one did, and was not disturbed, knows of steps
        that were begun here."""
        self.states = whole.states


def record(making: Making, seed: int, actions: int, *, closed: bool = True) -> Work:
    life = Work(making)
    cache, log = life.open(seed)
    life.lead(cache, log, seed, actions)
    if closed:
        life.end(cache, log)
    return life


def sayings(making: Making, image: Mapping[str, bytes]) -> list[str]:
    """What a cache that is recovered from an image says of itself. Raises what that does."""
    cache, log, recovery = making.recover(Recorder(image))
    lines = [f"{recovery}", *(f"{name!r}: {size} bytes" for name, size in cache.list_files())]
    for name, number, generation in cache.dirty_blocks():
        _, extents = cache.read_block(name, number)
        held = ", ".join(f"{start}..{start + len(data)}" for start, data in extents)
        lines.append(f"block {number} of {name!r} is dirty, generation {generation}, holds {held}")
    cache.close()
    log.close()
    return lines


class _User:
    """Works with a cache and notes what follows from each call."""

    def __init__(
        self,
        life: Work,
        cache: BlockCache,
        log: WriteAheadLog,
        draw: random.Random,
    ) -> None:
        self._life, self._cache, self._log, self._draw = life, cache, log, draw
        self._lengths = life.making.lengths
        self._blocks = dict(life.states[-1].blocks)

    # --- what was done -----------------------------------------------------------------------

    def _done(self, count: int = 1) -> None:
        life = self._life
        state = State(dict(self._blocks), self._cache.list_files(), dirty_of(self._cache))
        life.states.append(state)
        last = len(life.states) - 1
        if self._log.stats().last_sequence != last:
            raise Broken(f"step {last} is record {self._log.stats().last_sequence}")
        life.mark(written=last)
        life.unsynced += count
        if 0 < life.making.sync_every <= life.unsynced:
            self.sync()

    def _put(self, name: str, offset: int, data: bytes) -> None:
        while data:
            number, start = divmod(offset, BLOCK)
            part = data[: BLOCK - start]
            held = self._blocks.get((name, number), Held())
            self._blocks[name, number] = held.written(start, part)
            offset, data = offset + len(part), data[len(part) :]

    def _request(self) -> tuple[str, int, bytes]:
        length = self._draw.choice(self._lengths)
        offset = self._draw.randrange(LARGEST - length)
        if self._draw.random() < 0.3:
            offset = offset // BLOCK * BLOCK
        return self._draw.choice(NAMES), offset, self._draw.randbytes(length)

    # --- what is asked -----------------------------------------------------------------------

    def write(self) -> None:
        request = self._request()
        self._life.attempt(1)
        self._cache.write(*request)
        self._put(*request)
        self._done()

    def write_many(self) -> None:
        requests: Sequence[tuple[str, int, bytes]] = [self._request() for _ in range(3)]
        self._life.attempt(len(requests))
        self._cache.write_many(requests)
        for request in requests[:-1]:
            self._put(*request)
            self._life.states.append(State(dict(self._blocks)))
        self._put(*requests[-1])
        self._done(len(requests))

    def truncate(self) -> None:
        files = self._cache.list_files()
        if not files:
            return
        name, old = self._draw.choice(files)
        size = self._draw.choice((0, BLOCK, old // 2, old + 10, self._draw.randrange(old + 1)))
        self._life.attempt(1)
        self._cache.truncate(name, size)
        for (file, number), held in list(self._blocks.items()):
            if file == name and (number + 1) * BLOCK > size:
                self._blocks[file, number] = held.cut(max(0, size - number * BLOCK))
        self._done()

    def remove(self) -> None:
        files = self._cache.list_files()
        if not files:
            return
        name, _ = self._draw.choice(files)
        self._life.attempt(1)
        self._cache.remove(name)
        for key in [key for key in self._blocks if key[0] == name]:
            del self._blocks[key]
        self._done()

    def upload(self) -> None:
        dirty = self._cache.dirty_blocks()
        if not dirty:
            return
        name, number, generation = self._draw.choice(dirty)
        self._life.attempt(1)
        if not self._cache.mark_uploaded(name, number, generation):
            raise Broken(f"block {number} of {name!r} cannot be marked as uploaded")
        self._blocks[name, number] = self._blocks[name, number].clean()
        self._done()

    def fill(self) -> None:
        """Of a part of a file that is there; no step, as it is not logged."""
        files = [file for file in self._cache.list_files() if file[1]]
        if not files:
            return
        name, size = self._draw.choice(files)
        offset = self._draw.randrange(size)
        number, start = divmod(offset, BLOCK)
        held = self._blocks.get((name, number), Held())
        part = held.stored(name, number, start, min(size - offset, BLOCK - start, 700))
        self._cache.fill(name, offset, part)
        self._blocks[name, number] = held.filled(start, part)
        self._life.states[-1].blocks = dict(self._blocks)

    def evict(self) -> None:
        """Clean blocks go; what they held may come back from the log."""
        self._cache.evict_all()

    def checkpoint(self) -> None:
        incremental = self._draw.random() < 0.6
        try:
            self._cache.checkpoint(incremental=incremental)
        except SnapshotFailed:
            if not self._life.forgiving:
                raise
        else:
            self._life.promised()

    def sync(self) -> None:
        self._log.sync()
        self._life.promised()
