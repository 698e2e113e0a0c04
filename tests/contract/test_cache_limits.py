"""Memory and its limits, on both twins."""

from __future__ import annotations

import pytest

from bench_cli.errors import CacheError, CacheFull
from bench_cli.interfaces import CacheBackend, CacheOptions
from tests.contract.cache_backends import (
    KIB,
    MIB,
    TWINS,
    FakeClock,
    FakeWaiter,
    load,
    random_bytes,
    read,
    small,
    upload,
)


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


# --- memory and limits -------------------------------------------------------------------------


def test_a_block_begins_small_and_grows(backend: CacheBackend) -> None:
    cache = backend.open(CacheOptions())
    cache.write("a", 0, b"x" * 1024)
    assert cache.stats().allocated == 4 * KIB
    cache.write("a", 4096, b"y")
    assert cache.stats().allocated == 64 * KIB
    cache.write("a", 64 * KIB, b"z")
    stats = cache.stats()
    assert stats.allocated == stats.pending == stats.resident == 4 * MIB
    assert read(cache, "a", 1020, 8) == b"xxxx\0\0\0\0"
    assert read(cache, "a", 4095, 3) == b"\0y\0"
    assert read(cache, "a", 64 * KIB - 1, 3) == b"\0z\0"
    cache.close()


def test_a_thousand_small_files_take_four_kilobytes_each(backend: CacheBackend) -> None:
    cache = backend.open(CacheOptions())
    for n in range(1000):
        cache.write(f"f{n}", 0, random_bytes(1024, n))
    stats = cache.stats()
    assert (stats.files, stats.blocks) == (1000, 1000)
    assert stats.resident == 1000 * 4 * KIB
    assert all(read(cache, f"f{n}", 0, 1024) == random_bytes(1024, n) for n in range(0, 1000, 37))
    cache.close()


def test_buffers_go_to_the_pool_and_trim_keeps_what_was_asked(backend: CacheBackend) -> None:
    cache = backend.open(small(pool_bytes=8 * KIB))
    assert cache.stats().pooled == 8 * KIB
    cache.write("a", 0, bytes(5 * 4096))
    assert (cache.stats().pooled, cache.stats().allocated) == (0, 20 * KIB)
    upload(cache)
    assert cache.evict_all() == 5
    assert (cache.stats().pooled, cache.stats().allocated) == (20 * KIB, 0)
    cache.trim()
    assert (cache.stats().pooled, cache.stats().resident) == (8 * KIB, 8 * KIB)
    cache.close()


def test_a_reused_buffer_shows_nothing_of_its_former_bytes(backend: CacheBackend) -> None:
    cache = backend.open(small(pool_bytes=4 * KIB))
    cache.write("a", 0, b"secret" * 600)
    cache.remove("a")
    cache.write("b", 100, b"x")
    assert read(cache, "b", 0, 4096) == bytes(100) + b"x" + bytes(3995)
    assert cache.read_block("b", 0)[1] == [(100, b"x")]


def test_a_full_cache_refuses_and_says_what_was_needed(backend: CacheBackend) -> None:
    cache = backend.open(small(max_size=12 * KIB))
    cache.write("a", 0, bytes(8192))
    with pytest.raises(CacheFull) as refusal:
        cache.write("b", 0, bytes(5000))
    full = refusal.value
    assert (full.which, full.used, full.needed, full.limit) == ("max_size", 8192, 8192, 12288)
    cache.write("b", 0, bytes(4096))
    assert cache.stats().allocated == 12 * KIB


def test_pending_bytes_have_a_limit_of_their_own(backend: CacheBackend) -> None:
    cache = backend.open(small(max_pending=8 * KIB))
    cache.write("a", 0, bytes(8192))
    with pytest.raises(CacheFull) as refusal:
        cache.write("a", 8192, b"x")
    full = refusal.value
    assert (full.which, full.used, full.needed, full.limit) == ("max_pending", 8192, 4096, 8192)
    cache.write("a", 100, b"still room inside")
    cache.mark_uploaded(*cache.dirty_blocks()[0])
    cache.write("a", 8192, b"x")
    with pytest.raises(CacheFull):
        cache.write("a", 0, b"x")
    cache.fill("a", 40_000, b"filled blocks are not pending")
    assert cache.stats().pending == 8 * KIB


@pytest.mark.parametrize("limit", ["max_size", "max_pending"])
def test_a_refused_write_leaves_nothing(backend: CacheBackend, limit: str) -> None:
    cache = backend.open(small(**{limit: 12 * KIB}))
    cache.write("a", 0, b"a" * 6000)
    before = cache.stats(), cache.dirty_blocks(), cache.list_files()
    for name, offset in [("a", 5000), ("b", 0), ("a", 100_000)]:
        with pytest.raises(CacheFull):
            cache.write(name, offset, b"b" * 9000)
    assert (cache.stats(), cache.dirty_blocks(), cache.list_files()) == before
    assert read(cache, "a", 0, 8192) == b"a" * 6000 + bytes(2192)


def test_a_write_evicts_clean_blocks_to_make_room(backend: CacheBackend) -> None:
    cache = backend.open(small(max_size=12 * KIB))
    for name in "abc":
        cache.write(name, 0, name.encode())
    upload(cache)
    read(cache, "a", 0, 1)
    cache.write("d", 0, b"d")
    assert [name for name in "abcd" if cache.is_range_covered(name, 0, 1)] == ["a", "c", "d"]
    assert cache.stats().evicted_blocks == 1
    cache.write("c", 4000, bytes(200))
    assert [name for name in "abcd" if cache.is_range_covered(name, 0, 1)] == ["c", "d"]


def test_a_refused_write_evicts_nothing(backend: CacheBackend) -> None:
    cache = backend.open(small(max_size=12 * KIB))
    cache.write("a", 0, b"x")
    upload(cache)
    cache.write("b", 0, bytes(8192))
    with pytest.raises(CacheFull):
        cache.write("c", 0, bytes(8192))
    with pytest.raises(CacheFull):
        cache.write("a", 0, bytes(8192))
    assert cache.is_range_covered("a", 0, 1)
    assert cache.stats().evicted_blocks == 0


def test_fill_makes_room_and_is_refused_like_a_write(backend: CacheBackend) -> None:
    cache = backend.open(small(max_size=8 * KIB))
    cache.fill("a", 0, bytes(8192))
    cache.fill("b", 0, b"x")
    assert cache.stats().evicted_blocks == 1
    cache.write("c", 0, bytes(8192))
    with pytest.raises(CacheFull):
        cache.fill("d", 0, b"x")
    assert [name for name, _ in cache.list_files()] == ["a", "b", "c"]


def test_pooled_buffers_count_against_max_size(backend: CacheBackend) -> None:
    options = CacheOptions(block_size=64 * KIB, chunk_size=64 * KIB, max_size=128 * KIB)
    cache = backend.open(options)
    cache.write("a", 0, bytes(128 * KIB))
    cache.remove("a")
    assert cache.stats().pooled == 128 * KIB
    cache.write("b", 0, b"x")
    assert cache.stats().resident == 68 * KIB
    cache.write("c", 0, bytes(5000))
    assert (cache.stats().allocated, cache.stats().pooled) == (68 * KIB, 0)


# --- waiting -----------------------------------------------------------------------------------


def test_a_write_waits_until_an_upload_makes_room(backend: CacheBackend) -> None:
    clock = FakeClock()
    waiter = FakeWaiter(clock)
    cache = backend.open(small(max_size=4 * KIB, wait_ns=1000), clock=clock, waiter=waiter)
    cache.write("a", 0, b"a")
    waiter.meanwhile = lambda: upload(cache)
    cache.write("b", 0, b"b")
    assert read(cache, "b", 0, 1) == b"b"
    assert waiter.waits == [1000]
    assert cache.stats().waited_ns == 10


def test_a_write_waits_no_longer_than_its_time(backend: CacheBackend) -> None:
    clock = FakeClock()
    waiter = FakeWaiter(clock)
    cache = backend.open(small(max_pending=4 * KIB, wait_ns=1000), clock=clock, waiter=waiter)
    cache.write("a", 0, b"a")
    for write in (
        lambda: cache.write("b", 0, b"b"),
        lambda: cache.write_many([("b", 0, b"b")]),
    ):
        waiter.waits.clear()
        waiter.meanwhile = lambda: None  # a wake-up for nothing: the rest of the time is left
        with pytest.raises(CacheFull):
            write()
        assert waiter.waits == [1000, 990]
    assert cache.list_files() == [("a", 1)]
    assert cache.stats().waited_ns == 2000


def test_a_write_that_waits_ends_when_the_cache_is_closed(backend: CacheBackend) -> None:
    clock = FakeClock()
    waiter = FakeWaiter(clock)
    cache = backend.open(small(max_size=4 * KIB, wait_ns=1000), clock=clock, waiter=waiter)
    cache.write("a", 0, b"a")
    waiter.meanwhile = cache.close
    with pytest.raises(CacheError) as refusal:
        cache.write("b", 0, b"b")
    assert type(refusal.value) is CacheError
    assert waiter.wakes == 1


def test_a_write_that_can_never_fit_does_not_wait(backend: CacheBackend) -> None:
    clock = FakeClock()
    waiter = FakeWaiter(clock)
    cache = backend.open(small(max_size=4 * KIB, wait_ns=1000), clock=clock, waiter=waiter)
    with pytest.raises(CacheFull):
        cache.write("a", 0, bytes(5000))
    assert waiter.waits == []
