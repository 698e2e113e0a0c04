"""Block stores and the uploader."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench_cli.cache.stores import LONGEST, DirectoryStore, MemoryStore, escape
from bench_cli.cache.uploader import Uploader, UploadFailed
from bench_cli.errors import StoreError
from bench_cli.filesystem import SystemFileSystem
from bench_cli.interfaces import BlockCache, BlockStore, Buffer
from tests.contract.cache_backends import TWINS, load, random_bytes, read, small

NAMES = ["a", "", ".", "..", "a/b", "../../etc/passwd", "\n\x00\x1b", "ü", "%41", "A~b", "x" * 9999]


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlockStore:
    return MemoryStore() if request.param == "memory" else DirectoryStore(tmp_path / "store")


@pytest.fixture(params=TWINS)
def cache(request: pytest.FixtureRequest) -> BlockCache:
    return load(request.param).open(small())


# --- stores ------------------------------------------------------------------------------------


def test_extents_are_merged_into_the_stored_block(store: BlockStore) -> None:
    store.put("a", 3, [(2, b"cd")])
    assert store.get("a", 3) == b"\0\0cd"
    store.put("a", 3, [(0, b"A"), (3, bytearray(b"DE")), (8, memoryview(b"I"))])
    assert store.get("a", 3) == b"A\0cDE\0\0\0I"
    assert store.get("a", 4) is None
    assert store.get("b", 3) is None


def test_blocks_are_listed_in_order_and_deleted_together(store: BlockStore) -> None:
    for block in (10, 9, 0, 1 << 41):
        store.put("a", block, [(0, b"x")])
    store.put("b", 1, [(0, b"x")])
    assert list(store.blocks("a")) == [0, 9, 10, 1 << 41]
    store.delete("a")
    store.delete("a")
    assert list(store.blocks("a")) == []
    assert list(store.blocks("b")) == [1]


def test_a_block_can_be_cut(store: BlockStore) -> None:
    store.put("a", 0, [(0, b"abcdef")])
    store.cut("a", 0, 4)
    assert store.get("a", 0) == b"abcd"
    store.cut("a", 0, 100)
    assert store.get("a", 0) == b"abcd"
    store.cut("a", 0, 0)
    store.cut("a", 7, 5)
    assert list(store.blocks("a")) == []


def test_every_name_is_a_file_of_its_own(store: BlockStore) -> None:
    for number, name in enumerate(NAMES):
        store.put(name, 0, [(0, str(number).encode())])
    assert [store.get(name, 0) for name in NAMES] == [
        str(number).encode() for number in range(len(NAMES))
    ]


def test_a_directory_store_writes_only_below_its_root(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for name in NAMES:
        store.put(name, 0, [(0, b"x")])
    assert os.listdir(tmp_path) == ["store"]
    assert all(len(folder) <= 255 for folder in os.listdir(tmp_path / "store"))
    assert len(os.listdir(tmp_path / "store")) == len(NAMES)


def test_escaped_names_differ_also_where_they_are_shortened() -> None:
    long = ["y" * 5000, "y" * 5001, "y" * LONGEST, "y" * (LONGEST + 1)]
    assert len({escape(name) for name in [*NAMES, *long]}) == len(NAMES) + len(long)
    assert escape("..") == "%2E%2E"
    assert escape("a b") == "a%20b"


class Recorder(SystemFileSystem):
    """Notes calls and fails the one it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: str | None = None

    def note(self, call: str) -> None:
        self.calls.append(call)
        if call == self.failing:
            raise OSError(28, "No space left on device")

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        self.note("write")
        return super().pwrite(fd, data[: max(1, len(data) // 2)], offset)  # short writes

    def sync(self, fd: int) -> None:
        self.note("sync")
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self.note("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self.note(f"sync {path.name}")
        super().sync_directory(path)


def test_a_block_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path: Path) -> None:
    system = Recorder()
    store = DirectoryStore(tmp_path / "root", system)
    store.put("a", 0, [(0, b"abcdefgh")])
    order = [call for call in system.calls if call != "write"]
    assert order == ["sync root", "sync", "rename", "sync a"]
    assert store.get("a", 0) == b"abcdefgh"


@pytest.mark.parametrize("failing", ["write", "sync", "rename"])
def test_a_failed_put_leaves_the_old_block_and_no_litter(tmp_path: Path, failing: str) -> None:
    system = Recorder()
    store = DirectoryStore(tmp_path, system)
    store.put("a", 0, [(0, b"old")])
    system.failing = failing
    with pytest.raises(StoreError):
        store.put("a", 0, [(0, b"new")])
    assert store.get("a", 0) == b"old"
    assert os.listdir(tmp_path / "a") == ["0.blk"]


def test_a_store_that_cannot_be_read_is_a_store_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a", 0, [(0, b"x")])
    (tmp_path / "a" / "0.blk").unlink()
    (tmp_path / "a" / "0.blk").symlink_to("/etc/hostname")
    with pytest.raises(StoreError):
        store.get("a", 0)


# --- uploader ----------------------------------------------------------------------------------


class Unreliable(MemoryStore):
    """Fails the first ``failures`` puts; ``forgets`` loses bytes silently."""

    def __init__(self, failures: int = 0, forgets: bool = False) -> None:
        super().__init__()
        self.failures, self.forgets = failures, forgets
        self.guard = threading.Lock()

    def put(self, name: str, block: int, extents: Iterable[tuple[int, Buffer]]) -> None:
        with self.guard:
            self.failures -= 1
            if self.failures >= 0:
                raise StoreError("told to fail")
        super().put(name, block, [(0, b"?")] if self.forgets else extents)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_everything_dirty_reaches_the_store(cache: BlockCache, workers: int) -> None:
    contents = {f"f{n}": random_bytes(10_000 + n, n) for n in range(20)}
    for name, data in contents.items():
        cache.write(name, 100, data)
    store = MemoryStore()
    report = Uploader(cache, store, block_size=4096, workers=workers).drain()
    assert (report.uploaded, report.stale, report.retries) == (60, 0, 0)
    assert cache.dirty_blocks() == []
    for name, data in contents.items():
        stored = b"".join(store.get(name, block) or b"" for block in store.blocks(name))
        assert stored == bytes(100) + data


def test_a_failed_upload_is_tried_again_after_growing_pauses(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    pauses: list[int] = []
    report = Uploader(cache, Unreliable(3), sleep=pauses.append).drain()
    assert (report.uploaded, report.retries) == (1, 3)
    assert pauses == [10_000_000, 20_000_000, 40_000_000]


def test_what_cannot_be_stored_stays_dirty_and_is_reported(cache: BlockCache) -> None:
    cache.write("a", 0, b"x")
    cache.write("b", 0, b"x")
    pauses: list[int] = []
    with pytest.raises(UploadFailed) as failed:
        Uploader(cache, Unreliable(3), attempts=3, sleep=pauses.append).drain()
    [failure] = failed.value.report.failures
    assert (failure.block.name, failure.attempts) == ("a", 3)
    assert failed.value.report.uploaded == 1
    assert [dirty.name for dirty in cache.dirty_blocks()] == ["a"]
    assert len(pauses) == 2


def test_a_store_that_loses_bytes_is_not_believed(cache: BlockCache) -> None:
    cache.write("a", 0, b"precious")
    with pytest.raises(UploadFailed) as failed:
        Uploader(cache, Unreliable(forgets=True), attempts=2, sleep=lambda _: None).drain()
    assert failed.value.report.failures[0].block.block == 0
    assert len(cache.dirty_blocks()) == 1


def test_an_error_that_is_not_the_stores_is_raised(cache: BlockCache) -> None:
    class Broken(MemoryStore):
        def put(self, name: str, block: int, extents: Iterable[tuple[int, Buffer]]) -> None:
            raise ZeroDivisionError

    for n in range(8):
        cache.write("a", n * 4096, b"x")
    with pytest.raises(ZeroDivisionError):
        Uploader(cache, Broken(), workers=3).drain()
    assert len(cache.dirty_blocks()) == 8


def test_a_block_removed_during_its_upload_is_no_failure(cache: BlockCache) -> None:
    class Removing(MemoryStore):
        def put(self, name: str, block: int, extents: Iterable[tuple[int, Buffer]]) -> None:
            super().put(name, block, extents)
            cache.remove(name)

    cache.write("a", 0, b"x")
    report = Uploader(cache, Removing()).drain()
    assert (report.uploaded, report.stale) == (0, 1)


def test_removal_and_truncation_reach_the_store(cache: BlockCache) -> None:
    store = MemoryStore()
    uploader = Uploader(cache, store, block_size=4096)
    cache.write("a", 0, b"x" * 12_000)
    cache.write("b", 0, b"y")
    uploader.drain()
    uploader.truncate("a", 5000)
    assert [len(store.get("a", block) or b"") for block in store.blocks("a")] == [4096, 904]
    cache.evict_all()
    cache.fill("a", 4096, store.get("a", 1) or b"")
    cache.write("a", 9000, b"z")
    assert read(cache, "a", 4990, 20) == b"x" * 10 + bytes(10)
    uploader.remove("a")
    assert list(store.blocks("a")) == []
    assert list(store.blocks("b")) == [0]


def test_a_file_larger_than_the_cache_passes_through_it() -> None:
    for module in TWINS:
        cache = load(module).open(small(max_size=16 << 10, wait_ns=60_000_000_000))
        store = MemoryStore()
        data = random_bytes(200_000)
        stop = threading.Event()
        uploader = Uploader(cache, store, block_size=4096, workers=2)
        thread = threading.Thread(target=uploader.run, args=(stop,))
        thread.start()
        for offset in range(0, len(data), 1000):
            cache.write("a", offset, data[offset : offset + 1000])
        stop.set()
        thread.join()
        assert b"".join(store.get("a", block) or b"" for block in store.blocks("a")) == data
        assert cache.stats().evicted_blocks >= len(data) // 4096 - 4
        cache.close()


def test_workers_and_attempts_are_at_least_one(cache: BlockCache) -> None:
    for wrong in ({"workers": 0}, {"attempts": 0}):
        with pytest.raises(ValueError):
            Uploader(cache, MemoryStore(), **wrong)


@pytest.mark.parametrize("module", ["python", "native"])
def test_a_backend_opens_the_stores_it_uploads_to(module: str, tmp_path: Path) -> None:
    backend = pytest.importorskip(f"bench_cli.cache.{module}").Backend()
    for kind in ("memory", "directory"):
        store = backend.store(kind, tmp_path / kind)
        store.put("a", 3, [(0, b"block")])
        assert store.get("a", 3) == b"block"
    with pytest.raises(ValueError, match="tape"):
        backend.store("tape", tmp_path)
