"""Checkpoints: whatever happens on the way, the dirty bytes are in the log or in the snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli.cache.snapshot import NAME, SavedFile, read_snapshot
from bench_cli.errors import LogCorrupt
from bench_cli.filesystem import SYSTEM, SystemFileSystem
from bench_cli.interfaces import BlockCache, CacheBackend, CacheOptions, LogOptions
from tests.cache.fake_log import FakeLogBackend
from tests.contract.cache_backends import KIB, TWINS, load, read, small, upload


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


class Stop(OSError):
    """The machine stopped here."""


class StoppingFiles(SystemFileSystem):
    """Stops at the n-th call."""

    def __init__(self, stop_at: int) -> None:
        self.left = stop_at

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stop

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        self.step()
        return super().open(path, flags, mode)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        self.step()
        return super().pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.step()
        super().sync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self.step()
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self.step()
        super().sync_directory(path)


def recovered(
    backend: CacheBackend, logs: FakeLogBackend, path: Path, options: CacheOptions
) -> BlockCache:
    cache, _, _ = backend.recover(options, backend=logs, directory=path, log_options=LogOptions())
    return cache


def test_a_checkpoint_that_stops_anywhere_loses_nothing(
    backend: CacheBackend, tmp_path: Path
) -> None:
    stops = 0
    while True:
        path = tmp_path / str(stops)
        path.mkdir()
        logs = FakeLogBackend()
        cache = backend.open(small(), log=logs.log, directory=path)
        cache.write("a", 0, b"first")
        cache.checkpoint()
        cache.write("a", 0, b"FI")
        cache.write("b", 6000, b"second")
        before = cache.dirty_blocks()
        cache.close()
        cache, _, _ = backend.recover(
            small(),
            backend=logs,
            directory=path,
            log_options=LogOptions(file_system=StoppingFiles(stops + 1)),
        )
        finished = True
        try:
            cache.checkpoint()
        except Stop:
            finished = False
        cache.close()
        cache = recovered(backend, logs, path, small())
        assert cache.dirty_blocks() == before
        assert read(cache, "a", 0, 6) == b"FIrst\0"
        assert read(cache, "b", 5999, 8) == b"\0second\0"
        if finished:
            break
        stops += 1
    assert stops > 10


def test_a_stop_before_the_log_is_emptied_replays_nothing_twice(
    backend: CacheBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records are still there and would not fit beside what the snapshot holds."""
    logs = FakeLogBackend()
    options = small(max_size=8 * KIB)
    cache = backend.open(options, log=logs.log, directory=tmp_path)
    cache.write("a", 0, b"a")
    cache.write("b", 0, b"b")
    upload(cache)
    cache.write("c", 0, b"c")

    def stop() -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(logs.log, "reset", stop)
        with pytest.raises(Stop):
            cache.checkpoint()
    cache.close()
    cache = recovered(backend, logs, tmp_path, options)
    assert cache.list_files() == [("a", 1), ("b", 1), ("c", 1)]
    assert [dirty.name for dirty in cache.dirty_blocks()] == ["c"]
    assert read(cache, "c", 0, 2) == b"c\0"


def test_new_records_count_also_after_the_log_was_lost(
    backend: CacheBackend, tmp_path: Path
) -> None:
    """A log begun anew numbers from 1, below what the snapshot covers."""
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    for n in range(9):
        cache.write("a", n, bytes([n]))
    cache.checkpoint()
    cache.close()
    anew = FakeLogBackend()
    cache = recovered(backend, anew, tmp_path, small())
    cache.write("a", 0, b"N")
    cache.close()
    cache = recovered(backend, anew, tmp_path, small())
    assert read(cache, "a", 0, 9) == b"N\x01\x02\x03\x04\x05\x06\x07\x08"


def test_sizes_of_clean_and_empty_files_survive_a_checkpoint(
    backend: CacheBackend, tmp_path: Path
) -> None:
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    cache.write("clean\udcff", 0, bytes(5000))
    upload(cache)
    cache.write("empty", 0, b"x")
    cache.truncate("empty", 0)
    cache.write("long", 1 << 40, b"x")
    cache.checkpoint()
    assert logs.log.records == []
    cache.close()
    cache = recovered(backend, logs, tmp_path, small())
    assert cache.list_files() == [("clean\udcff", 5000), ("empty", 0), ("long", (1 << 40) + 1)]
    assert [(dirty.name, dirty.block) for dirty in cache.dirty_blocks()] == [("long", 1 << 28)]


def test_both_twins_write_the_same_snapshot(tmp_path: Path) -> None:
    images = []
    for module in TWINS:
        path = tmp_path / module
        path.mkdir()
        cache = load(module).open(small(), log=FakeLogBackend().log, directory=path)
        cache.write("a", 100, b"x" * 9000)
        cache.write("b", 1, b"y")
        cache.write("b", 3, b"y")
        cache.mark_uploaded(*cache.dirty_blocks("a")[1])
        cache.checkpoint()
        images.append((path / NAME).read_bytes())
    assert images[0] == images[1]


@pytest.mark.parametrize("writer, reader", [TWINS, TWINS[::-1]])
def test_each_twin_recovers_what_the_other_wrote(tmp_path: Path, writer: str, reader: str) -> None:
    logs = FakeLogBackend()
    cache = load(writer).open(small(), log=logs.log, directory=tmp_path)
    cache.write("a", 100, b"x" * 9000)
    cache.checkpoint()
    cache.write("a", 50, b"y" * 100)
    cache.write("b", 0, b"z")
    cache.mark_uploaded(*cache.dirty_blocks("b")[0])
    cache.truncate("a", 5000)
    expected = cache.dirty_blocks(), cache.list_files(), read(cache, "a", 0, 6000)
    cache.close()
    cache = recovered(load(reader), logs, tmp_path, small())
    assert (cache.dirty_blocks(), cache.list_files(), read(cache, "a", 0, 6000)) == expected


# --- damage ------------------------------------------------------------------------------------


def snapshot(tmp_path: Path) -> bytes:
    cache = load(TWINS[0]).open(small(), log=FakeLogBackend().log, directory=tmp_path)
    cache.write("a", 0, b"some bytes")
    cache.checkpoint()
    cache.close()
    return (tmp_path / NAME).read_bytes()


def refused(tmp_path: Path, image: bytes) -> bool:
    (tmp_path / NAME).write_bytes(image)
    seen: list[SavedFile] = []
    try:
        read_snapshot(SYSTEM, tmp_path, 4096, seen.append)
    except LogCorrupt as damage:
        return not seen and damage.path.endswith(NAME)
    return False


def test_every_flipped_bit_of_a_snapshot_is_refused(tmp_path: Path) -> None:
    image = snapshot(tmp_path)
    for bit in range(8 * len(image)):
        flipped = bytearray(image)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(tmp_path, bytes(flipped)), f"bit {bit}"


def test_every_shortened_or_lengthened_snapshot_is_refused(tmp_path: Path) -> None:
    image = snapshot(tmp_path)
    for length in range(len(image)):
        assert refused(tmp_path, image[:length])
    assert refused(tmp_path, image + b"\0")


def test_a_damaged_snapshot_stops_recovery(backend: CacheBackend, tmp_path: Path) -> None:
    image = bytearray(snapshot(tmp_path))
    image[30] ^= 1
    (tmp_path / NAME).write_bytes(image)
    with pytest.raises(LogCorrupt):
        recovered(backend, FakeLogBackend(), tmp_path, small())


def test_a_snapshot_of_another_block_size_is_refused(backend: CacheBackend, tmp_path: Path) -> None:
    snapshot(tmp_path)
    with pytest.raises(ValueError):
        recovered(backend, FakeLogBackend(), tmp_path, small(block_size=8192))


def test_a_snapshot_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    snapshot(tmp_path)
    (tmp_path / NAME).rename(tmp_path / "elsewhere")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    seen: list[SavedFile] = []
    with pytest.raises(OSError):
        read_snapshot(SYSTEM, tmp_path, 4096, seen.append)
