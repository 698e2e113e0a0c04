"""What every reward pool promises."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from bench_cli.errors import (
    CatalogueError,
    LogError,
    LogWriteFailed,
    PoolError,
    PoolExhausted,
)
from bench_cli.interfaces import Capability, Item, LogOptions, PoolBackend, RecordKind
from tests.contract.log_backends import need
from tests.contract.pool_backends import POOLS
from tests.rewards.ledger_logs import MemoryLog, MemoryLogBackend

ITEMS = (Item("gold", 1, 3), Item("silver", 4, 20), Item("tin", 15, None))
FINITE = (Item("a", 5, 7), Item("b", 1, 2), Item("c", 3, 11), Item("d", 9, 0))
HERE = Path("log")


@pytest.fixture(params=POOLS, ids=lambda case: case.id)
def backend(request: pytest.FixtureRequest) -> PoolBackend:
    return request.param.load()


@pytest.fixture(params=["fenwick", "prefix_sum"])
def selector(request: pytest.FixtureRequest, backend: PoolBackend) -> str:
    if request.param != "fenwick":
        need(backend, Capability.SELECTORS)
    return str(request.param)


def recover(backend: PoolBackend, logs: MemoryLogBackend, items: Any = ITEMS, **more: Any) -> Any:
    options = LogOptions(format=more.pop("format", "binary"))
    return backend.recover(items, seed=9, backend=logs, directory=HERE, options=options, **more)


# --- the catalogue ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([], "empty"),
        ([Item("a", 0)], "0"),
        ([Item("a", -4)], "-4"),
        ([Item("a", math.nan)], "nan"),  # type: ignore[arg-type]  # refused
        ([Item("a", 1.5)], "1.5"),  # type: ignore[arg-type]  # refused
        ([Item("a", True)], "True"),
        ([Item("a", "3")], "'3'"),  # type: ignore[arg-type]  # refused
        ([Item("a", 1 << 63)], str(1 << 63)),
        ([Item("a", 1 << 62), Item("b", 1 << 62)], str(1 << 63)),
        ([Item("a", 1, -1)], "-1"),
        ([Item("a", 1, 1 << 63)], str(1 << 63)),
        ([Item("a", 1, 2.0)], "2.0"),  # type: ignore[arg-type]  # refused
        ([Item("twice"), Item("twice")], "'twice'"),
        ([Item("")], "''"),
        ([Item(7)], "7"),  # type: ignore[arg-type]  # refused
        ([Item("\udc80")], "UTF-8"),
    ],
)
def test_an_impossible_catalogue_is_refused_with_its_values(
    backend: PoolBackend, items: list[Item], told: str
) -> None:
    with pytest.raises(CatalogueError) as caught:
        backend.open(items, seed=1)
    assert told in caught.value.message


def test_the_largest_weights_and_stocks_are_accepted(backend: PoolBackend, selector: str) -> None:
    items = [Item("few", 1), Item("most", (1 << 63) - 2, (1 << 63) - 1)]
    pool = backend.open(items, seed=1, selector=selector)
    assert [pool.draw() for _ in range(20)] == ["most"] * 20
    assert pool.stock() == {"few": None, "most": (1 << 63) - 21}


# --- draws -----------------------------------------------------------------------------------


def test_draw_ids_start_at_one_and_have_no_gaps(backend: PoolBackend) -> None:
    pool = backend.open(ITEMS, seed=1)
    assert (pool.drawn, pool.next_id) == (0, 1)
    assert [pool.draw_record()[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    pool.draw()
    assert (pool.drawn, pool.next_id) == (6, 7)


def test_a_seed_fixes_the_draws_and_another_changes_them(backend: PoolBackend) -> None:
    def draws(seed: int) -> list[str]:
        pool = backend.open(ITEMS, seed=seed)
        return [pool.draw() for _ in range(60)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)


@pytest.mark.parametrize("items", [1, 2, 3, 4, 5, 31, 32, 33, 200])
def test_draws_follow_the_weights(backend: PoolBackend, selector: str, items: int) -> None:
    weights = [1 + (7 * number) % 13 for number in range(items)]
    catalogue = [Item(f"item {number}", weight) for number, weight in enumerate(weights)]
    pool = backend.open(catalogue, seed=3, selector=selector)
    draws = 50 * sum(weights)
    counts = Counter(pool.draw() for _ in range(min(draws, 20_000)))
    observed = [counts[item.name] for item in catalogue]
    total = sum(observed)
    expected = [total * weight / sum(weights) for weight in weights]
    if items > 1:
        assert stats.chisquare(observed, expected).pvalue > 0.001
    assert total == min(draws, 20_000)


def test_stock_falls_by_what_is_drawn(backend: PoolBackend) -> None:
    pool = backend.open(ITEMS, seed=1)
    counts = Counter(pool.draw() for _ in range(12))
    assert pool.stock() == {
        "gold": 3 - counts["gold"],
        "silver": 20 - counts["silver"],
        "tin": None,
    }


def test_every_item_is_delivered_exactly_as_often_as_it_was_in_stock(
    backend: PoolBackend, selector: str
) -> None:
    pool = backend.open(FINITE, seed=4, selector=selector)
    assert Counter(pool.draw() for _ in range(20)) == {"a": 7, "b": 2, "c": 11}
    for _ in range(2):
        with pytest.raises(PoolExhausted):
            pool.draw()
    assert pool.stock() == {"a": 0, "b": 0, "c": 0, "d": 0}
    assert pool.drawn == 20


def test_a_pool_without_any_stock_opens_and_is_exhausted(backend: PoolBackend) -> None:
    pool = backend.open([Item("a", 1, 0)], seed=1)
    with pytest.raises(PoolExhausted):
        pool.draw()


# --- batches ---------------------------------------------------------------------------------


def test_a_batch_gives_the_same_draws_as_single_ones(backend: PoolBackend, selector: str) -> None:
    need(backend, Capability.DRAW_MANY)
    single = backend.open(ITEMS, seed=8, selector=selector)
    batch = backend.open(ITEMS, seed=8, selector=selector)
    assert batch.draw() == single.draw()
    first_id, indices = batch.draw_many(3000)
    assert first_id == 2
    assert [batch.names[index] for index in indices] == [single.draw() for _ in range(3000)]
    assert (batch.stock(), batch.next_id) == (single.stock(), single.next_id)


def test_a_batch_ends_where_the_stock_ends(backend: PoolBackend, selector: str) -> None:
    need(backend, Capability.DRAW_MANY)
    pool = backend.open(FINITE, seed=8, selector=selector)
    _, indices = pool.draw_many(500)
    assert Counter(indices) == {0: 7, 1: 2, 2: 11}
    with pytest.raises(PoolExhausted):
        pool.draw_many(1)


@pytest.mark.parametrize("count", [0, -1])
def test_an_empty_batch_is_a_mistake(backend: PoolBackend, count: int) -> None:
    need(backend, Capability.DRAW_MANY)
    with pytest.raises(ValueError, match=str(count)):
        backend.open(ITEMS, seed=1).draw_many(count)


def test_a_large_batch_is_logged_in_records_of_at_most_65535_draws(backend: PoolBackend) -> None:
    need(backend, Capability.DRAW_MANY, Capability.LOGGED)
    log = MemoryLog()
    pool = backend.open(ITEMS, seed=1, log=log)
    first_id, indices = pool.draw_many(65_535 * 2 + 1)
    assert [kind for kind, _ in log.records] == [RecordKind.DRAWS] * 3
    assert (first_id, len(indices), pool.drawn) == (1, 131_071, 131_071)


# --- reservations ----------------------------------------------------------------------------


def test_a_reserved_item_is_out_of_stock_until_it_is_reverted(backend: PoolBackend) -> None:
    pool = backend.open([Item("only", 1, 1)], seed=1)
    index = pool.select()
    assert pool.stock() == {"only": 0}
    with pytest.raises(PoolExhausted):
        pool.select()
    pool.revert(index)
    assert (pool.stock(), pool.drawn) == ({"only": 1}, 0)
    assert pool.commit(pool.select()) == 1
    assert (pool.stock(), pool.drawn) == ({"only": 0}, 1)


def test_only_what_is_reserved_can_be_committed_or_reverted(backend: PoolBackend) -> None:
    pool = backend.open(ITEMS, seed=1)
    index = pool.select()
    pool.commit(index)
    for wrong in (index, -1, 3, 1 << 40):
        with pytest.raises(ValueError, match=str(wrong)):
            pool.commit(wrong)
        with pytest.raises(ValueError, match=str(wrong)):
            pool.revert(wrong)
    assert pool.drawn == 1


def test_a_commit_that_cannot_be_logged_puts_the_item_back(backend: PoolBackend) -> None:
    need(backend, Capability.LOGGED)
    log = MemoryLog(fail_appends=frozenset({1}))
    pool = backend.open([Item("only", 1, 1)], seed=1, log=log)
    index = pool.select()
    with pytest.raises(LogWriteFailed):
        pool.commit(index)
    assert (pool.stock(), pool.drawn) == ({"only": 1}, 0)
    with pytest.raises(ValueError, match="reserved"):
        pool.commit(index)
    assert pool.commit(pool.select()) == 1


# --- the log ---------------------------------------------------------------------------------


def test_a_failed_append_uses_up_the_random_number_and_no_stock(backend: PoolBackend) -> None:
    need(backend, Capability.LOGGED)
    calm = backend.open(ITEMS, seed=2)
    expected = [calm.draw() for _ in range(10)]
    log = MemoryLog(fail_appends=frozenset({4}))
    pool = backend.open(ITEMS, seed=2, log=log)
    drawn = [pool.draw() for _ in range(3)]
    before = pool.stock()
    with pytest.raises(LogWriteFailed):
        pool.draw()
    assert (pool.stock(), pool.next_id) == (before, 4)
    drawn += [pool.draw() for _ in range(6)]
    assert drawn == expected[:3] + expected[4:]


def test_a_failed_batch_takes_nothing_from_stock(backend: PoolBackend, selector: str) -> None:
    need(backend, Capability.LOGGED, Capability.DRAW_MANY)
    log = MemoryLog(fail_appends=frozenset({1}))
    pool = backend.open(FINITE, seed=2, log=log, selector=selector)
    with pytest.raises(LogWriteFailed):
        pool.draw_many(100)
    assert pool.stock() == {"a": 7, "b": 2, "c": 11, "d": 0}
    first_id, indices = pool.draw_many(100)
    assert (first_id, Counter(indices)) == (1, {0: 7, 1: 2, 2: 11})


@pytest.mark.parametrize("every", [1, 3])
def test_the_log_is_synced_after_every_so_many_draws(backend: PoolBackend, every: int) -> None:
    need(backend, Capability.LOGGED)
    log = MemoryLog()
    pool = backend.open(ITEMS, seed=2, log=log, flush_every=every)
    for _ in range(6):
        pool.draw()
    assert log.events == (["append"] * every + ["sync"]) * (6 // every)
    pool.commit(pool.select())
    assert log.syncs == (7 if every == 1 else 2)


def test_a_pool_never_syncs_by_itself_unless_told_to(backend: PoolBackend) -> None:
    need(backend, Capability.LOGGED)
    log = MemoryLog()
    pool = backend.open(ITEMS, seed=2, log=log)
    for _ in range(6):
        pool.draw()
    assert log.syncs == 0
    pool.sync()
    assert log.syncs == 1


def test_a_failed_sync_is_raised_and_tried_again_with_the_next_draw(backend: PoolBackend) -> None:
    need(backend, Capability.LOGGED)
    log = MemoryLog(fail_syncs=frozenset({1}))
    pool = backend.open(ITEMS, seed=2, log=log, flush_every=2)
    pool.draw()
    with pytest.raises(LogWriteFailed):
        pool.draw()
    assert pool.drawn == len(log.records) == 2
    pool.draw()
    assert log.durable == 3


def test_closing_a_pool_leaves_its_log_open_and_ends_the_draws(backend: PoolBackend) -> None:
    need(backend, Capability.LOGGED)
    log = MemoryLog()
    pool = backend.open(ITEMS, seed=2, log=log)
    pool.draw()
    pool.close()
    pool.close()
    assert not log.closed
    for use in (pool.draw, pool.select, pool.sync):
        with pytest.raises(PoolError):
            use()
    assert pool.drawn == 1


# --- recovery --------------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])
def test_a_recovered_pool_goes_on_where_its_log_ends(
    backend: PoolBackend, selector: str, log_format: str
) -> None:
    need(backend, Capability.RECOVERY, Capability.DRAW_MANY)
    logs = MemoryLogBackend()
    log = logs.open(HERE, LogOptions(format=log_format))
    pool = backend.open(ITEMS, seed=2, log=log, selector=selector)
    for _ in range(5):
        pool.draw()
    pool.draw_many(7)
    pool.commit(pool.select())
    pool.select()  # reserved, never committed: back in stock after recovery
    again, reopened, recovery = recover(backend, logs, selector=selector, format=log_format)
    assert (again.drawn, again.next_id, recovery.records) == (13, 14, 7)
    pool.close()
    fresh = backend.open(ITEMS, seed=9, selector=selector)
    assert again.draw_record() == (14, fresh.draw())
    assert len(reopened.records) == 8


def test_recovery_of_an_empty_log_is_a_new_pool(backend: PoolBackend) -> None:
    need(backend, Capability.RECOVERY)
    pool, _, recovery = recover(backend, MemoryLogBackend())
    assert (pool.next_id, recovery.records) == (1, 0)


def test_recovery_passes_over_records_that_are_no_draws(backend: PoolBackend) -> None:
    need(backend, Capability.RECOVERY)
    logs = MemoryLogBackend()
    log = logs.open(HERE, LogOptions())
    pool = backend.open(ITEMS, seed=2, log=log)
    log.append(b"a stranger's", RecordKind.DATA)
    pool.draw()
    log.append(b"", RecordKind.REMOVE)
    pool.draw()
    assert recover(backend, logs)[0].drawn == 2


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (ITEMS[:2], "2 items"),
        ((Item("gold", 1, 3), Item("silver", 4, 20), Item("tin", 15, 4)), "'tin'"),
    ],
)
def test_a_log_that_does_not_fit_the_catalogue_is_refused(
    backend: PoolBackend, other: tuple[Item, ...], told: str
) -> None:
    need(backend, Capability.RECOVERY)
    logs = MemoryLogBackend()
    pool = backend.open(ITEMS, seed=2, log=logs.open(HERE, LogOptions()))
    for _ in range(40):
        pool.draw()
    with pytest.raises(CatalogueError) as caught:
        recover(backend, logs, other)
    assert told in caught.value.message


def test_a_log_whose_ids_start_again_is_refused(backend: PoolBackend) -> None:
    need(backend, Capability.RECOVERY)
    logs = MemoryLogBackend()
    log = logs.open(HERE, LogOptions())
    for _ in range(2):
        backend.open(ITEMS, seed=2, log=log).draw()
    with pytest.raises(CatalogueError) as caught:
        recover(backend, logs)
    assert "1" in caught.value.message and "2" in caught.value.message


class GrowingLogBackend(MemoryLogBackend):
    """Somebody else draws between the replay and the opening of the log."""

    def open(self, directory: Path, options: LogOptions) -> MemoryLog:
        log = super().open(directory, options)
        log.append(b"", RecordKind.DATA)
        return log


def test_a_log_that_grew_while_it_was_read_is_refused_and_closed(backend: PoolBackend) -> None:
    need(backend, Capability.RECOVERY)
    logs = GrowingLogBackend()
    with pytest.raises(LogError):
        recover(backend, logs)
    assert logs.logs[HERE].closed
