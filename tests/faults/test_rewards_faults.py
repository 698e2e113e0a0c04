"""Faults that were found in another reward pool, each as a test named after it."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import (
    CatalogueError,
    LogPoisoned,
    LogWriteFailed,
    PoolExhausted,
    SnapshotUnusable,
)
from bench_cli.filesystem import SystemFileSystem
from bench_cli.interfaces import Buffer, Item, LogOptions
from tests.contract.pool_backends import FILE_LOGS, TWINS, Case
from tests.rewards.ledger_logs import MemoryLog, MemoryLogBackend

ITEMS = (Item("gold coin", 1, 30), Item("two\nlines", 2, 60), Item("tin", 7, None))
SEGMENT = 1 << 16


@pytest.fixture(params=TWINS, ids=lambda case: case.id)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param.load()


@pytest.fixture(params=FILE_LOGS, ids=lambda case: case.id)
def log_backend(request: pytest.FixtureRequest) -> Any:
    return request.param.load()


def options(log_format: str = "binary") -> LogOptions:
    return LogOptions(format=log_format, segment_size=SEGMENT)


def recover(backend: Any, log_backend: Any, directory: Path, log_format: str = "binary") -> Any:
    return backend.recover(
        ITEMS, seed=2, backend=log_backend, directory=directory, options=options(log_format)
    )


def power_cut(source: Path, target: Path) -> Path:
    """The directory as it stands, without a close: what a later process finds."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def cut_into_last_record(directory: Path) -> None:
    """Zero the last byte that was written, as a write that stopped short would leave it."""
    segment = max(path for path in directory.iterdir() if path.stat().st_size > 512)
    data = bytearray(segment.read_bytes())
    last = len(data.rstrip(b"\0")) - 1
    data[last] = 0
    segment.write_bytes(data)


def test_fault_26_request_ids_go_on_after_recovery(
    backend: Any, log_backend: Any, tmp_path: Path
) -> None:
    log = log_backend.open(tmp_path, options())
    pool = backend.open(ITEMS, seed=1, log=log)
    for _ in range(10):
        pool.draw()
    log.close()
    pool, log, _ = recover(backend, log_backend, tmp_path)
    assert pool.draw_record()[0] == 11
    log.close()
    pool, log, _ = recover(backend, log_backend, tmp_path)
    log.close()
    assert pool.next_id == 12


def test_fault_26_a_log_with_ids_that_started_again_is_refused(
    backend: Any, log_backend: Any, tmp_path: Path
) -> None:
    log = log_backend.open(tmp_path, options())
    for _ in range(2):
        backend.open(ITEMS, seed=1, log=log).draw_many(3)
    log.close()
    with pytest.raises(CatalogueError):
        recover(backend, log_backend, tmp_path)


@pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])
@pytest.mark.parametrize("case", FILE_LOGS[1::2], ids=lambda case: case.id)
def test_fault_27_the_zero_tail_of_a_mapped_log_hides_no_draw(
    backend: Any, case: Case, tmp_path: Path, log_format: str
) -> None:
    logs = case.load()
    log = logs.open(tmp_path / "live", options(log_format))
    pool = backend.open(ITEMS, seed=1, log=log)
    for _ in range(10):
        pool.draw()
    crashed = power_cut(tmp_path / "live", tmp_path / "crashed")
    log.close()
    assert any(path.read_bytes().endswith(bytes(4096)) for path in crashed.iterdir())
    again, log, recovery = recover(backend, logs, crashed, log_format)
    log.close()
    assert (again.drawn, again.stock()) == (10, pool.stock())
    assert recovery.damages == ()


class CopyingFiles(SystemFileSystem):
    """Copies the folder, as a power cut would leave it, once a snapshot has its name."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        power_cut(target.parent, self.target)


@pytest.mark.parametrize("incremental", [False, True])
def test_fault_28_a_crash_between_snapshot_and_log_removal_applies_nothing_twice(
    backend: Any, log_backend: Any, tmp_path: Path, incremental: bool
) -> None:
    log = log_backend.open(tmp_path / "live", options())
    pool = backend.open(ITEMS, seed=1, log=log)
    if incremental:
        pool.draw_many(7)
        pool.snapshot(tmp_path / "live")
    pool.draw()
    pool.draw_many(20)
    stock, drawn = pool.stock(), pool.drawn
    files = CopyingFiles(tmp_path / "crashed")
    taken = pool.snapshot(tmp_path / "live", incremental=incremental, file_system=files)
    log.close()
    assert log_backend.recover(tmp_path / "crashed", options()).last_sequence == taken.covered
    again, log, recovery = recover(backend, log_backend, tmp_path / "crashed")
    assert (again.stock(), again.drawn, again.next_id) == (stock, drawn, drawn + 1)
    assert recovery.snapshots.chain[-1].covered == taken.covered
    assert again.draw_record()[0] == drawn + 1
    log.close()


@pytest.mark.parametrize("left", [0, 40, 100])
def test_fault_29_a_torn_snapshot_is_no_silent_return_to_the_start(
    backend: Any, log_backend: Any, tmp_path: Path, left: int
) -> None:
    log = log_backend.open(tmp_path, options())
    pool = backend.open(ITEMS, seed=1, log=log)
    for _ in range(20):
        pool.draw()
    taken = pool.snapshot(tmp_path)
    log.close()
    Path(taken.path).write_bytes(Path(taken.path).read_bytes()[:left])
    with pytest.raises(SnapshotUnusable) as caught:
        recover(backend, log_backend, tmp_path)
    assert (caught.value.path, caught.value.offset) == (taken.path, left)
    assert (caught.value.first, caught.value.last) == (1, 20)


def test_fault_29_a_torn_snapshot_is_told_where_the_log_makes_up_for_it(
    backend: Any, log_backend: Any, tmp_path: Path
) -> None:
    log = log_backend.open(tmp_path / "live", options())
    pool = backend.open(ITEMS, seed=1, log=log)
    for _ in range(20):
        pool.draw()
    pool.snapshot(tmp_path / "live", file_system=CopyingFiles(tmp_path / "crashed"))
    log.close()
    (snapshot,) = (tmp_path / "crashed").glob("*.snapshot")
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    again, log, recovery = recover(backend, log_backend, tmp_path / "crashed")
    log.close()
    assert (again.drawn, again.stock()) == (20, pool.stock())
    assert recovery.snapshots.chain == ()
    assert [damage.path for damage in recovery.snapshots.rejected] == [str(snapshot)]


@pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])
def test_fault_30_names_with_blanks_and_a_torn_last_line_are_no_other_items(
    backend: Any, log_backend: Any, tmp_path: Path, log_format: str
) -> None:
    log = log_backend.open(tmp_path / "live", options(log_format))
    pool = backend.open(ITEMS, seed=1, log=log)
    drawn = [pool.draw() for _ in range(20)]
    crashed = power_cut(tmp_path / "live", tmp_path / "crashed")
    log.close()
    cut_into_last_record(crashed)
    again, log, recovery = recover(backend, log_backend, crashed, log_format)
    log.close()
    counts = Counter(drawn[:19])
    assert recovery.records == again.drawn == 19
    assert again.stock() == {
        "gold coin": 30 - counts["gold coin"],
        "two\nlines": 60 - counts["two\nlines"],
        "tin": None,
    }


def test_fault_31_every_synced_draw_survives_without_a_clean_close(
    backend: Any, log_backend: Any, tmp_path: Path
) -> None:
    log = log_backend.open(tmp_path / "live", options())
    pool = backend.open(ITEMS, seed=1, log=log, flush_every=5)
    for _ in range(13):
        pool.draw()
    promised = log.stats().durable_sequence
    crashed = power_cut(tmp_path / "live", tmp_path / "crashed")
    log.close()
    again, log, recovery = recover(backend, log_backend, crashed)
    log.close()
    assert promised == 10
    assert recovery.last_sequence == again.drawn == 13


def test_fault_31_a_crash_loses_no_synced_draw_and_its_item_is_not_given_twice(
    backend: Any,
) -> None:
    logs, where = MemoryLogBackend(), Path("log")
    item = [Item("only", 1, 7)]
    pool = backend.open(item, seed=1, log=logs.open(where, options()), flush_every=3)
    for _ in range(7):
        pool.draw()
    logs.crash(where)
    again, _, _ = backend.recover(item, seed=1, backend=logs, directory=where, options=options())
    assert (again.drawn, again.stock()) == (6, {"only": 1})


@pytest.mark.parametrize("mode", ["caller", "worker"])
def test_fault_32_no_durable_reply_goes_out_before_the_flush(backend: Any, mode: str) -> None:
    log = MemoryLog()
    queue = backend.queue(backend.open(ITEMS, seed=1, log=log), ack="durable", mode=mode)
    durable_at_reply: list[tuple[int, int]] = []
    for _ in range(50):
        queue.submit(lambda draw_id, *_: durable_at_reply.append((draw_id, log.durable)))
    queue.close()
    assert len(durable_at_reply) == 50
    assert all(draw_id <= durable for draw_id, durable in durable_at_reply)


def test_fault_33_an_exhausted_item_fails_no_draw_while_others_are_left(backend: Any) -> None:
    heavy = (Item("heavy", 1 << 40, 3), Item("light", 1, 5), Item("none", 1 << 50, 0))
    pool = backend.open(heavy, seed=1)
    assert Counter(pool.draw() for _ in range(8)) == {"heavy": 3, "light": 5}
    with pytest.raises(PoolExhausted):
        pool.draw()


class FailingFiles(SystemFileSystem):
    """The disk is full from the moment ``full`` is set."""

    full = False

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left")
        return super().pwrite(fd, data, offset)


@pytest.mark.parametrize("case", FILE_LOGS[::2], ids=lambda case: case.id)
def test_fault_34_after_a_failed_write_no_draw_is_given_out(
    backend: Any, case: Case, tmp_path: Path
) -> None:
    files, logs = FailingFiles(), case.load()
    settings = LogOptions(segment_size=SEGMENT, file_system=files)
    log = logs.open(tmp_path, settings)
    pool = backend.open(ITEMS, seed=1, log=log)
    for _ in range(5):
        pool.draw()
    before = pool.stock()
    files.full = True
    with pytest.raises(LogWriteFailed) as caught:
        pool.draw_many(10)
    assert caught.value.errno == errno.ENOSPC
    files.full = False
    with pytest.raises(LogPoisoned):
        pool.draw()
    assert (pool.drawn, pool.stock()) == (5, before)
    log.close()
    again, log, _ = recover(backend, logs, tmp_path)
    log.close()
    assert (again.drawn, again.stock()) == (5, before)


@pytest.mark.parametrize("use", ["draw", "draw_many", "commit", "sync", "request"])
def test_fault_34_a_log_error_reaches_whoever_asked(backend: Any, use: str) -> None:
    log = MemoryLog(fail_appends=frozenset({1}), fail_syncs=frozenset({1}))
    pool = backend.open(ITEMS, seed=1, log=log)
    calls: dict[str, Any] = {
        "draw": pool.draw,
        "draw_many": lambda: pool.draw_many(3),
        "commit": lambda: pool.commit(pool.select()),
        "sync": pool.sync,
        "request": lambda: backend.queue(pool).request().result(0),
    }
    with pytest.raises(LogWriteFailed):
        calls[use]()
    assert (pool.drawn, pool.stock()["gold coin"], pool.stock()["two\nlines"]) == (0, 30, 60)
