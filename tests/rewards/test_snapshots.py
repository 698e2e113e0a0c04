"""Snapshots of pools: the order of what is done, the memory a recovery takes, threads."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from bench_cli.faults.recorder import HOME, Recorder
from bench_cli.interfaces import Item, LogOptions
from tests.contract.pool_backends import FILE_LOGS, TWINS, Case

ITEMS = tuple(Item(f"no. {n}", n + 1, 1 << 40) for n in range(50))

twins = pytest.mark.parametrize("case", TWINS, ids=lambda case: case.id)


def options(**more: Any) -> LogOptions:
    return LogOptions(segment_size=1 << 16, **more)


@twins
@pytest.mark.parametrize("incremental", [False, True])
def test_a_snapshot_is_durable_by_content_and_name_before_the_log_forgets(
    case: Case, incremental: bool
) -> None:
    disk = Recorder()
    log = FILE_LOGS[2].load().open(HOME, options(file_system=disk))
    pool = case.load().open(ITEMS, seed=1, log=log)
    pool.draw_many(100)
    if incremental:
        pool.snapshot(HOME, file_system=disk)
        pool.draw_many(100)
    del disk.ops[:]
    pool.snapshot(HOME, incremental=incremental, file_system=disk)
    snapshot = next(op.file for op in disk.ops if op.kind == "create")
    first, *theirs = (
        "log" if op.kind in ("sync", "rename", "write") and op.file != snapshot else op.kind
        for op in disk.ops
    )
    assert (first, disk.ops[0].kind) == ("log", "sync")  # up to what the snapshot covers
    mine = theirs[: theirs.index("log")]
    assert [kind for kind in mine if kind != "write"] == ["create", "sync", "rename", "syncdir"]
    assert mine.index("sync") == 1 + max(n for n, kind in enumerate(mine) if kind == "write")


@twins
@pytest.mark.parametrize("log_case", FILE_LOGS[1::2], ids=lambda case: case.id)
def test_a_recovery_of_a_long_log_takes_no_more_memory_than_one_of_a_short(
    case: Case, log_case: Case, tmp_path: Path
) -> None:
    backend, logs = case.load(), log_case.load()

    def peak(directory: Path, batches: int) -> int:
        log = logs.open(directory, options())
        pool = backend.open(ITEMS, seed=1, log=log)
        for _ in range(batches):
            pool.draw_many(1000)
        log.close()
        tracemalloc.start()
        pool, log, recovery = backend.recover(
            ITEMS, seed=2, backend=logs, directory=directory, options=options()
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        log.close()
        assert (recovery.records, pool.drawn) == (batches, 1000 * batches)
        return most

    peak(tmp_path / "warm-up", 1)
    short = peak(tmp_path / "short", 60)  # longer than what is read at a time
    log_bytes_more = 140 * 4000
    assert peak(tmp_path / "long", 200) < short + log_bytes_more // 8


@twins
def test_draws_of_other_threads_are_in_the_snapshot_or_in_the_log(
    case: Case, tmp_path: Path
) -> None:
    backend, logs = case.load(), FILE_LOGS[3].load()
    log = logs.open(tmp_path, options())
    pool = backend.open(ITEMS, seed=1, log=log)
    began = threading.Barrier(4)

    def draw() -> None:
        began.wait()
        for _ in range(300):
            pool.draw()
            pool.draw_many(3)

    def snap() -> None:
        began.wait()
        for number in range(15):
            pool.snapshot(tmp_path, incremental=number % 3 > 0)

    threads = [threading.Thread(target=work) for work in (draw, draw, snap, snap)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.drawn == 2 * 300 * 4
    log.close()
    again, log, recovery = backend.recover(
        ITEMS, seed=2, backend=logs, directory=tmp_path, options=options()
    )
    assert (again.drawn, again.stock()) == (pool.drawn, pool.stock())
    assert recovery.snapshots.chain
    log.close()
