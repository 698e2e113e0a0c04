"""Faults found in an earlier block cache, each as a test of both twins. The numbers are those of
the project's list of faults."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench_cli.cache.stores import MemoryStore
from bench_cli.cache.uploader import Uploader
from bench_cli.errors import CacheFull, FileNotCached, LogWriteFailed
from bench_cli.interfaces import BlockCache, CacheBackend, CacheOptions, LogBackend, LogOptions
from tests.cache.fake_log import FakeLog, FakeLogBackend
from tests.contract.cache_backends import KIB, TWINS, load, read, small, upload

LOGS = ("fake", "bench_cli.wal.log:MmapBackend", "bench_cli.wal.native:BasicBackend")


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


class Machine:
    """A cache on a log that can crash: everything in memory is forgotten, the log is not."""

    def __init__(
        self,
        backend: CacheBackend,
        log_backend: LogBackend,
        directory: Path,
        log_format: str = "binary",
    ) -> None:
        self.backend, self.log_backend, self.directory = backend, log_backend, directory
        self.log_options = LogOptions(log_format, 1 << 20)
        self.options = small()
        self.log = log_backend.open(directory, self.log_options)
        self.cache = backend.open(self.options, log=self.log, directory=directory)

    def crash(self, options: CacheOptions | None = None) -> BlockCache:
        self.cache.close()
        self.log.close()
        self.cache, self.log, _ = self.backend.recover(
            options or self.options,
            backend=self.log_backend,
            directory=self.directory,
            log_options=self.log_options,
        )
        return self.cache


@pytest.fixture(params=LOGS)
def machine(request: pytest.FixtureRequest, backend: CacheBackend, tmp_path: Path) -> Machine:
    if request.param == "fake":
        return Machine(backend, FakeLogBackend(), tmp_path)
    module, name = request.param.split(":")
    return Machine(backend, getattr(pytest.importorskip(module), name)(), tmp_path)


def mark(cache: BlockCache, name: str) -> None:
    [dirty] = cache.dirty_blocks(name)
    assert cache.mark_uploaded(*dirty)


@pytest.mark.parametrize("log_format", ["text", "jsonl"])
@pytest.mark.parametrize("place", LOGS[1:])
def test_a_cache_on_a_log_of_lines_comes_back_whole(
    backend: CacheBackend, place: str, log_format: str, tmp_path: Path
) -> None:
    module, name = place.split(":")
    log_backend = getattr(pytest.importorskip(module), name)()
    machine = Machine(backend, log_backend, tmp_path, log_format)
    data = bytes(range(256)) * 40
    machine.cache.write("a", 3, data)
    machine.cache.write("b", 0, b"some words")
    machine.cache.write("c", 0, b"gone")
    mark(machine.cache, "b")
    machine.cache.truncate("a", 5000)
    machine.cache.remove("c")
    before = machine.cache.dirty_blocks()
    cache = machine.crash()
    assert cache.dirty_blocks() == before
    assert read(cache, "a", 3, 4997) == data[:4997]
    with pytest.raises(FileNotCached):
        read(cache, "c", 0, 4)


# --- recovery ----------------------------------------------------------------------------------


def test_fault_01_bytes_written_after_an_upload_are_dirty_after_a_restart(machine: Machine) -> None:
    machine.cache.write("a", 0, b"first")
    mark(machine.cache, "a")
    machine.cache.write("a", 0, b"again")
    machine.cache.write("b", 0, b"clean")
    mark(machine.cache, "b")
    before = machine.cache.dirty_blocks()
    cache = machine.crash()
    assert cache.dirty_blocks() == before
    assert [dirty.name for dirty in before] == ["a"]
    assert cache.evict_all() == 1
    assert read(cache, "a", 0, 5) == b"again"


def test_fault_02_a_write_after_a_remove_is_recovered(machine: Machine) -> None:
    machine.cache.write("a", 0, b"old bytes")
    machine.cache.remove("a")
    machine.cache.write("a", 2, b"new")
    machine.cache.write("b", 0, b"gone")
    machine.cache.remove("b")
    cache = machine.crash()
    assert cache.list_files() == [("a", 5)]
    assert read(cache, "a", 0, 9) == b"\0\0new\0\0\0\0"


def test_fault_03_a_truncation_is_recovered(machine: Machine) -> None:
    machine.cache.write("a", 0, b"x" * 9000)
    machine.cache.truncate("a", 5000)
    machine.cache.truncate("a", 20_000)
    cache = machine.crash()
    assert cache.list_files() == [("a", 20_000)]
    assert read(cache, "a", 4990, 5000) == b"x" * 10 + bytes(4990)
    assert [dirty.block for dirty in cache.dirty_blocks()] == [0, 1]


def test_an_upload_of_a_cut_block_that_held_bytes_from_the_store_is_recovered(
    machine: Machine,
) -> None:
    machine.cache.write("a", 0, b"x" * 10)
    machine.cache.fill("a", 100, b"y" * 50)
    machine.cache.truncate("a", 50)
    mark(machine.cache, "a")
    assert machine.crash().dirty_blocks() == []


# --- truncation --------------------------------------------------------------------------------


def test_fault_04_truncation_gives_the_pending_bytes_back(backend: CacheBackend) -> None:
    cache = backend.open(small(max_pending=8 * KIB))
    for _ in range(10):
        cache.write("a", 0, b"x" * 8192)
        cache.truncate("a", 0)
        assert cache.stats().pending == 0
    cache.write("b", 0, b"x" * 8192)


def test_fault_05_bytes_cut_off_never_show_again(backend: CacheBackend) -> None:
    cache = backend.open(small())
    cache.write("a", 0, b"x" * 9000)
    cache.truncate("a", 100)
    cache.write("a", 200, b"y")
    cache.write("a", 8999, b"y")
    assert read(cache, "a", 0, 9000) == b"x" * 100 + bytes(100) + b"y" + bytes(8798) + b"y"
    assert cache.read_block("a", 0)[1] == [(0, b"x" * 100), (200, b"y")]


# --- reading -----------------------------------------------------------------------------------


def test_fault_06_a_read_leaves_no_stale_bytes_in_the_callers_buffer(backend: CacheBackend) -> None:
    cache = backend.open(small())
    cache.write("a", 0, b"x")
    cache.write("a", 20_000, b"x")
    buffer = bytearray(b"\xee" * 30_000)
    cache.read_into("a", 0, buffer)
    assert buffer == b"x" + bytes(19_999) + b"x" + bytes(9_999)
    assert cache.read_into("a", 5, bytearray()) == 0
    assert cache.read_many([("a", 0, bytearray())]) == 0


@pytest.mark.parametrize("bits", [31, 32, 33])
def test_fault_07_an_offset_near_32_bits_stores_its_bytes(backend: CacheBackend, bits: int) -> None:
    cache = backend.open(CacheOptions(block_size=64 * KIB, chunk_size=64 * KIB))
    for offset in ((1 << bits) - 3, (1 << bits) - 1, 1 << bits):
        cache.write("a", offset, b"12345")
        assert read(cache, "a", offset - 1, 6)[1:] == b"12345"
        assert cache.file_size("a") == offset + 5
    with pytest.raises(ValueError):
        cache.write("a", (1 << 63) - 3, b"12345")


def test_fault_08_one_byte_covers_one_byte(backend: CacheBackend) -> None:
    cache = backend.open(small())
    cache.write("a", 70, b"x")
    assert [n for n in range(4096) if cache.is_range_covered("a", n, 1)] == [70]
    assert cache.read_block("a", 0)[1] == [(70, b"x")]


def test_fault_09_reads_count_as_use(backend: CacheBackend) -> None:
    cache = backend.open(small())
    for name in "abc":
        cache.write(name, 0, name.encode())
    upload(cache)
    read(cache, "a", 0, 1)
    cache.read_many([("b", 0, bytearray(1))])
    cache.evict_one()
    assert [name for name in "abc" if cache.is_range_covered(name, 0, 1)] == ["a", "b"]
    cache.evict_one()
    assert [name for name in "abc" if cache.is_range_covered(name, 0, 1)] == ["b"]


def test_fault_13_reading_an_unknown_file_creates_nothing(backend: CacheBackend) -> None:
    cache = backend.open(small())
    with pytest.raises(FileNotCached):
        cache.read_into("a", 0, bytearray(1))
    with pytest.raises(FileNotCached):
        cache.read_many([("a", 0, bytearray(1))])
    assert not cache.is_range_covered("a", 0, 1)
    assert cache.list_files() == []
    assert cache.stats().files == 0


# --- uploading ---------------------------------------------------------------------------------


def test_fault_10_a_write_during_an_upload_keeps_the_block_dirty(backend: CacheBackend) -> None:
    cache = backend.open(small())
    store = MemoryStore()
    put = store.put

    def write_meanwhile(name: str, block: int, extents: list[tuple[int, bytes]]) -> None:
        put(name, block, extents)
        store.put = put  # type: ignore[method-assign]
        cache.write("a", 1, b"Z")

    cache.write("a", 0, b"abc")
    store.put = write_meanwhile  # type: ignore[method-assign,assignment]
    report = Uploader(cache, store).upload_once()
    assert (report.uploaded, report.stale) == (0, 1)
    assert [dirty.block for dirty in cache.dirty_blocks()] == [0]
    assert not cache.evict_one()
    assert Uploader(cache, store).drain().uploaded == 1
    assert store.get("a", 0) == b"aZc"


def test_fault_11_a_mark_counts_only_for_the_bytes_that_were_read(backend: CacheBackend) -> None:
    cache = backend.open(small())
    cache.write("a", 0, b"sent")
    [listed] = cache.dirty_blocks()
    cache.write("a", 0, b"late")
    assert cache.mark_uploaded(*listed) is False
    assert [dirty.name for dirty in cache.dirty_blocks()] == ["a"]
    cache.remove("a")
    cache.write("a", 0, b"anew")
    assert cache.mark_uploaded(*listed) is False
    assert len(cache.dirty_blocks()) == 1


def test_fault_12_filling_keeps_newer_local_bytes(backend: CacheBackend) -> None:
    cache = backend.open(small())
    cache.write("a", 2, b"NEW")
    cache.write("a", 5000, b"NEW")
    cache.fill("a", 0, b"o" * 8192)
    assert read(cache, "a", 0, 8192) == b"ooNEW" + b"o" * 4995 + b"NEW" + b"o" * 3189
    cache.truncate("a", 4)
    assert read(cache, "a", 0, 5) == b"ooNE\0"


# --- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_size", "max_pending"])
def test_fault_14_no_part_of_a_refused_write_stays(backend: CacheBackend, limit: str) -> None:
    log = FakeLog()
    cache = backend.open(small(**{limit: 8 * KIB}), log=log)
    cache.write("a", 0, b"a" * 100)
    with pytest.raises(CacheFull):
        cache.write("a", 50, b"b" * 9000)
    with pytest.raises(CacheFull):
        cache.write("b", 4000, b"b" * 5000)
    assert read(cache, "a", 0, 10_000) == b"a" * 100 + bytes(9900)
    assert cache.list_files() == [("a", 100)]
    assert len(log.records) == 1


def test_fault_14_no_part_of_a_write_stays_that_the_log_refused(backend: CacheBackend) -> None:
    log = FakeLog()
    cache = backend.open(small(pool_bytes=8 * KIB), log=log)
    cache.write("a", 0, b"a" * 100)
    before = cache.stats(), cache.dirty_blocks()
    log.failing = True
    for failing in (
        lambda: cache.write("a", 0, b"b"),
        lambda: cache.write("a", 50, b"b" * 9000),
        lambda: cache.write("b", 0, b"b" * 5000),
        lambda: cache.write_many([("a", 0, b"b")]),
        lambda: cache.truncate("a", 10),
        lambda: cache.remove("a"),
        lambda: cache.mark_uploaded(*before[1][0]),
    ):
        with pytest.raises(LogWriteFailed):
            failing()
    after = replace(cache.stats(), pooled=before[0].pooled)  # where unused buffers went
    assert (after, cache.dirty_blocks()) == before
    assert read(cache, "a", 0, 200) == b"a" * 100 + bytes(100)
    assert cache.list_files() == [("a", 100)]


@pytest.mark.parametrize("limit", ["max_size", "max_pending"])
def test_fault_15_limits_hold_on_recovery(machine: Machine, limit: str) -> None:
    for name in "abc":
        machine.cache.write(name, 0, name.encode())
    with pytest.raises(CacheFull) as refusal:
        machine.crash(small(**{limit: 8 * KIB}))
    full = refusal.value
    assert (full.which, full.used, full.needed, full.limit) == (limit, 8192, 4096, 8192)
    cache = machine.crash(small(**{limit: 12 * KIB}))
    assert [read(cache, name, 0, 1) for name in "abc"] == [b"a", b"b", b"c"]
    assert cache.stats().allocated == 12 * KIB


def test_fault_15_what_fitted_before_a_crash_fits_after_it(machine: Machine) -> None:
    """A clean block that had gone from memory is small again when it is written next; the log
    does not say that it had gone."""
    machine.cache.close()
    big = CacheOptions(block_size=64 * KIB, chunk_size=64 * KIB, max_size=68 * KIB)
    machine.cache = machine.backend.open(big, log=machine.log, directory=machine.directory)
    machine.cache.write("a", 0, b"a" * 65536)
    mark(machine.cache, "a")
    machine.cache.evict_all()
    machine.cache.write("a", 0, b"small")
    machine.cache.write("b", 0, b"b" * 65536)
    cache = machine.crash(big)
    assert cache.stats().allocated == 68 * KIB
    assert read(cache, "a", 0, 6) == b"small\0"
    assert read(cache, "b", 0, 65536) == b"b" * 65536
    assert [dirty.name for dirty in cache.dirty_blocks()] == ["a", "b"]


def in_the_middle(log: FakeLog, work: Callable[[], None]) -> threading.Thread:
    """Let another thread begin ``work`` in the middle of the next append, and give it the chance
    to get as far as it can without that append being over."""
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


@pytest.mark.parametrize("limit", ["max_size", "max_pending"])
def test_fault_16_two_threads_cannot_both_take_the_last_room(
    backend: CacheBackend, limit: str
) -> None:
    log = FakeLog()
    cache = backend.open(small(**{limit: 8 * KIB}), log=log)
    refused: list[CacheFull] = []

    def second() -> None:
        try:
            cache.write("b", 0, b"b" * 8192)
        except CacheFull as full:
            refused.append(full)

    thread = in_the_middle(log, second)
    cache.write("a", 0, b"a" * 8192)
    thread.join()
    assert len(refused) == 1
    assert cache.list_files() == [("a", 8192)]
    assert cache.stats().allocated == 8 * KIB


def test_fault_16_a_removal_waits_for_the_write_in_the_log(backend: CacheBackend) -> None:
    log_backend = FakeLogBackend()
    log = log_backend.log
    cache = backend.open(small(), log=log)
    cache.write("a", 0, b"old")
    thread = in_the_middle(log, lambda: cache.remove("a"))
    cache.write("a", 0, b"new")
    thread.join()
    assert cache.list_files() == []
    recovered, _, _ = backend.recover(
        small(), backend=log_backend, directory=Path("/nonexistent"), log_options=LogOptions()
    )
    assert recovered.list_files() == []


# --- the log's length --------------------------------------------------------------------------


def test_fault_24_a_checkpoint_shortens_the_log_to_what_is_dirty(machine: Machine) -> None:
    for n in range(50):
        machine.cache.write("clean", n * 100, bytes([n]) * 100)
        machine.cache.write("gone", n * 100, b"g" * 100)
    machine.cache.remove("gone")
    upload(machine.cache)
    machine.cache.write("dirty", 5000, b"kept")
    machine.cache.truncate("clean", 4800)
    before = machine.log.stats().file_size
    machine.cache.checkpoint()
    assert machine.log.stats().file_size < before / 5
    dirty = machine.cache.dirty_blocks()
    machine.cache.write("after", 0, b"checkpoint")
    cache = machine.crash()
    assert cache.list_files() == [("after", 10), ("clean", 4800), ("dirty", 5004)]
    assert read(cache, "dirty", 4999, 6) == b"\0kept\0"
    assert read(cache, "after", 0, 10) == b"checkpoint"
    assert [d for d in cache.dirty_blocks() if d.name != "after"] == dirty
    cache.write("dirty", 5001, b"E")
    cache.checkpoint()
    cache = machine.crash()
    assert read(cache, "dirty", 5000, 4) == b"kEpt"


def test_the_faults_are_those_of_the_cache() -> None:
    module = importlib.import_module(__name__)
    numbers = {name[11:13] for name in dir(module) if name.startswith("test_fault_")}
    assert numbers == {f"{n:02d}" for n in range(1, 17)} | {"24"}
