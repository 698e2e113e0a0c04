"""What every block cache does, on both twins."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from bench_cli.errors import CacheError, FileNotCached, Unsupported
from bench_cli.interfaces import BlockCache, CacheBackend, CacheOptions
from tests.contract.cache_backends import (
    KIB,
    MIB,
    TWINS,
    load,
    random_bytes,
    read,
    small,
    upload,
)

MAX = (1 << 63) - 1


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


@pytest.fixture
def cache(backend: CacheBackend) -> Iterator[BlockCache]:
    opened = backend.open(small())
    yield opened
    opened.close()


# --- bytes -------------------------------------------------------------------------------------


def test_what_was_written_is_read(cache: BlockCache) -> None:
    data = random_bytes(100)
    cache.write("a", 50, data)
    assert read(cache, "a", 50, 100) == data
    assert cache.file_size("a") == 150


def test_the_newest_write_wins(cache: BlockCache) -> None:
    cache.write("a", 0, b"1" * 100)
    cache.write("a", 10, b"2" * 50)
    cache.write("a", 20, b"3" * 10)
    assert read(cache, "a", 0, 100) == b"1" * 10 + b"2" * 10 + b"3" * 10 + b"2" * 30 + b"1" * 40


def test_a_write_may_span_blocks_and_chunks(cache: BlockCache) -> None:
    data = random_bytes(50_000)
    cache.write("a", 3000, data)
    assert read(cache, "a", 3000, 50_000) == data
    assert cache.stats().blocks == 13


def test_bytes_never_written_read_zero(cache: BlockCache) -> None:
    cache.write("a", 100, b"x" * 10)
    cache.write("a", 20_000, b"y")
    assert read(cache, "a", 95, 20) == bytes(5) + b"x" * 10 + bytes(5)
    assert read(cache, "a", 4096, 4096) == bytes(4096)
    assert read(cache, "a", 19_999, 3) == b"\0y\0"


def test_a_read_counts_the_bytes_below_the_end_of_the_file(cache: BlockCache) -> None:
    cache.write("a", 0, b"x" * 100)
    assert cache.read_into("a", 90, bytearray(20)) == 10
    assert cache.read_into("a", 100, bytearray(20)) == 0
    assert cache.read_into("a", 5000, bytearray(20)) == 0
    assert cache.read_into("a", 10, bytearray(0)) == 0
    assert cache.read_into("a", 200, bytearray(0)) == 0


def test_files_do_not_mix(cache: BlockCache) -> None:
    cache.write("a", 0, b"a" * 10)
    cache.write("b", 0, b"b" * 10)
    assert read(cache, "a", 0, 10) == b"a" * 10
    assert read(cache, "b", 0, 10) == b"b" * 10


def test_any_contiguous_buffer_can_be_written_and_read_into(cache: BlockCache) -> None:
    cache.write("a", 0, bytearray(b"abcd"))
    cache.write("a", 4, memoryview(b"xefghx")[1:5])
    cache.write("a", 8, array("H", [1, 2]))  # type: ignore[arg-type]  # bytes of any format
    target = bytearray(14)
    cache.read_into("a", 0, memoryview(target)[1:13])
    assert target == b"\0abcdefgh" + array("H", [1, 2]).tobytes() + b"\0"
    numbers = array("H", [0, 0])
    cache.read_into("a", 8, memoryview(numbers))
    assert numbers == array("H", [1, 2])


@pytest.mark.parametrize("data", [1, "text", None, memoryview(bytes(8))[::2]])
def test_what_is_no_contiguous_buffer_is_a_type_error(cache: BlockCache, data: Any) -> None:
    with pytest.raises(TypeError):
        cache.write("a", 0, data)
    with pytest.raises(TypeError):
        cache.fill("a", 0, data)
    with pytest.raises(TypeError):
        cache.read_into("a", 0, data)
    assert cache.list_files() == []


def test_a_read_needs_a_writable_buffer(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    with pytest.raises(TypeError):
        cache.read_into("a", 0, memoryview(b"abc"))
    with pytest.raises(TypeError):
        cache.read_into("a", 0, b"abc")  # type: ignore[arg-type]  # refused


def test_an_empty_write_or_fill_creates_nothing(cache: BlockCache) -> None:
    cache.write("a", 10, b"")
    cache.fill("a", 10, b"")
    assert cache.list_files() == []
    assert cache.stats().blocks == 0


@pytest.mark.parametrize("name", ["", "..", "a/b", "ä\n", "x" * 5000, "\udc80"])
def test_any_name_that_a_log_can_hold_is_a_file(cache: BlockCache, name: str) -> None:
    cache.write(name, 0, b"x")
    assert read(cache, name, 0, 1) == b"x"
    assert cache.list_files() == [(name, 1)]


def test_a_name_that_no_log_could_hold_is_refused(cache: BlockCache) -> None:
    with pytest.raises(UnicodeEncodeError):
        cache.write("\ud800", 0, b"x")
    for name in (1, None, b"a"):
        with pytest.raises(TypeError):
            cache.write(name, 0, b"x")  # type: ignore[arg-type]  # refused
    assert cache.stats().files == cache.stats().allocated == 0


# --- offsets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [(1 << 31) - 5, (1 << 32) - 5, (1 << 40) - 5, MAX - 10])
def test_offsets_are_exact_beyond_32_bits(cache: BlockCache, offset: int) -> None:
    cache.write("a", offset, b"0123456789")
    assert read(cache, "a", offset, 10) == b"0123456789"
    assert cache.file_size("a") == offset + 10
    assert cache.is_range_covered("a", offset, 10)
    assert not cache.is_range_covered("a", offset - 1, 11)
    assert {d.block for d in cache.dirty_blocks()} == {offset // 4096, (offset + 9) // 4096}


@pytest.mark.parametrize("offset", [-1, -(1 << 70), MAX - 2, MAX, MAX + 1, 1 << 64, 1 << 100])
def test_a_range_outside_63_bits_is_a_value_error(cache: BlockCache, offset: int) -> None:
    cache.write("a", 0, b"x")
    for call in (
        lambda: cache.write("b", offset, b"abc"),
        lambda: cache.write("a", offset, b"abc"),
        lambda: cache.fill("b", offset, b"abc"),
        lambda: cache.read_into("a", offset, bytearray(3)),
        lambda: cache.is_range_covered("a", offset, 3),
        lambda: cache.write_many([("b", offset, b"abc")]),
        lambda: cache.read_many([("a", offset, bytearray(3))]),
    ):
        with pytest.raises(ValueError):
            call()
    assert cache.list_files() == [("a", 1)]


@pytest.mark.parametrize("offset", [1.5, "1", None])
def test_an_offset_that_is_no_whole_number_is_a_type_error(cache: BlockCache, offset: Any) -> None:
    cache.write("a", 0, b"x")
    with pytest.raises(TypeError):
        cache.write("a", offset, b"abc")
    with pytest.raises(TypeError):
        cache.read_into("a", offset, bytearray(3))
    with pytest.raises(TypeError):
        cache.truncate("a", offset)
    assert cache.list_files() == [("a", 1)]


def test_a_size_or_length_out_of_range_is_a_value_error(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    for size in (-1, MAX + 1, 1 << 80):
        with pytest.raises(ValueError):
            cache.truncate("a", size)
        with pytest.raises(ValueError):
            cache.is_range_covered("a", 0, size)
    cache.truncate("a", MAX)
    assert cache.file_size("a") == MAX


# --- coverage ----------------------------------------------------------------------------------


def test_coverage_is_exact_to_the_byte(cache: BlockCache) -> None:
    cache.write("a", 10, b"x")
    cache.write("a", 12, b"x")
    covered = [n for n in range(30) if cache.is_range_covered("a", n, 1)]
    assert covered == [10, 12]
    assert not cache.is_range_covered("a", 10, 3)
    cache.write("a", 11, b"x")
    assert cache.is_range_covered("a", 10, 3)


def test_coverage_spans_blocks_and_stops_at_the_first_gap(cache: BlockCache) -> None:
    cache.write("a", 4000, bytes(10_000))
    assert cache.is_range_covered("a", 4000, 10_000)
    assert not cache.is_range_covered("a", 4000, 10_001)
    assert not cache.is_range_covered("a", 0, MAX)
    assert not cache.is_range_covered("unknown", 0, 1)
    assert cache.list_files() == [("a", 14_000)]


def test_a_block_written_front_to_back_is_one_extent(cache: BlockCache) -> None:
    for offset in range(0, 4096, 128):
        cache.write("a", offset, bytes([offset // 128]) * 128)
    _, extents = cache.read_block("a", 0)
    assert [(start, len(data)) for start, data in extents] == [(0, 4096)]


def test_a_sparse_block_keeps_every_extent(cache: BlockCache) -> None:
    for offset in range(4094, -1, -2):
        cache.write("a", offset, bytes([offset % 251 + 1]))
    _, extents = cache.read_block("a", 0)
    assert extents == [(n, bytes([n % 251 + 1])) for n in range(0, 4096, 2)]
    cache.write("a", 1000, b"z" * 1000)
    _, extents = cache.read_block("a", 0)
    assert len(extents) == 2048 - 500  # byte 2000 follows at once and is part of the long one
    assert read(cache, "a", 998, 6) == bytes([998 % 251 + 1]) + b"\0" + b"zzzz"


# --- vectored ----------------------------------------------------------------------------------


def test_a_batch_of_writes_is_done_in_order(cache: BlockCache) -> None:
    cache.write_many([("a", 0, b"1111"), ("b", 5000, b"xx"), ("a", 2, b"22"), ("a", 9000, b"3")])
    assert read(cache, "a", 0, 5) == b"1122\0"
    assert cache.list_files() == [("a", 9001), ("b", 5002)]
    target = [bytearray(4), bytearray(3), bytearray(2)]
    assert (
        cache.read_many([("a", 0, target[0]), ("b", 5000, target[1]), ("a", 9000, target[2])]) == 7
    )
    assert target == [b"1122", b"xx\0", b"3\0"]
    cache.write_many([])
    assert cache.read_many([]) == 0


def test_a_batch_stops_at_the_first_error_and_keeps_what_was_before(cache: BlockCache) -> None:
    with pytest.raises(ValueError):
        cache.write_many([("a", 0, b"1"), ("a", -1, b"2"), ("a", 5, b"3")])
    assert cache.list_files() == [("a", 1)]
    first = bytearray(1)
    with pytest.raises(FileNotCached):
        cache.read_many([("a", 0, first), ("unknown", 0, bytearray(1))])
    assert first == b"1"
    with pytest.raises(TypeError):
        cache.write_many([("a", 1, b"2"), ("a", 2, "text")])  # type: ignore[list-item]  # refused
    for wrong in (([], 0, b"3"), (1, 0, b"3"), ("a", 0), None):
        with pytest.raises((TypeError, ValueError)):
            cache.write_many([("a", 0, b"0"), ("a", cache.file_size("a"), b"2"), wrong])  # type: ignore[list-item]  # refused
    assert cache.file_size("a") == 6


def test_what_only_a_request_holds_lasts_until_its_batch_is_done(cache: BlockCache) -> None:
    """Requests are tuples, lists or what gives its parts away; names are equal or the same."""

    def requests(sources: Iterable[Any]) -> Any:
        for n, source in enumerate(sources):
            entry = ("".join(["a", "b"[: n % 5]]), n * 100, source)
            yield (tuple, list, iter)[n % 3](entry)

    wanted = [bytes([n % 251]) * 100 for n in range(900)]
    kinds = (bytes, bytearray, memoryview)
    for name in ("a", "ab"):
        cache.write(name, 0, bytes(90_000))
    cache.write_many(
        requests(kinds[n % 4 % 3](bytes(bytearray(data))) for n, data in enumerate(wanted))
    )
    found = [bytearray(100) for _ in wanted]
    assert cache.read_many(requests(found)) == 90_000
    assert found == wanted


def test_a_large_batch_over_existing_blocks_equals_single_writes(backend: CacheBackend) -> None:
    one, many = backend.open(small()), backend.open(small())
    requests = [(f"f{n % 3}", (n * 7919) % 30_000, random_bytes(n % 900, n)) for n in range(200)]
    many.write_many(requests)
    many.write_many(requests)
    for _ in range(2):
        for request in requests:
            one.write(*request)
    for name in ("f0", "f1", "f2"):
        size = one.file_size(name)
        assert many.file_size(name) == size
        assert read(many, name, 0, size) == read(one, name, 0, size)
    assert many.dirty_blocks() == one.dirty_blocks()
    assert many.stats() == one.stats()


# --- unknown files -----------------------------------------------------------------------------


def test_an_unknown_file_is_an_error_and_is_not_created(cache: BlockCache) -> None:
    for call in (
        lambda: cache.read_into("no", 0, bytearray(1)),
        lambda: cache.file_size("no"),
        lambda: cache.truncate("no", 0),
        lambda: cache.remove("no"),
        lambda: cache.read_block("no", 0),
    ):
        with pytest.raises(FileNotCached):
            call()
    assert cache.dirty_blocks("no") == []
    assert cache.mark_uploaded("no", 0, 1) is False
    assert cache.is_range_covered("no", 0, 0) is False
    assert cache.list_files() == []


# --- truncate, remove --------------------------------------------------------------------------


def test_a_hole_made_by_truncation_reads_zero(cache: BlockCache) -> None:
    cache.write("a", 0, b"x" * 20_000)
    cache.truncate("a", 5000)
    assert cache.file_size("a") == 5000
    cache.truncate("a", 9000)
    cache.write("a", 15_000, b"y")
    assert read(cache, "a", 4990, 10_011) == b"x" * 10 + bytes(10_000) + b"y"
    assert not cache.is_range_covered("a", 5000, 1)


def test_truncation_to_nothing_keeps_the_file(cache: BlockCache) -> None:
    cache.write("a", 0, b"x" * 20_000)
    cache.truncate("a", 0)
    assert cache.list_files() == [("a", 0)]
    stats = cache.stats()
    assert (stats.blocks, stats.dirty_blocks, stats.allocated, stats.pending) == (0, 0, 0, 0)


def test_truncation_changes_the_generation_of_the_block_it_cuts(cache: BlockCache) -> None:
    cache.write("a", 0, b"x" * 8000)
    before = cache.dirty_blocks()
    cache.truncate("a", 5000)
    after = cache.dirty_blocks()
    assert [d.block for d in after] == [0, 1]
    assert after[0] == before[0]
    assert after[1].generation > before[1].generation
    assert cache.mark_uploaded("a", 1, before[1].generation) is False


def test_a_clean_block_that_is_cut_stays_clean(cache: BlockCache) -> None:
    cache.write("a", 0, b"x" * 4096)
    upload(cache)
    cache.truncate("a", 100)
    assert cache.dirty_blocks() == []
    assert read(cache, "a", 98, 4) == b"xx\0\0"
    assert cache.evict_one()


def test_a_removed_file_is_gone_and_its_name_free(cache: BlockCache) -> None:
    cache.write("a", 0, b"old" * 1000)
    [old] = cache.dirty_blocks()
    cache.remove("a")
    assert cache.list_files() == []
    assert cache.stats().allocated == cache.stats().pending == 0
    cache.write("a", 1, b"new")
    assert read(cache, "a", 0, 5) == b"\0new\0"
    assert cache.mark_uploaded("a", 0, old.generation) is False
    assert len(cache.dirty_blocks()) == 1


# --- the whole ---------------------------------------------------------------------------------


def test_statistics_add_up(cache: BlockCache) -> None:
    cache.write("a", 0, bytes(10_000))
    cache.write("b", 0, bytes(10))
    cache.mark_uploaded(*cache.dirty_blocks("a")[0])
    stats = cache.stats()
    assert (stats.files, stats.blocks, stats.dirty_blocks) == (2, 4, 3)
    assert (stats.allocated, stats.pending, stats.evicted_blocks) == (16 * KIB, 12 * KIB, 0)
    assert cache.evict_one()
    stats = cache.stats()
    assert (stats.blocks, stats.allocated, stats.pending) == (3, 12 * KIB, 12 * KIB)


def test_a_closed_cache_refuses_every_call(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    cache.close()
    cache.close()
    for call in (
        lambda: cache.write("a", 0, b"x"),
        lambda: cache.write_many([("a", 0, b"x")]),
        lambda: cache.fill("a", 0, b"x"),
        lambda: cache.read_into("a", 0, bytearray(1)),
        lambda: cache.read_many([("a", 0, bytearray(1))]),
        lambda: cache.is_range_covered("a", 0, 1),
        lambda: cache.file_size("a"),
        cache.list_files,
        lambda: cache.truncate("a", 0),
        lambda: cache.remove("a"),
        cache.dirty_blocks,
        lambda: cache.read_block("a", 0),
        lambda: cache.mark_uploaded("a", 0, 1),
        cache.evict_one,
        cache.evict_all,
        cache.trim,
        cache.stats,
        cache.checkpoint,
    ):
        with pytest.raises(CacheError) as refusal:
            call()
        assert type(refusal.value) is CacheError


def test_a_checkpoint_needs_a_log(cache: BlockCache) -> None:
    with pytest.raises(Unsupported):
        cache.checkpoint()


@pytest.mark.parametrize(
    "options",
    [
        CacheOptions(block_size=5000),
        CacheOptions(block_size=2048),
        CacheOptions(block_size=0),
        CacheOptions(block_size=8 * MIB, chunk_size=4 * MIB),
        CacheOptions(block_size=2 << 30, chunk_size=2 << 30),
        CacheOptions(chunk_size=3 * MIB),
        CacheOptions(block_size=4 * KIB, chunk_size=512 * MIB),
        CacheOptions(max_size=-1),
        CacheOptions(max_pending=-1),
        CacheOptions(pool_bytes=-1),
        CacheOptions(wait_ns=-1),
    ],
)
def test_options_out_of_range_are_value_errors(
    backend: CacheBackend, options: CacheOptions
) -> None:
    with pytest.raises(ValueError):
        backend.open(options)


def test_a_backend_says_what_it_is(backend: CacheBackend) -> None:
    assert backend.name == "cache.block"
    assert backend.core in ("python", "native")
    assert backend.durability({}).level == "D0"
    assert {c.value for c in backend.capabilities} == {"vectored", "wal", "eviction", "upload"}
