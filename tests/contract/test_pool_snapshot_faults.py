"""What the snapshots of every reward pool survive: crashes, errors and damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import SnapshotFailed, SnapshotUnusable
from bench_cli.filesystem import SYSTEM, SystemFileSystem
from bench_cli.interfaces import Buffer
from bench_cli.rewards.snapshot import KIND
from bench_cli.wal.snapshot import Folder
from tests.contract.pool_backends import FILE_LOGS, TWINS
from tests.contract.pool_life import Life, prepared
from tests.faults.faulty_files import FaultyFiles, Stopped, every_stop

# --- crashes and errors on the way ---------------------------------------------------------------


@pytest.mark.parametrize("incremental", [False, True])
def test_a_process_that_ends_anywhere_in_a_snapshot_loses_nothing(
    pools: Any, logs: Any, tmp_path: Path, incremental: bool
) -> None:
    attempts = 0

    def run(files: FaultyFiles) -> None:
        nonlocal attempts
        attempts += 1
        life = Life(pools, logs, tmp_path / str(attempts), files=files)
        stop_at, files.stop_at = files.stop_at, -1
        pool = prepared(life, incremental)
        files.stop_at = len(files.notes) + stop_at
        try:
            pool.snapshot(life.home, incremental=incremental, file_system=files)
        finally:
            files.stop_at = -1
            again, _ = life.after(pool)
            again.draw()
            again.snapshot(life.home, incremental=incremental)
            life.after(again)
            life.end()

    assert every_stop(run) > 6


OPERATIONS = ["listdir", "open", "pwrite", "sync", "rename", "sync_directory", "pread"]


class FailingOnce(SystemFileSystem):
    """The next call of one kind fails."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind, self.number = kind, number

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in OPERATIONS and name == self.kind:

            def fail(*arguments: Any) -> None:
                self.kind = ""
                raise OSError(self.number, os.strerror(self.number))

            return fail
        return value


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_an_error_on_the_way_is_typed_and_costs_nothing(
    life: Life, operation: str, number: int
) -> None:
    pool = prepared(life, True)
    before = pool.stock(), pool.drawn
    files = FailingOnce(operation, number)
    with pytest.raises(SnapshotFailed) as caught:
        pool.snapshot(life.home, incremental=True, file_system=files)
    assert caught.value.errno == number
    assert not list(life.home.glob("*.new"))
    assert (pool.stock(), pool.drawn) == before
    pool.draw()
    if operation == "sync_directory":  # what it was to write, no later sync brings back
        with pytest.raises(SnapshotFailed):
            pool.snapshot(life.home, file_system=files)
    else:
        pool.snapshot(life.home)
    life.after(pool)
    life.end()


def test_short_writes_and_interruptions_are_gone_on_from(life: Life) -> None:
    class Short(SystemFileSystem):
        calls = 0

        def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
            self.calls += 1
            if self.calls % 3 == 0:
                raise InterruptedError(errno.EINTR, "interrupted")
            return super().pwrite(fd, memoryview(data)[:7], offset)

        def sync(self, fd: int) -> None:
            self.calls += 1
            if self.calls % 2 == 0:
                raise InterruptedError(errno.EINTR, "interrupted")
            super().sync(fd)

    pool = prepared(life, False)
    pool.snapshot(life.home, file_system=Short())
    life.after(pool)
    life.end()


def test_what_was_written_is_read_back_before_the_log_forgets(life: Life) -> None:
    class Lying(SystemFileSystem):
        def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
            return super().pwrite(fd, bytes(len(data)), offset)

    pool = prepared(life, False)
    with pytest.raises(SnapshotFailed):
        pool.snapshot(life.home, file_system=Lying())
    _, recovery = life.after(pool)
    assert len(recovery.snapshots.rejected) == 1
    life.end()


# --- damage --------------------------------------------------------------------------------------


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:70])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    path.write_bytes(b"somebody else's " * 20)


def newer(path: Path) -> None:
    image = bytearray(path.read_bytes())
    image[8] = 2
    path.write_bytes(image)


def flipped(path: Path) -> None:
    image = bytearray(path.read_bytes())
    image[-1] ^= 1
    path.write_bytes(image)


def longer(path: Path) -> None:
    os.truncate(path, 1 << 40)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def renamed(path: Path) -> None:
    """Another snapshot under this name."""
    other = next(one for one in path.parent.glob("rewards-*") if one != path)
    path.write_bytes(other.read_bytes())


HARMS = [torn, empty, foreign, newer, flipped, longer, linked, pipe, folder, renamed]


class KeepingLog(SystemFileSystem):
    """The process ends once the snapshot has its name: the log keeps what it covers."""

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        raise Stopped


def crashed_after_snapshot(life: Life, pool: Any, **how: Any) -> Path:
    before = set(life.home.glob("rewards-*"))
    with pytest.raises(Stopped):
        pool.snapshot(life.home, file_system=KeepingLog(), **how)
    (new,) = set(life.home.glob("rewards-*")) - before
    return new


@pytest.mark.parametrize("harm", HARMS)
def test_a_spoiled_snapshot_is_told_and_the_one_before_serves_where_the_log_reaches_back(
    life: Life, harm: Any
) -> None:
    pool = life.begin()
    pool.draw_many(20)
    first = pool.snapshot(life.home)
    pool.draw_many(20)
    newest = crashed_after_snapshot(life, pool)
    harm(newest)
    _, recovery = life.after(pool)
    assert recovery.snapshots.chain == (first,)
    assert [damage.path for damage in recovery.snapshots.rejected] == [str(newest)]
    life.end()


@pytest.mark.parametrize("harm", HARMS)
def test_a_spoiled_snapshot_whose_records_are_gone_stops_recovery(life: Life, harm: Any) -> None:
    pool = life.begin()
    pool.draw_many(20)
    pool.snapshot(life.home)
    for _ in range(3):
        pool.draw()
    newest = Path(pool.snapshot(life.home).path)
    pool.draw()
    life.end()
    harm(newest)
    for _ in range(2):
        with pytest.raises(SnapshotUnusable) as caught:
            life.recover()
        assert (caught.value.path, caught.value.first, caught.value.last) == (str(newest), 2, 4)


def test_a_chain_whose_base_is_spoiled_is_told_link_by_link(life: Life) -> None:
    pool = life.begin()
    pool.draw_many(5)
    base = crashed_after_snapshot(life, pool)
    life.end()
    pool, _ = life.recover()
    pool.draw_many(5)
    added = crashed_after_snapshot(life, pool, incremental=True)
    flipped(base)
    _, recovery = life.after(pool)
    assert [damage.path for damage in recovery.snapshots.rejected] == [str(added), str(base)]
    assert base.name in recovery.snapshots.rejected[0].reason
    life.end()


def test_another_base_of_the_same_number_is_not_taken_for_the_right_one(life: Life) -> None:
    pool = life.begin()
    pool.draw()
    base = Path(pool.snapshot(life.home).path)
    pool.draw()
    pool.snapshot(life.home, incremental=True)
    life.end()
    other = Life(life.backend, life.logs, life.home / "other")
    stranger = other.begin()
    stranger.draw_many(1)
    stranger.draw_many(7)
    assert stranger.snapshot(other.home).covered == 2
    other.end()
    one = Life(life.backend, life.logs, life.home / "one")
    stranger = one.begin()
    stranger.draw_many(7)
    base.write_bytes(Path(stranger.snapshot(one.home).path).read_bytes())
    one.end()
    with pytest.raises(SnapshotUnusable, match="adds to another"):
        life.recover()


def test_snapshots_without_their_log_and_a_log_without_its_snapshots_are_refused(
    life: Life,
) -> None:
    pool = life.begin()
    pool.draw_many(5)
    pool.draw()
    taken = Path(pool.snapshot(life.home).path)
    life.end()
    content = taken.read_bytes()
    taken.unlink()
    with pytest.raises(SnapshotUnusable) as caught:
        life.recover()
    assert (caught.value.path, caught.value.first, caught.value.last) == (str(life.home), 1, 2)
    for segment in life.home.glob("*.wal"):
        segment.unlink()
    taken.write_bytes(content)
    with pytest.raises(SnapshotUnusable) as caught:
        life.recover()
    assert (caught.value.first, caught.value.last) == (1, 2)


@pytest.mark.parametrize("incremental", [False, True])
def test_no_flipped_bit_of_a_snapshot_and_no_shorter_one_passes(
    tmp_path: Path, incremental: bool
) -> None:
    life = Life(TWINS[0].load(), FILE_LOGS[0].load(), tmp_path)
    pool = prepared(life, incremental)
    path = Path(pool.snapshot(tmp_path, incremental=incremental).path)
    life.end()
    image = path.read_bytes()
    spoiled = [image[:length] for length in range(len(image))]
    for bit in range(8 * len(image)):
        changed = bytearray(image)
        changed[bit // 8] ^= 1 << bit % 8
        spoiled.append(bytes(changed))
    for content in spoiled:
        path.write_bytes(content)
        found = Folder(SYSTEM, tmp_path, KIND).newest()
        assert str(path) in [damage.path for damage in found.rejected]
