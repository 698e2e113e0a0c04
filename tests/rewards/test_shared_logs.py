"""Pools of either twin on logs of either twin: one ledger, whoever wrote it and whoever reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli.errors import CatalogueError, EngineError, SnapshotUnusable
from bench_cli.interfaces import Item, LogOptions, RecordKind
from tests.contract.pool_backends import FILE_LOGS, TWINS, Case

ITEMS = (Item("gold coin", 1, 40), Item("tin", 7, None), Item("none", 3, 0))

pools = pytest.mark.parametrize("pool_case", TWINS, ids=lambda case: case.id)
file_logs = pytest.mark.parametrize("log_case", FILE_LOGS, ids=lambda case: case.id)
formats = pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])


Records = list[tuple[int, int, bytes]]
Stock = dict[str, int | None]


def ledger(case: Case, log_case: Case, directory: Path, log_format: str) -> tuple[Records, Stock]:
    """Draw in every way and close: the records that were logged, and the stock that is left."""
    options = LogOptions(format=log_format, segment_size=1 << 16)
    logs = log_case.load()
    log = logs.open(directory, options)
    pool = case.load().open(ITEMS, seed=5, log=log, flush_every=400)
    for _ in range(50):
        pool.draw()
    pool.draw_many(700)
    log.append(b"between", RecordKind.DATA)
    pool.commit(pool.select())
    pool.close()
    log.close()
    records: Records = []
    logs.recover(directory, options, lambda at, kind, data: records.append((at, kind, bytes(data))))
    return records, pool.stock()


@pools
@file_logs
@formats
def test_all_pools_on_all_logs_write_the_same_records(
    pool_case: Case, log_case: Case, log_format: str, tmp_path: Path
) -> None:
    reference = ledger(TWINS[0], FILE_LOGS[0], tmp_path / "reference", log_format)
    assert ledger(pool_case, log_case, tmp_path / "log", log_format) == reference


@pools
@file_logs
@formats
def test_each_twin_recovers_what_any_other_wrote(
    pool_case: Case, log_case: Case, log_format: str, tmp_path: Path
) -> None:
    _, stock = ledger(TWINS[0], FILE_LOGS[0], tmp_path, log_format)
    backend = pool_case.load()
    pool, log, recovery = backend.recover(
        ITEMS,
        seed=6,
        backend=log_case.load(),
        directory=tmp_path,
        options=LogOptions(format=log_format, segment_size=1 << 16),
    )
    assert (pool.drawn, recovery.records, pool.stock()) == (751, 53, stock)
    rest = backend.open([Item(item.name, item.weight, stock[item.name]) for item in ITEMS], seed=6)
    assert pool.draw_record() == (752, rest.draw())
    log.close()


@pools
@file_logs
def test_a_draw_that_does_not_fit_is_refused_whoever_reads(
    pool_case: Case, log_case: Case, tmp_path: Path
) -> None:
    ledger(TWINS[0], log_case, tmp_path, "binary")
    with pytest.raises(CatalogueError, match="gold coin"):
        pool_case.load().recover(
            [Item("gold coin", 1, 39), *ITEMS[1:]],
            seed=6,
            backend=log_case.load(),
            directory=tmp_path,
            options=LogOptions(segment_size=1 << 16),
        )


@pytest.mark.parametrize("target", ["log", "native"])
@pools
def test_a_log_that_keeps_nothing_changes_no_draw(
    pool_case: Case, target: str, tmp_path: Path
) -> None:
    backend = pool_case.load()
    logs = Case("none", f"bench_cli.wal.{target}:NoneBackend").load()
    log = logs.open(tmp_path, LogOptions())
    pool, bare = backend.open(ITEMS, seed=5, log=log), backend.open(ITEMS, seed=5)
    assert [pool.draw() for _ in range(90)] == [bare.draw() for _ in range(90)]
    assert pool.draw_many(90) == bare.draw_many(90)
    assert log.stats().appends == 91


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pools
@file_logs
@pytest.mark.parametrize("reason", [CatalogueError, SnapshotUnusable])
def test_a_recovery_that_is_refused_changes_nothing_and_lets_go_of_the_log(
    pool_case: Case, log_case: Case, reason: type[EngineError], tmp_path: Path
) -> None:
    backend, logs, options = pool_case.load(), log_case.load(), LogOptions(segment_size=1 << 16)
    other = [Item("another", 1, 3)] if reason is CatalogueError else ITEMS
    log = logs.open(tmp_path, options)
    pool = backend.open(ITEMS, seed=5, log=log)
    pool.draw_many(20)
    log.sync()
    [segment] = tmp_path.glob("*.wal")
    earlier = segment.read_bytes()
    pool.draw_many(20)
    if reason is SnapshotUnusable:
        pool.snapshot(tmp_path)
    log.close()
    for path in tmp_path.glob("*.wal"):
        path.unlink()
    segment.write_bytes(earlier[: len(earlier) // 2])  # opening would make it whole again
    before = contents(tmp_path)
    with pytest.raises(reason):
        backend.recover(other, seed=6, backend=logs, directory=tmp_path, options=options)
    assert contents(tmp_path) == before
    logs.open(tmp_path, options).close()
