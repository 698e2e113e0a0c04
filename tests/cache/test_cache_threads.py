"""Threads on one cache: the soak in small, and pairs of operations that meet in the middle."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from bench_cli.interfaces import CacheBackend
from tests.cache.fake_log import FakeLog
from tests.cache.soak import run_round
from tests.contract.cache_backends import KIB, TWINS, load, read, small, upload


@pytest.mark.parametrize("module", TWINS)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_threads_at_random_lose_nothing(module: str, seed: int) -> None:
    load(module)
    run_round(module, seed, threads=2, operations=120)


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


def meanwhile(log: FakeLog, work: Callable[[], None]) -> threading.Thread:
    """Another thread begins ``work`` while the next append is under way."""
    begun = threading.Event()

    def run() -> None:
        begun.set()
        work()

    thread = threading.Thread(target=run)

    def before_append() -> None:
        log.before_append = lambda: None
        thread.start()
        begun.wait()

    log.before_append = before_append
    return thread


def test_an_eviction_passes_over_a_file_at_work(backend: CacheBackend) -> None:
    """The clean block that is being written again must not go while its record is appended."""
    log = FakeLog()
    cache = backend.open(small(), log=log)
    cache.write("a", 0, b"abc")
    upload(cache)
    thread = meanwhile(log, lambda: cache.evict_all() and None)
    cache.write("a", 1, b"B")
    thread.join()
    assert [dirty.name for dirty in cache.dirty_blocks()] == ["a"]
    assert read(cache, "a", 1, 1) == b"B"


def test_two_threads_may_make_the_same_file(backend: CacheBackend) -> None:
    log = FakeLog()
    cache = backend.open(small(), log=log)
    thread = meanwhile(log, lambda: cache.write("a", 5000, b"second"))
    cache.write("a", 0, b"first")
    thread.join()
    assert cache.list_files() == [("a", 5006)]
    assert read(cache, "a", 0, 5) + read(cache, "a", 5000, 6) == b"firstsecond"
    assert cache.stats().files == 1


def test_a_file_whose_first_write_fails_is_not_there_for_others(backend: CacheBackend) -> None:
    log = FakeLog()
    cache = backend.open(small(), log=log)
    outcome: list[object] = []
    thread = meanwhile(log, lambda: outcome.append(cache.is_range_covered("a", 0, 1)))
    log.failing = True
    with pytest.raises(Exception, match="told to fail"):
        cache.write("a", 0, b"x")
    thread.join()
    assert outcome == [False]
    assert cache.list_files() == []


def test_a_checkpoint_waits_for_the_write_under_way(
    backend: CacheBackend, tmp_path: object
) -> None:
    log = FakeLog()
    cache = backend.open(small(), log=log, directory=tmp_path)  # type: ignore[arg-type]  # a log in memory
    thread = meanwhile(log, cache.checkpoint)
    cache.write("a", 0, b"x")
    thread.join()
    assert log.records == []
    assert [dirty.generation for dirty in cache.dirty_blocks()] == [1]


def test_closing_waits_for_the_write_under_way(backend: CacheBackend) -> None:
    log = FakeLog()
    cache = backend.open(small(), log=log)
    thread = meanwhile(log, cache.close)
    cache.write("a", 0, b"x" * 10_000)
    thread.join()
    assert len(log.records) == 1


def test_a_waiting_write_goes_on_when_another_thread_uploads(backend: CacheBackend) -> None:
    """With the real waiter: the upload can only happen after the write was refused once."""
    cache = backend.open(small(max_size=4 * KIB, wait_ns=60_000_000_000))
    cache.write("a", 0, b"a")
    thread = threading.Thread(target=cache.write, args=("b", 0, b"b"))
    thread.start()
    upload(cache)
    thread.join()
    assert read(cache, "b", 0, 1) == b"b"


def test_large_copies_of_two_threads_stay_whole(backend: CacheBackend) -> None:
    """Both threads write and read the same 256 KiB: each read is one of the two, never a mix."""
    cache = backend.open(small(block_size=256 * KIB, chunk_size=256 * KIB))
    images = [bytes([n]) * (256 * KIB) for n in (1, 2)]
    cache.write("a", 0, images[0])
    mixed: list[int] = []

    def work(image: bytes) -> None:
        buffer = bytearray(256 * KIB)
        for _ in range(150):
            cache.write("a", 0, image)
            cache.read_into("a", 0, buffer)
            if buffer not in images:
                mixed.append(buffer.count(1))

    threads = [threading.Thread(target=work, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []
