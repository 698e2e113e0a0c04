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
    Unsupported,
)
from bench_cli.filesystem import SystemFileSystem
from bench_cli.interfaces import Buffer, Capability, Item, LogOptions
from tests.contract.log_backends import need
from tests.contract.pool_backends import FILE_LOGS, TWINS, Case
from tests.contract.pool_life import ITEMS, Life, names
from tests.faults.faulty_files import FaultyFiles
from tests.rewards.ledger_logs import MemoryLog

# --- what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])
def test_a_pool_goes_on_from_its_snapshot_and_what_the_log_holds_beyond(
    pools: Any, logs: Any, tmp_path: Path, log_format: str
) -> None:
    life = Life(pools, logs, tmp_path, log_format=log_format)
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


def test_draws_go_on_while_a_snapshot_is_written(pools: Any, logs: Any, tmp_path: Path) -> None:
    """From the thread that writes: it would stand still if the pool were held meanwhile."""

    class Drawing(SystemFileSystem):
        def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
            pool.draw()
            return super().pwrite(fd, data, offset)

    life = Life(pools, logs, tmp_path)
    pool = life.begin()
    pool.draw_many(10)
    taken = pool.snapshot(tmp_path, file_system=Drawing())
    assert taken.covered == 1
    assert pool.drawn > 10
    _, recovery = life.after(pool)
    assert recovery.snapshots.chain == (taken,)
    life.end()


def test_segments_that_are_covered_go_while_draws_go_on(
    pools: Any, logs: Any, tmp_path: Path
) -> None:
    class Drawing(SystemFileSystem):
        def rename(self, source: Path, target: Path) -> None:
            pool.draw_many(3)
            super().rename(source, target)

    need(logs, Capability.TRUNCATE)
    life = Life(pools, logs, tmp_path)
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


def test_a_pool_without_a_log_takes_none(pools: Any, tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        pools.open(ITEMS, seed=1).snapshot(tmp_path)


def test_a_pool_on_a_log_that_keeps_nothing_takes_none(pools: Any, tmp_path: Path) -> None:
    log = Case("none", "bench_cli.wal.log:NoneBackend").load().open(tmp_path, LogOptions())
    pool = pools.open(ITEMS, seed=1, log=log)
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


def test_a_pool_whose_log_is_poisoned_takes_none(pools: Any, logs: Any, tmp_path: Path) -> None:
    files = FaultyFiles()
    life = Life(pools, logs, tmp_path, files=files)
    pool = life.begin()
    pool.draw_many(10)
    files.fail("sync", errno.EIO)
    with pytest.raises(LogWriteFailed):
        pool.sync()
    with pytest.raises(LogPoisoned):
        pool.snapshot(tmp_path)
    assert names(tmp_path) == []
    life.end()


def test_unlogged_draws_that_the_log_refuses_are_in_no_snapshot(pools: Any, tmp_path: Path) -> None:
    log = MemoryLog(fail_appends=frozenset({1}))
    pool = pools.open(ITEMS, seed=1, log=log)
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
