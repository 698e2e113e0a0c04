"""What the system says about memory: resident pages and page faults of this process."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import pytest

from bench_cli.interfaces import BlockCache, CacheBackend, CacheOptions
from tests.contract.cache_backends import KIB, MIB, TWINS, load, random_bytes, upload

SLACK = 4 * MIB  # what else the process may take or give back meanwhile


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


def resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def write_all(cache: BlockCache, name: str, length: int, data: bytes) -> None:
    for offset in range(0, length, len(data)):
        cache.write(name, offset, data)


def test_resident_memory_goes_back_to_the_pool_after_eviction(backend: CacheBackend) -> None:
    cache = backend.open(CacheOptions(pool_bytes=8 * MIB))
    data = random_bytes(MIB)
    before = resident()
    write_all(cache, "a", 64 * MIB, data)
    assert resident() - before > 56 * MIB - SLACK
    upload(cache)
    assert cache.evict_all() == 16
    assert resident() - before > 56 * MIB - SLACK
    cache.trim()
    assert cache.stats().resident == 8 * MIB
    assert abs(resident() - before) < SLACK
    cache.close()
    assert resident() - before < SLACK - 8 * MIB


def test_a_cache_that_is_dropped_unclosed_gives_its_memory_back(backend: CacheBackend) -> None:
    data = random_bytes(MIB)
    before = resident()
    cache = backend.open(CacheOptions(pool_bytes=8 * MIB))
    write_all(cache, "a", 32 * MIB, data)
    assert resident() - before > 32 * MIB - SLACK
    del cache
    assert resident() - before < SLACK


def test_writing_into_pooled_and_existing_blocks_faults_no_page(backend: CacheBackend) -> None:
    """32 MiB would be 8192 pages; what is left is the interpreter's own."""
    cache = backend.open(CacheOptions(pool_bytes=32 * MIB))
    data = random_bytes(128 * KIB)
    write_all(cache, "warm", 128 * KIB, data)
    cache.remove("warm")
    for _ in range(2):
        before = faults()
        write_all(cache, "a", 32 * MIB, data)
        assert faults() - before < 64
    cache.close()


def test_a_thousand_small_files_stay_small(backend: CacheBackend) -> None:
    data = random_bytes(KIB)
    cache = backend.open(CacheOptions())
    before = resident()
    for n in range(1000):
        cache.write(f"file-{n}", 0, data)
    assert (resident() - before) / 1000 < 16 * KIB
    cache.close()


def test_small_files_keep_their_bytes_while_others_come_and_go(backend: CacheBackend) -> None:
    """More than a few slabs of pages, handed out again and again."""
    cache = backend.open(CacheOptions())
    wanted: dict[str, bytes] = {}
    for turn in range(3):
        for n in range(1300):
            wanted[f"{turn}-{n}"] = random_bytes(64, seed=turn * 1300 + n)
            cache.write(f"{turn}-{n}", 0, wanted[f"{turn}-{n}"])
        for name in list(wanted)[turn::2]:
            cache.remove(name)
            del wanted[name]
    found = bytearray(64)
    for name, data in wanted.items():
        cache.read_into(name, 0, found)
        assert found == data
    assert cache.stats().allocated == len(wanted) * 4 * KIB
    cache.close()


def test_pages_of_small_files_go_back_to_the_system_with_a_trim() -> None:
    cache = load("bench_cli.cache.native").open(CacheOptions())
    before = resident()
    for n in range(5000):
        cache.write(f"file-{n}", 0, b"x" * 4 * KIB)
    assert resident() - before > 5000 * 4 * KIB - SLACK
    upload(cache)
    assert cache.evict_all() == 5000
    assert resident() - before < 2 * SLACK  # as much as a whole block is kept
    cache.trim()
    assert resident() - before < SLACK
    cache.close()
