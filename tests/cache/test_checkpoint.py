"""Checkpoints: whatever happens on the way, the dirty bytes are in the log or in the snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli.cache.snapshot import KIND
from bench_cli.errors import LogCorrupt, SnapshotFailed, SnapshotUnusable, Unsupported
from bench_cli.filesystem import SYSTEM, SystemFileSystem
from bench_cli.interfaces import BlockCache, CacheBackend, CacheOptions, LogOptions, Recovery
from bench_cli.wal.snapshot import Folder
from tests.cache.fake_log import FakeLogBackend
from tests.contract.cache_backends import KIB, TWINS, load, read, small, upload
from tests.contract.log_backends import load as load_log


@pytest.fixture(params=TWINS)
def backend(request: pytest.FixtureRequest) -> CacheBackend:
    return load(request.param)


class Stop(BaseException):
    """The machine stopped here."""


class StoppingFiles(SystemFileSystem):
    """Stops at the n-th call from when it is told to."""

    left = 1 << 60
    error: BaseException = Stop()

    def stop_at(self, call: int, error: BaseException) -> None:
        self.left, self.error = call, error

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error

    def listdir(self, path: Path) -> list[str]:
        self.step()
        return super().listdir(path)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self.step()
        return super().pread(fd, length, offset)

    def unlink(self, path: Path) -> None:
        self.step()
        super().unlink(path)

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


def recovery(
    backend: CacheBackend,
    logs: FakeLogBackend,
    path: Path,
    options: CacheOptions,
    files: SystemFileSystem = SYSTEM,
) -> tuple[BlockCache, Recovery]:
    cache, _, found = backend.recover(
        options, backend=logs, directory=path, log_options=LogOptions(file_system=files)
    )
    return cache, found


def recovered(
    backend: CacheBackend, logs: FakeLogBackend, path: Path, options: CacheOptions
) -> BlockCache:
    return recovery(backend, logs, path, options)[0]


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("error", [Stop(), OSError(28, "no space left")])
def test_a_checkpoint_that_stops_anywhere_loses_nothing(
    backend: CacheBackend, tmp_path: Path, incremental: bool, error: BaseException
) -> None:
    stops = 0
    while True:
        path = tmp_path / str(stops)
        path.mkdir()
        logs = FakeLogBackend()
        cache = backend.open(small(), log=logs.log, directory=path)
        cache.write("a", 0, b"first")
        cache.write("c", 0, b"third")
        cache.checkpoint()
        cache.write("a", 0, b"FI")
        cache.write("b", 6000, b"second")
        before = cache.dirty_blocks()
        cache.close()
        files = StoppingFiles()
        cache, _ = recovery(backend, logs, path, small(), files)
        files.stop_at(stops, error)
        finished = True
        try:
            cache.checkpoint(incremental=incremental)
        except (Stop, SnapshotFailed):
            finished = False
        cache.close()
        cache = recovered(backend, logs, path, small())
        assert cache.dirty_blocks() == before
        assert read(cache, "a", 0, 6) == b"FIrst\0"
        assert read(cache, "b", 5999, 8) == b"\0second\0"
        assert read(cache, "c", 0, 5) == b"third"
        cache.close()
        if finished:
            break
        stops += 1
    assert stops > 10


@pytest.mark.parametrize(
    "log", ["bench_cli.wal.log:NoneBackend", "bench_cli.wal.native:NoneBackend"]
)
def test_a_log_that_keeps_nothing_takes_no_checkpoint(
    backend: CacheBackend, tmp_path: Path, log: str
) -> None:
    """A recovery would find it shorter than the snapshot."""
    cache = backend.open(
        small(), log=load_log(log).open(tmp_path, LogOptions()), directory=tmp_path
    )
    cache.write("a", 0, b"kept in memory")
    with pytest.raises(Unsupported, match="0 are durable"):
        cache.checkpoint()
    assert list(tmp_path.iterdir()) == []
    assert len(cache.dirty_blocks()) == 1
    cache.close()


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


def test_a_log_that_is_gone_is_missed(backend: CacheBackend, tmp_path: Path) -> None:
    """A log begun anew numbers from 1, below what the snapshot covers: what followed the snapshot
    is lost, and new records would be passed over."""
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    for n in range(9):
        cache.write("a", n, bytes([n]))
    cache.checkpoint()
    cache.close()
    with pytest.raises(SnapshotUnusable) as caught:
        recovered(backend, FakeLogBackend(), tmp_path, small())
    assert (caught.value.first, caught.value.last) == (1, 9)


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
        cache.write("b", 3, b"z")
        cache.checkpoint(incremental=True)
        images.append({file.name: file.read_bytes() for file in path.iterdir()})
    assert len(images[0]) == 2
    assert images[0] == images[1]


@pytest.mark.parametrize("writer, reader", [TWINS, TWINS[::-1]])
def test_each_twin_recovers_what_the_other_wrote(tmp_path: Path, writer: str, reader: str) -> None:
    logs = FakeLogBackend()
    cache = load(writer).open(small(), log=logs.log, directory=tmp_path)
    cache.write("a", 100, b"x" * 9000)
    cache.checkpoint()
    cache.write("a", 50, b"y" * 100)
    cache.checkpoint(incremental=True)
    cache.write("b", 0, b"z")
    cache.mark_uploaded(*cache.dirty_blocks("b")[0])
    cache.truncate("a", 5000)
    expected = cache.dirty_blocks(), cache.list_files(), read(cache, "a", 0, 6000)
    cache.close()
    cache = recovered(load(reader), logs, tmp_path, small())
    assert (cache.dirty_blocks(), cache.list_files(), read(cache, "a", 0, 6000)) == expected


# --- incremental ---------------------------------------------------------------------------------


def test_an_incremental_checkpoint_holds_only_what_changed(
    backend: CacheBackend, tmp_path: Path
) -> None:
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    for block in range(20):
        cache.write("a", block * 4 * KIB, b"x" * 4 * KIB)
    full = cache.checkpoint(incremental=True)  # nothing to add to
    cache.write("a", 0, b"y")
    added = cache.checkpoint(incremental=True)
    assert (full.base, added.base, added.covered) == (None, full.path, 21)
    assert full.bytes > 80 * KIB
    assert added.bytes < 6 * KIB


def test_what_was_removed_uploaded_or_cut_since_the_base_does_not_come_back(
    backend: CacheBackend, tmp_path: Path
) -> None:
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    for name in ("again", "cut", "kept", "removed", "uploaded"):
        cache.write(name, 0, name.encode() * 900)
    cache.checkpoint()
    cache.remove("removed")
    cache.remove("again")
    cache.write("again", 10, b"new")
    cache.truncate("cut", 2)
    for dirty in cache.dirty_blocks("uploaded"):
        cache.mark_uploaded(*dirty)
    cache.checkpoint(incremental=True)
    cache.checkpoint(incremental=True)
    expected = cache.dirty_blocks(), cache.list_files()
    cache.close()
    cache = recovered(backend, logs, tmp_path, small())
    assert (cache.dirty_blocks(), cache.list_files()) == expected
    assert read(cache, "again", 0, 20) == bytes(10) + b"new" + bytes(7)
    assert read(cache, "cut", 0, 5) == b"cu\0\0\0"
    assert read(cache, "kept", 0, 3600) == b"kept" * 900


def test_recovery_tells_its_snapshots_and_goes_on_with_them(
    backend: CacheBackend, tmp_path: Path
) -> None:
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    cache.write("a", 0, b"a" * 9000)
    full = cache.checkpoint()
    cache.write("b", 0, b"b")
    added = cache.checkpoint(incremental=True)
    cache.close()
    cache, found = recovery(backend, logs, tmp_path, small())
    assert found.snapshots.chain == (full, added)
    assert found.snapshots.rejected == ()
    assert cache.checkpoint(incremental=True).base == added.path


def test_a_full_checkpoint_leaves_one_chain_before_it(
    backend: CacheBackend, tmp_path: Path
) -> None:
    cache = backend.open(small(), log=FakeLogBackend().log, directory=tmp_path)
    for n in range(3):
        cache.write("a", 0, bytes([n]))
        cache.checkpoint()
        cache.write("a", 1, bytes([n]))
        cache.checkpoint(incremental=True)
    assert [path.name[:14] for path in sorted(tmp_path.iterdir())] == [
        f"cache-{number:08d}" for number in (3, 4, 5, 6)
    ]


# --- damage ------------------------------------------------------------------------------------


def snapshot(tmp_path: Path) -> Path:
    cache = load(TWINS[0]).open(small(), log=FakeLogBackend().log, directory=tmp_path)
    cache.write("a", 0, b"some bytes")
    path = Path(cache.checkpoint().path)
    cache.close()
    return path


def refused(path: Path, image: bytes) -> bool:
    path.write_bytes(image)
    found = Folder(SYSTEM, path.parent, KIND).newest()
    return not found.chain and [damage.path for damage in found.rejected] == [str(path)]


def test_every_flipped_bit_of_a_snapshot_is_refused(tmp_path: Path) -> None:
    path = snapshot(tmp_path)
    image = path.read_bytes()
    for bit in range(8 * len(image)):
        flipped = bytearray(image)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(path, bytes(flipped)), f"bit {bit}"


def test_every_shortened_or_lengthened_snapshot_is_refused(tmp_path: Path) -> None:
    path = snapshot(tmp_path)
    image = path.read_bytes()
    for length in range(len(image)):
        assert refused(path, image[:length])
    assert refused(path, image + b"\0")


def test_a_damaged_snapshot_whose_records_are_gone_stops_recovery(
    backend: CacheBackend, tmp_path: Path
) -> None:
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    cache.write("a", 0, b"x")
    newest = Path(cache.checkpoint().path)
    cache.close()
    image = bytearray(newest.read_bytes())
    image[60] ^= 1
    newest.write_bytes(image)
    with pytest.raises(SnapshotUnusable) as caught:
        recovered(backend, logs, tmp_path, small())
    assert (caught.value.path, caught.value.first, caught.value.last) == (str(newest), 1, 1)


def test_a_damaged_snapshot_is_told_where_the_log_still_reaches_back(
    backend: CacheBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = FakeLogBackend()
    cache = backend.open(small(), log=logs.log, directory=tmp_path)
    cache.write("a", 0, b"x")
    first = cache.checkpoint()
    cache.write("a", 1, b"y")
    monkeypatch.setattr(logs.log, "reset", lambda: None)  # a crash before the log was emptied
    newest = Path(cache.checkpoint().path)
    cache.close()
    newest.write_bytes(newest.read_bytes()[:-1])
    cache, found = recovery(backend, logs, tmp_path, small())
    assert read(cache, "a", 0, 3) == b"xy\0"
    assert found.snapshots.chain == (first,)
    assert [damage.path for damage in found.snapshots.rejected] == [str(newest)]


def test_a_snapshot_of_another_block_size_is_refused(backend: CacheBackend, tmp_path: Path) -> None:
    snapshot(tmp_path)
    with pytest.raises(ValueError, match="4096 bytes, not 8192"):
        recovered(backend, FakeLogBackend(), tmp_path, small(block_size=8192))


def test_numbers_that_make_no_sense_under_a_valid_checksum_are_refused(
    backend: CacheBackend, tmp_path: Path
) -> None:
    folder = Folder(SYSTEM, tmp_path, KIND)
    folder.write(0, (), lambda: [(4096).to_bytes(8, "little"), b"\xff\xff\xff\x7f"])
    with pytest.raises(LogCorrupt):
        recovered(backend, FakeLogBackend(), tmp_path, small())


def test_a_snapshot_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    path = snapshot(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    found = Folder(SYSTEM, tmp_path, KIND).newest()
    assert not found.chain
    assert [damage.path for damage in found.rejected] == [str(path)]
