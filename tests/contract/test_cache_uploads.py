"""Dirty, uploaded, filled and evicted blocks, on both twins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench_cli.errors import FileNotCached
from bench_cli.interfaces import BlockCache, CacheBackend, DirtyBlock
from tests.contract.cache_backends import TWINS, load, read, small, upload


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


@pytest.fixture
def cache(backend: CacheBackend) -> Iterator[BlockCache]:
    opened = backend.open(small())
    yield opened
    opened.close()


# --- dirty, uploaded ---------------------------------------------------------------------------


def test_dirty_blocks_are_sorted_by_name_and_block(cache: BlockCache) -> None:
    for name, block in [("b", 7), ("a", 100), ("b", 2), ("a", 3), ("c", 0), ("a", 20)]:
        cache.write(name, block * 4096, b"x")
    listed = cache.dirty_blocks()
    assert [(d.name, d.block) for d in listed] == [
        ("a", 3), ("a", 20), ("a", 100), ("b", 2), ("b", 7), ("c", 0),
    ]  # fmt: skip
    assert [(d.name, d.block) for d in cache.dirty_blocks("b")] == [("b", 2), ("b", 7)]
    assert all(type(d) is DirtyBlock for d in listed)
    assert hash(listed[0]) == hash(DirtyBlock("a", 3, listed[0].generation))
    assert len({d.generation for d in listed}) == 6


def test_an_uploaded_block_is_clean_until_the_next_write(cache: BlockCache) -> None:
    cache.write("a", 0, b"1")
    [dirty] = cache.dirty_blocks()
    generation, extents = cache.read_block("a", 0)
    assert (generation, extents) == (dirty.generation, [(0, b"1")])
    assert cache.mark_uploaded("a", 0, generation) is True
    assert cache.mark_uploaded("a", 0, generation) is True
    assert cache.dirty_blocks() == []
    assert cache.stats().pending == 0
    cache.write("a", 1, b"2")
    [again] = cache.dirty_blocks()
    assert again.generation > generation
    assert cache.read_block("a", 0) == (again.generation, [(0, b"12")])
    assert cache.mark_uploaded("a", 0, generation) is False
    assert cache.dirty_blocks() == [again]


def test_a_block_that_is_not_held_cannot_be_read_or_marked(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    for block in (1, 4, 10_000, -1):
        assert cache.mark_uploaded("a", block, 1) is False
        with pytest.raises(FileNotCached):
            cache.read_block("a", block)


# --- fill --------------------------------------------------------------------------------------


def test_fill_brings_only_bytes_that_are_not_held(cache: BlockCache) -> None:
    cache.write("a", 100, b"new")
    [dirty] = cache.dirty_blocks()
    cache.fill("a", 0, b"o" * 5000)
    assert read(cache, "a", 98, 7) == b"oonewoo"
    assert cache.file_size("a") == 5000
    assert cache.dirty_blocks() == [dirty]
    cache.fill("a", 0, b"p" * 5000)
    assert read(cache, "a", 0, 5000) == b"o" * 100 + b"new" + b"o" * 4897


def test_fill_of_an_unknown_file_makes_clean_blocks(cache: BlockCache) -> None:
    cache.fill("a", 3000, b"s" * 3000)
    assert cache.list_files() == [("a", 6000)]
    assert cache.dirty_blocks() == []
    assert cache.is_range_covered("a", 3000, 3000)
    assert cache.evict_all() == 2
    assert cache.list_files() == [("a", 6000)]
    assert read(cache, "a", 3000, 10) == bytes(10)


# --- eviction ----------------------------------------------------------------------------------


def order_of_eviction(cache: BlockCache, names: str) -> str:
    order, left = "", set(names)
    while cache.evict_one():
        [gone] = [name for name in left if not cache.is_range_covered(name, 0, 1)]
        order += gone
        left.discard(gone)
    return order


def test_the_least_recently_used_clean_block_goes_first(cache: BlockCache) -> None:
    for name in "abcde":
        cache.write(name, 0, b"x")
    upload(cache)
    read(cache, "a", 0, 1)
    cache.fill("c", 1, b"y")
    assert order_of_eviction(cache, "abcde") == "bdeac"


def test_a_block_takes_the_place_of_its_last_use_when_it_becomes_clean(cache: BlockCache) -> None:
    for name in "abcdef":
        cache.write(name, 0, b"x")
    marks = {d.name: d for d in cache.dirty_blocks()}
    read(cache, "b", 0, 1)
    for name in "fdbaec":
        assert cache.mark_uploaded(*marks[name])
    assert order_of_eviction(cache, "abcdef") == "acdefb"


def test_neither_a_question_nor_a_listing_is_a_use(cache: BlockCache) -> None:
    for name in "ab":
        cache.write(name, 0, b"x")
    upload(cache)
    cache.is_range_covered("a", 0, 1)
    cache.file_size("a")
    cache.list_files()
    cache.read_block("a", 0)
    assert order_of_eviction(cache, "ab") == "ab"


def test_dirty_blocks_are_never_evicted(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    cache.write("b", 0, b"x")
    cache.mark_uploaded(*cache.dirty_blocks("a")[0])
    cache.write("a", 0, b"y")
    assert cache.evict_one() is False
    assert cache.evict_all() == 0
    assert read(cache, "a", 0, 1) == b"y"
    upload(cache)
    assert cache.evict_all() == 2
    assert cache.stats().evicted_blocks == 2
    assert cache.list_files() == [("a", 1), ("b", 1)]


def test_an_evicted_block_can_be_written_and_filled_again(cache: BlockCache) -> None:
    cache.write("a", 0, b"abc")
    upload(cache)
    cache.evict_all()
    cache.write("a", 1, b"X")
    assert read(cache, "a", 0, 3) == b"\0X\0"
    cache.fill("a", 0, b"abc")
    assert read(cache, "a", 0, 3) == b"aXc"
