"""Recovering a pool from a log that is open elsewhere: both twins say the same, and first what
does not fit the pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli.errors import CatalogueError, LogLocked, SnapshotUnusable
from bench_cli.interfaces import Item, LogOptions
from tests.contract.pool_backends import FILE_LOGS, TWINS, Case

ITEMS = (Item("one", 1, 30), Item("two", 2, 60))
BOTH = pytest.mark.parametrize("logs", FILE_LOGS, ids=lambda case: case.id)
POOLS = pytest.mark.parametrize("pools", TWINS, ids=lambda case: case.id)


@POOLS
@BOTH
def test_a_log_in_use_is_locked(pools: Case, logs: Case, tmp_path: Path) -> None:
    with pytest.raises(LogLocked):
        recover(pools, logs, tmp_path, ITEMS)


@POOLS
@BOTH
def test_another_catalogue_is_told_before_the_lock(pools: Case, logs: Case, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError):
        recover(pools, logs, tmp_path, ITEMS[:1])


@POOLS
@BOTH
def test_a_snapshot_that_is_gone_is_told_before_the_lock(
    pools: Case, logs: Case, tmp_path: Path
) -> None:
    with pytest.raises(SnapshotUnusable):
        recover(pools, logs, tmp_path, ITEMS, without_snapshot=True)


def recover(
    pools: Case,
    logs: Case,
    home: Path,
    items: tuple[Item, ...],
    *,
    without_snapshot: bool = False,
) -> None:
    """From a log that a pool of both items has drawn through and still holds open."""
    log = logs.load().open(home, LogOptions(segment_size=1 << 16))
    pool = pools.load().open(ITEMS, seed=1, log=log)
    pool.draw_many(20)
    if without_snapshot:
        Path(pool.snapshot(home).path).unlink()
        pool.draw_many(5)
    try:
        pools.load().recover(
            items, seed=2, backend=logs.load(), directory=home, options=LogOptions()
        )
    finally:
        log.close()
