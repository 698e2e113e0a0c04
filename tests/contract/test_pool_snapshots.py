"""What the snapshots of every reward pool promise."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import (
    CatalogueError,
    LogPoisoned,
    LogWriteFailed,
    PoolError,
    SnapshotFailed,
    SnapshotUnusable,
    Unsupported,
)
from bench_cli.filesystem import SYSTEM, SystemFileSystem
from bench_cli.interfaces import Buffer, Capability, FileSystem, Item, LogOptions, Recovery
from tests.contract.pool_backends import FILE_LOGS, POOLS, TWINS, Case, need
from tests.faults.faulty_files import FaultyFiles, Stopped, every_stop
from tests.rewards.ledger_logs import MemoryLog

ITEMS = (
    Item("gold coin", 1, 30),
    Item("two\nlines", 2, 60),
    Item("tin", 7, None),
    Item("none", 1, 0),
)
SEGMENT = 1 << 16


@pytest.fixture(params=POOLS, ids=lambda case: case.id)
def backend(request: pytest.FixtureRequest) -> Any:
    pool_backend = request.param.load()
    need(pool_backend, Capability.SNAPSHOT)
    return pool_backend


@pytest.fixture(params=FILE_LOGS[1:3], ids=lambda case: case.id)
def logs(request: pytest.FixtureRequest) -> Any:
    return request.param.load()


class Life:
    """A pool on a log in a folder, from opening to the end of the process."""

    def __init__(
        self,
        backend: Any,
        logs: Any,
        home: Path,
        *,
        items: Any = ITEMS,
        files: FileSystem | None = None,
        log_format: str = "binary",
    ) -> None:
        self.backend, self.logs, self.home, self.items = backend, logs, home, items
        self.options = LogOptions(format=log_format, segment_size=SEGMENT, file_system=files)
        self.log: Any = None

    def begin(self) -> Any:
        self.log = self.logs.open(self.home, self.options)
        return self.backend.open(self.items, seed=1, log=self.log)

    def recover(self) -> tuple[Any, Recovery]:
        pool, self.log, recovery = self.backend.recover(
            self.items, seed=2, backend=self.logs, directory=self.home, options=self.options
        )
        return pool, recovery

    def end(self) -> None:
        self.log.close()

    def after(self, pool: Any) -> tuple[Any, Recovery]:
        """The pool that a recovery makes of what ``pool`` left; both must agree."""
        self.end()
        again, recovery = self.recover()
        assert (again.drawn, again.stock()) == (pool.drawn, pool.stock())
        return again, recovery


@pytest.fixture
def life(backend: Any, logs: Any, tmp_path: Path) -> Life:
    return Life(backend, logs, tmp_path)


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("rewards-*"))


# --- what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["binary", "text"])
def test_a_pool_goes_on_from_its_snapshot_and_what_the_log_holds_beyond(
    backend: Any, logs: Any, tmp_path: Path, log_format: str
) -> None:
    life = Life(backend, logs, tmp_path, log_format=log_format)
    pool = life.begin()
    pool.draw_many(40)
    taken = pool.snapshot(tmp_path)
    for _ in range(5):
        pool.draw()
    again, recovery = life.after(pool)
    assert (recovery.records, recovery.snapshots.chain) == (5, (taken,))
    assert (taken.covered, taken.base, taken.bytes) == (1, None, os.path.getsize(taken.path))
    assert again.draw_record()[0] == 46
    life.end()


def test_a_snapshot_alone_is_the_whole_pool(life: Life) -> None:
    pool = life.begin()
    pool.draw_many(40)
    pool.snapshot(life.home)
    again, recovery = life.after(pool)
    assert (recovery.records, again.next_id) == (0, 41)
    life.end()


def test_a_snapshot_of_a_pool_that_never_drew_is_one(life: Life) -> None:
    pool = life.begin()
    assert pool.snapshot(life.home).covered == 0
    pool.draw()
    life.after(pool)
    life.end()


def test_added_snapshots_hold_the_items_drawn_since(life: Life) -> None:
    life.items = [Item(f"no. {n}", 1, 5) for n in range(1000)]
    pool = life.begin()
    pool.draw_many(500)
    chain = [pool.snapshot(life.home, incremental=True)]  # there is nothing to add to
    for _ in range(3):
        pool.draw_many(2)
        chain.append(pool.snapshot(life.home, incremental=True))
    assert [taken.base for taken in chain] == [None, *(taken.path for taken in chain[:-1])]
    assert chain[0].bytes > 8000
    assert max(taken.bytes for taken in chain[1:]) < 200
    again, recovery = life.after(pool)
    assert recovery.snapshots.chain == tuple(chain)
    added = again.snapshot(life.home, incremental=True)
    assert added.base == chain[-1].path
    life.after(again)
    life.end()


def test_items_that_ran_out_or_came_back_are_so_after_recovery(life: Life) -> None:
    life.items = [Item("one", 1, 1), Item("heavy", 1 << 40, 3), Item("light", 5, 9)]
    pool = life.begin()
    pool.draw_many(6)
    held = pool.select()
    pool.snapshot(life.home)
    pool.revert(held)
    pool.draw_many(3)
    pool.snapshot(life.home, incremental=True)
    again, _ = life.after(pool)
    assert len(again.draw_many(100)[1]) == 4
    life.end()


def test_reserved_items_count_as_left(life: Life) -> None:
    pool = life.begin()
    pool.draw_many(10)
    reserved = [pool.select() for _ in range(5)]
    pool.snapshot(life.home)
    life.end()
    again, _ = life.recover()
    life.end()
    for index in reserved:
        pool.revert(index)
    assert (again.drawn, again.stock()) == (10, pool.stock())


def test_draws_answered_from_memory_are_logged_before_a_snapshot(life: Life) -> None:
    pool = life.begin()
    for _ in range(5):
        pool.take()
    assert pool.snapshot(life.home).covered == 5
    life.after(pool)
    life.end()


def test_draws_go_on_while_a_snapshot_is_written(backend: Any, logs: Any, tmp_path: Path) -> None:
    """From the thread that writes: it would stand still if the pool were held meanwhile."""

    class Drawing(SystemFileSystem):
        def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
            pool.draw()
            return super().pwrite(fd, data, offset)

    life = Life(backend, logs, tmp_path)
    pool = life.begin()
    pool.draw_many(10)
    taken = pool.snapshot(tmp_path, file_system=Drawing())
    assert taken.covered == 1
    assert pool.drawn > 10
    _, recovery = life.after(pool)
    assert recovery.snapshots.chain == (taken,)
    life.end()


def test_segments_that_are_covered_go_while_draws_go_on(
    backend: Any, logs: Any, tmp_path: Path
) -> None:
    class Drawing(SystemFileSystem):
        def rename(self, source: Path, target: Path) -> None:
            pool.draw_many(3)
            super().rename(source, target)

    need(logs, Capability.TRUNCATE)
    life = Life(backend, logs, tmp_path)
    pool = life.begin()
    for _ in range(5000):
        pool.draw()
    before = life.log.stats().segments
    pool.snapshot(tmp_path, file_system=Drawing())
    assert (before, life.log.stats().segments) == (4, 1)
    life.after(pool)
    life.end()


def test_two_chains_are_kept_and_older_ones_removed(life: Life) -> None:
    pool = life.begin()
    for _ in range(3):
        pool.draw_many(3)
        pool.snapshot(life.home)
        pool.draw_many(3)
        pool.snapshot(life.home, incremental=True)
    kept = names(life.home)
    assert [name[:16] for name in kept] == [f"rewards-{n:08d}" for n in (3, 4, 5, 6)]
    pool, _ = life.after(pool)
    pool.snapshot(life.home)
    assert [name[:16] for name in names(life.home)] == [f"rewards-{n:08d}" for n in (5, 6, 7)]
    life.end()


@pytest.mark.parametrize("log_case", FILE_LOGS, ids=lambda case: case.id)
def test_both_twins_write_the_same_bytes_and_read_the_other_s(
    log_case: Case, tmp_path: Path
) -> None:
    images = []
    for writer, reader in (TWINS, TWINS[::-1]):
        life = Life(writer.load(), log_case.load(), tmp_path / writer.id)
        pool = life.begin()
        pool.draw_many(40)
        pool.select()
        pool.snapshot(life.home)
        pool.draw()
        pool.snapshot(life.home, incremental=True)
        images.append({name: (life.home / name).read_bytes() for name in names(life.home)})
        life.end()
        life.backend = reader.load()
        again, _ = life.recover()
        assert again.drawn == 41
        life.end()
    assert len(images[0]) == 2
    assert images[0] == images[1]


# --- what is refused -----------------------------------------------------------------------------


def test_a_pool_without_a_log_takes_none(backend: Any, tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        backend.open(ITEMS, seed=1).snapshot(tmp_path)


def test_a_pool_on_a_log_that_keeps_nothing_takes_none(backend: Any, tmp_path: Path) -> None:
    log = Case("none", "bench_cli.wal.log:NoneBackend").load().open(tmp_path, LogOptions())
    pool = backend.open(ITEMS, seed=1, log=log)
    pool.draw()
    with pytest.raises(Unsupported, match="0 are durable"):
        pool.snapshot(tmp_path)
    assert names(tmp_path) == []


def test_what_is_not_ours_is_not_removed(life: Life) -> None:
    pool = life.begin()
    stray = life.home / "rewards-00000000-00000000000000000000.snapshot"
    link = life.home / "rewards-00000000-00000000000000000001.snapshot"
    stray.write_bytes(b"somebody else's")
    link.symlink_to("nowhere")
    for _ in range(4):
        pool.draw()
        pool.snapshot(life.home)
    assert {stray.name, link.name} < set(names(life.home))
    assert len(names(life.home)) == 4
    life.after(pool)
    life.end()


def test_a_closed_pool_takes_none(life: Life) -> None:
    pool = life.begin()
    pool.close()
    with pytest.raises(PoolError):
        pool.snapshot(life.home)
    life.end()


def test_a_pool_whose_log_is_poisoned_takes_none(backend: Any, logs: Any, tmp_path: Path) -> None:
    files = FaultyFiles()
    life = Life(backend, logs, tmp_path, files=files)
    pool = life.begin()
    pool.draw_many(10)
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteFailed):
        pool.sync()
    with pytest.raises(LogPoisoned):
        pool.snapshot(tmp_path)
    assert names(tmp_path) == []
    life.end()


def test_unlogged_draws_that_the_log_refuses_are_in_no_snapshot(
    backend: Any, tmp_path: Path
) -> None:
    log = MemoryLog(fail_appends=frozenset({1}))
    pool = backend.open(ITEMS, seed=1, log=log)
    pool.take()
    with pytest.raises(LogWriteFailed):
        pool.snapshot(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "other",
    [
        (*ITEMS[:3], Item("nothing", 1, 0)),
        (Item("gold coin", 2, 30), *ITEMS[1:]),
        (Item("gold coin", 1, 31), *ITEMS[1:]),
        (Item("gold coin", 1, None), *ITEMS[1:]),
        (*ITEMS, Item("more", 1, 1)),
        ITEMS[:3],
    ],
)
def test_a_catalogue_that_changed_is_refused_with_both(life: Life, other: Any) -> None:
    pool = life.begin()
    pool.draw_many(5)
    pool.snapshot(life.home)
    life.end()
    life.items = other
    with pytest.raises(CatalogueError) as caught:
        life.recover()
    message = caught.value.message
    assert f"{len(ITEMS)} items" in message
    assert f"{len(other)} items" in message
    assert caught.value.remedy
    life.items = ITEMS
    life.recover()
    life.end()


def test_what_an_added_snapshot_adds_to_must_be_there(life: Life) -> None:
    pool = life.begin()
    first = pool.snapshot(life.home)
    Path(first.path).unlink()
    pool.draw()
    with pytest.raises(SnapshotFailed, match="is gone"):
        pool.snapshot(life.home, incremental=True)
    pool.snapshot(life.home)
    life.after(pool)
    life.end()


# --- crashes and errors on the way ---------------------------------------------------------------


def prepared(life: Life, incremental: bool) -> Any:
    pool = life.begin()
    pool.draw_many(20)
    if incremental:
        pool.snapshot(life.home)
        pool.draw_many(20)
    pool.draw()
    return pool


@pytest.mark.parametrize("incremental", [False, True])
def test_a_process_that_ends_anywhere_in_a_snapshot_loses_nothing(
    backend: Any, logs: Any, tmp_path: Path, incremental: bool
) -> None:
    attempts = 0

    def run(files: FaultyFiles) -> None:
        nonlocal attempts
        attempts += 1
        life = Life(backend, logs, tmp_path / str(attempts), files=files)
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
    from bench_cli.rewards.snapshot import KIND
    from bench_cli.wal.snapshot import Folder

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
