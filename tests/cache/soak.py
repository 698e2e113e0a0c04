"""Threads that write, read, upload, evict, truncate and remove at random lose nothing.

``python -m tests.cache.soak --seconds 60`` runs rounds with new seeds until the time is over and
prints the seed of a round that fails; a test runs a few rounds of fixed length.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from bench_cli.cache.stores import MemoryStore
from bench_cli.cache.uploader import Uploader
from bench_cli.errors import FileNotCached
from bench_cli.interfaces import BlockCache, CacheOptions
from tests.contract.cache_backends import KIB, TWINS, load

BLOCK = 256 * KIB
STRIPE = 100 * KIB  # large enough that the compiled twin copies without the interpreter lock
SHARED = "shared"  # thread n of N writes the stripes n, n+N, n+2N ... of this file


@dataclass
class Worker:
    """One thread: its files, which nobody else touches, and its stripes of the shared file."""

    cache: BlockCache
    uploader: Uploader
    number: int
    threads: int
    rng: random.Random
    files: dict[str, bytearray] = field(default_factory=dict)
    stripes: dict[int, bytes] = field(default_factory=dict)

    def step(self) -> None:
        kinds = ("write", "write_shared", "write_many", "read", "read_shared", "upload", "evict")
        weights = (30, 20, 10, 15, 10, 10, 4)
        kind = self.rng.choices((*kinds, "truncate", "remove"), (*weights, 3, 1))[0]
        getattr(self, kind)()

    def name(self) -> str:
        return f"own-{self.number}-{self.rng.randrange(4)}"

    def bytes(self, length: int) -> bytes:
        """Without zeros: a zero that is read was not held."""
        return bytes([self.rng.randrange(1, 256)]) * length

    def request(self) -> tuple[str, int, bytes]:
        name, offset = self.name(), self.rng.randrange(3 * BLOCK)
        data = self.bytes(self.rng.choice((1, 100, 5000, 70_000, 150_000)))
        return name, offset, data

    def note(self, name: str, offset: int, data: bytes) -> None:
        model = self.files.setdefault(name, bytearray())
        model.extend(bytes(max(0, offset + len(data) - len(model))))
        model[offset : offset + len(data)] = data

    def write(self) -> None:
        request = self.request()
        self.cache.write(*request)
        self.note(*request)

    def write_many(self) -> None:
        requests = [self.request() for _ in range(5)]
        self.cache.write_many(requests)
        for request in requests:
            self.note(*request)

    def write_shared(self) -> None:
        stripe = self.rng.randrange(8) * self.threads + self.number
        data = self.bytes(STRIPE)
        self.cache.write(SHARED, stripe * STRIPE, data)
        self.stripes[stripe] = data

    def read(self) -> None:
        """What is read is what was written, or zeros where the block had been evicted."""
        for name, model in self.files.items():
            buffers = [bytearray(len(model)), bytearray(len(model))]
            assert self.cache.read_into(name, 0, buffers[0]) == len(model)
            self.cache.read_many([(name, 0, buffers[1])])
            for buffer in buffers:
                check_held(name, model, buffer)

    def read_shared(self) -> None:
        for stripe, data in self.stripes.items():
            buffer = bytearray(STRIPE)
            self.cache.read_into(SHARED, stripe * STRIPE, buffer)
            check_held(SHARED, data, buffer)

    def upload(self) -> None:
        self.uploader.upload_once()

    def evict(self) -> None:
        if self.rng.random() < 0.2:
            self.cache.evict_all()
            self.cache.trim()
        else:
            self.cache.evict_one()

    def truncate(self) -> None:
        name = self.name()
        size = self.rng.randrange(3 * BLOCK)
        try:
            self.uploader.truncate(name, size)
        except FileNotCached:
            assert name not in self.files
        else:
            del self.files[name][size:]
            self.files[name].extend(bytes(size - len(self.files[name])))

    def remove(self) -> None:
        name = self.name()
        try:
            self.uploader.remove(name)
        except FileNotCached:
            assert name not in self.files
        else:
            del self.files[name]


def check_held(name: str, model: bytes | bytearray, buffer: bytearray) -> None:
    if buffer != model:
        expected, got = (np.frombuffer(held, np.uint8) for held in (model, buffer))
        wrong = np.flatnonzero((got != expected) & (got != 0))
        assert not len(wrong), f"{name}: byte {wrong[0]} is not what was written"


def run_round(module: str, seed: int, threads: int, operations: int) -> None:
    """Raises AssertionError when a byte is lost or wrong."""
    options = CacheOptions(
        block_size=BLOCK,
        chunk_size=4 * BLOCK,
        max_size=48 * BLOCK,
        pool_bytes=2 * BLOCK,
        wait_ns=60_000_000_000,
    )
    cache = load(module).open(options)
    store = MemoryStore()
    uploader = Uploader(cache, store, block_size=BLOCK, workers=2)
    workers = [
        Worker(cache, uploader, number, threads, random.Random(seed * 1000 + number))
        for number in range(threads)
    ]
    errors: list[BaseException] = []

    def work(worker: Worker) -> None:
        try:
            for _ in range(operations):
                worker.step()
        except BaseException as error:
            errors.append(error)

    stop = threading.Event()
    background = threading.Thread(target=uploader.run, args=(stop,))
    pool = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in (background, *pool):
        thread.start()
    for thread in pool:
        thread.join()
    stop.set()
    background.join()
    if errors:
        raise errors[0]
    check_store(workers, store)
    check_books(cache)
    cache.close()


def check_store(workers: list[Worker], store: MemoryStore) -> None:
    for worker in workers:
        for name, model in worker.files.items():
            assert stored(store, name, len(model)) == model, f"{name} in the store"
        for stripe, data in worker.stripes.items():
            whole = stored(store, SHARED, (stripe + 1) * STRIPE)
            assert whole[stripe * STRIPE :] == data, f"stripe {stripe} in the store"


def stored(store: MemoryStore, name: str, size: int) -> bytes:
    whole = bytearray(size)
    for block in store.blocks(name):
        data = store.get(name, block) or b""
        whole[block * BLOCK : block * BLOCK + len(data)] = data
    return bytes(whole[:size])


def check_books(cache: BlockCache) -> None:
    """All is clean, so all can go, and then nothing is counted any more."""
    stats = cache.stats()
    assert (stats.dirty_blocks, stats.pending) == (0, 0)
    assert cache.evict_all() == stats.blocks
    stats = cache.stats()
    assert (stats.blocks, stats.allocated) == (0, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--operations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    end, seed = time.monotonic() + arguments.seconds, arguments.seed
    while time.monotonic() < end:
        for module in TWINS:
            try:
                run_round(module, seed, arguments.threads, arguments.operations)
            except AssertionError as error:
                sys.stderr.write(f"{module}, seed {seed}: {error}\n")
                return 1
        seed += 1
    sys.stdout.write(f"{seed - arguments.seed} rounds on each twin, nothing lost\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
