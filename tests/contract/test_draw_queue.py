"""What every request queue of a pool promises."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bench_cli.errors import (
    LogWriteFailed,
    PoolExhausted,
    QueueClosed,
    QueueFull,
    UnknownName,
)
from bench_cli.interfaces import Capability, DrawCallback, Item, PoolBackend
from tests.contract.log_backends import need
from tests.contract.pool_backends import POOLS
from tests.rewards.ledger_logs import MemoryLog

ENDLESS = (Item("gold", 1), Item("tin", 9))
LIMIT = 30.0  # seconds a test may hang before it fails; none waits this long


@pytest.fixture(params=POOLS, ids=lambda case: case.id)
def backend(request: pytest.FixtureRequest) -> PoolBackend:
    backend: PoolBackend = request.param.load()
    need(backend, Capability.QUEUE, Capability.LOGGED)
    return backend


@pytest.fixture(params=["memory", "logged", "durable"])
def ack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["caller", "worker"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Answers:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[int, str | None, BaseException | None]] = []

    def __call__(self, draw_id: int, name: str | None, error: BaseException | None) -> None:
        self.all.append((draw_id, name, error))

    @property
    def ids(self) -> list[int]:
        return [draw_id for draw_id, _, _ in self.all]

    @property
    def errors(self) -> list[type[BaseException] | None]:
        return [None if error is None else type(error) for _, _, error in self.all]


def submit_as_one_group(queue: Any, callbacks: list[DrawCallback]) -> None:
    """From within a callback nobody drains, so the requests wait and form one group."""

    def submit_all(draw_id: int, name: str | None, error: BaseException | None) -> None:
        for callback in callbacks:
            queue.submit(callback)

    queue.submit(submit_all)


def test_the_queue_draws_what_the_pool_would_draw(
    backend: PoolBackend, ack: str, mode: str
) -> None:
    direct = backend.open(ENDLESS, seed=3)
    pool = backend.open(ENDLESS, seed=3, log=MemoryLog())
    queue = backend.queue(pool, ack=ack, mode=mode)
    futures = [queue.request() for _ in range(50)]
    queue.close()
    assert [future.result(LIMIT) for future in futures] == [direct.draw_record() for _ in range(50)]
    assert pool.drawn == 50


def test_every_answered_draw_is_in_the_log(backend: PoolBackend, ack: str, mode: str) -> None:
    log = MemoryLog()
    pool = backend.open(ENDLESS, seed=3, log=log)
    queue = backend.queue(pool, ack=ack, mode=mode)
    for _ in range(20):
        queue.request().result(LIMIT)
    queue.close()
    assert [int.from_bytes(payload[:8], "little") for _, payload in log.records] == [*range(1, 21)]


def test_a_future_that_waits_cannot_be_cancelled(backend: PoolBackend) -> None:
    pool = backend.open(ENDLESS, seed=3)
    queue = backend.queue(pool)
    seen: list[bool] = []

    def cancel(draw_id: int, name: str | None, error: BaseException | None) -> None:
        seen.append(queue.request().cancel())

    queue.submit(cancel)
    assert (seen, pool.drawn) == ([False], 2)


def test_a_callback_may_submit_again_without_recursion(backend: PoolBackend, ack: str) -> None:
    """One thread keeps 100 requests in flight, far beyond what the stack would bear."""
    pool = backend.open(ENDLESS, seed=3, log=MemoryLog())
    queue = backend.queue(pool, capacity=100, ack=ack)
    left = 20_000
    answers = Answers()

    def again(draw_id: int, name: str | None, error: BaseException | None) -> None:
        nonlocal left
        answers(draw_id, name, error)
        if left:
            left -= 1
            queue.submit(again)

    left -= 100
    submit_as_one_group(queue, [again] * 100)
    assert len(answers.all) == 20_000
    assert sorted(answers.ids) == list(range(2, 20_002))


def test_a_full_queue_refuses_and_keeps_what_it_has(backend: PoolBackend) -> None:
    pool = backend.open(ENDLESS, seed=3)
    queue = backend.queue(pool, capacity=2)
    answers = Answers()
    refused: list[QueueFull] = []

    def fill(draw_id: int, name: str | None, error: BaseException | None) -> None:
        for _ in range(3):
            try:
                queue.submit(answers)
            except QueueFull as error_:
                refused.append(error_)

    queue.submit(fill)
    assert (answers.ids, [error.capacity for error in refused]) == ([2, 3], [2])


def test_a_closed_queue_refuses_and_closing_twice_is_harmless(
    backend: PoolBackend, mode: str
) -> None:
    queue = backend.queue(backend.open(ENDLESS, seed=3), mode=mode)
    queue.close()
    queue.close()
    with pytest.raises(QueueClosed):
        queue.submit(Answers())
    with pytest.raises(QueueClosed):
        queue.request()


def test_closing_answers_what_is_queued(backend: PoolBackend, ack: str, mode: str) -> None:
    queue = backend.queue(backend.open(ENDLESS, seed=3, log=MemoryLog()), ack=ack, mode=mode)
    answers = Answers()

    def submit_and_close(draw_id: int, name: str | None, error: BaseException | None) -> None:
        for _ in range(5):
            queue.submit(answers)
        queue.close()

    queue.submit(submit_and_close)
    while True:  # the worker may not have come to its first request yet
        try:
            queue.request().result(LIMIT)
        except QueueClosed:
            break
    queue.close()
    assert len(answers.all) == 5
    assert answers.errors == [None] * 5


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"ack": "hope"}, UnknownName),
        ({"mode": "magic"}, UnknownName),
        ({"capacity": 0}, ValueError),
    ],
)
def test_settings_that_do_not_exist_are_refused(
    backend: PoolBackend, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        backend.queue(backend.open(ENDLESS, seed=3), **settings)


# --- order of draws, log, sync and replies ---------------------------------------------------


def events_of_a_group(backend: PoolBackend, ack: str) -> list[str]:
    """What happens, in order, for three requests in one group."""
    log = MemoryLog()
    queue = backend.queue(backend.open(ENDLESS, seed=3, log=log), ack=ack)

    def reply(draw_id: int, name: str | None, error: BaseException | None) -> None:
        log.events.append("reply")

    def begin() -> None:
        log.events.clear()
        reply_all = [reply] * 3
        for callback in reply_all:
            queue.submit(callback)

    queue.submit(lambda *_: begin())
    return log.events


def test_durable_replies_follow_one_sync_for_the_group(backend: PoolBackend) -> None:
    assert events_of_a_group(backend, "durable") == ["append"] * 3 + ["sync"] + ["reply"] * 3


def test_logged_replies_follow_the_appends(backend: PoolBackend) -> None:
    assert events_of_a_group(backend, "logged") == ["append"] * 3 + ["reply"] * 3


def test_memory_replies_go_before_the_appends_of_the_same_drain(backend: PoolBackend) -> None:
    events = events_of_a_group(backend, "memory")
    assert events == ["append"] + ["reply"] * 3 + ["append"] * 3


# --- errors ----------------------------------------------------------------------------------


def test_an_empty_pool_is_told_to_each_who_asks(backend: PoolBackend, ack: str, mode: str) -> None:
    pool = backend.open([Item("only", 1, 2)], seed=3, log=MemoryLog())
    queue = backend.queue(pool, ack=ack, mode=mode)
    answers = Answers()
    for _ in range(4):
        queue.submit(answers)
    queue.close()
    assert answers.all[:2] == [(1, "only", None), (2, "only", None)]
    assert answers.errors == [None, None, PoolExhausted, PoolExhausted]
    assert [(draw_id, name) for draw_id, name, _ in answers.all[2:]] == [(0, None)] * 2


def test_a_failed_append_is_told_to_the_one_it_hit(backend: PoolBackend) -> None:
    log = MemoryLog(fail_appends=frozenset({3}))
    queue = backend.queue(backend.open(ENDLESS, seed=3, log=log), ack="durable")
    answers = Answers()
    submit_as_one_group(queue, [answers] * 3)
    assert answers.ids == [2, 0, 3]
    assert answers.errors == [None, LogWriteFailed, None]


def test_a_failed_sync_is_told_to_the_whole_group(backend: PoolBackend) -> None:
    log = MemoryLog(fail_syncs=frozenset({2}))
    pool = backend.open([Item("only", 1, 3)], seed=3, log=log)
    queue = backend.queue(pool, ack="durable")
    answers = Answers()
    submit_as_one_group(queue, [answers] * 3)
    assert answers.errors == [LogWriteFailed, LogWriteFailed, PoolExhausted]
    assert answers.ids == [0, 0, 0]


def test_a_callback_that_raises_stops_nobody_else(
    backend: PoolBackend, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = backend.queue(backend.open(ENDLESS, seed=3), mode=mode)
    answers = Answers()
    mistake = RuntimeError("in the callback")

    def faulty(draw_id: int, name: str | None, error: BaseException | None) -> None:
        raise mistake

    for callback in (answers, faulty, answers):
        queue.submit(callback)
    queue.close()
    assert answers.ids == [1, 3]
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert told == [mistake]


def test_an_interrupt_in_a_callback_is_raised_when_all_are_answered(backend: PoolBackend) -> None:
    queue = backend.queue(backend.open(ENDLESS, seed=3))
    answers = Answers()

    def interrupted(draw_id: int, name: str | None, error: BaseException | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit_as_one_group(queue, [answers, interrupted, answers])
    assert answers.ids == [2, 4]
    assert queue.request().result(0)[0] == 5


def test_a_log_that_fails_behind_memory_replies_is_told_to_the_next(
    backend: PoolBackend,
) -> None:
    log = MemoryLog(fail_appends=frozenset({1, 2, 3, 4}))
    pool = backend.open(ENDLESS, seed=3, log=log)
    queue = backend.queue(pool, ack="memory")
    assert queue.request().result(0)[0] == 1  # answered, then the append fails
    assert isinstance(
        queue.request().exception(0), LogWriteFailed
    )  # and again before and after the next
    with pytest.raises(LogWriteFailed):
        pool.draw()
    assert queue.request().result(0)[0] == 2
    assert pool.draw_record()[0] == 3
    assert [int.from_bytes(payload[:8], "little") for _, payload in log.records] == [1, 2, 3]


def test_closing_tells_of_memory_replies_that_never_reached_the_log(backend: PoolBackend) -> None:
    log = MemoryLog(fail_appends=frozenset(range(1, 100)))
    queue = backend.queue(backend.open(ENDLESS, seed=3, log=log), ack="memory")
    assert queue.request().result(0)[0] == 1
    with pytest.raises(LogWriteFailed):
        queue.close()


def test_a_direct_draw_writes_earlier_memory_draws_first(backend: PoolBackend) -> None:
    """Otherwise the log would hold its id before theirs and could not be recovered."""
    log = MemoryLog()
    pool = backend.open(ENDLESS, seed=3, log=log)
    queue = backend.queue(pool, ack="memory")
    queue.submit(lambda *_: pool.draw())
    assert [int.from_bytes(payload[:8], "little") for _, payload in log.records] == [1, 2]


# --- threads ---------------------------------------------------------------------------------


def run_threads(work: Callable[[], None], count: int) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert failures == []


@pytest.mark.parametrize("producers", [1, 2, 8])
def test_nothing_is_lost_or_doubled_under_many_producers(
    backend: PoolBackend, ack: str, mode: str, producers: int
) -> None:
    each = 400 // producers
    pool = backend.open([Item("a", 1, 150), Item("b", 3, 150)], seed=3, log=MemoryLog())
    queue = backend.queue(pool, capacity=8, ack=ack, mode=mode)
    answers = Answers()

    def produce() -> None:
        for _ in range(each):
            answered = threading.Event()

            def answer(
                draw_id: int,
                name: str | None,
                error: BaseException | None,
                answered: threading.Event = answered,
            ) -> None:
                answers(draw_id, name, error)
                answered.set()

            queue.submit(answer)
            assert answered.wait(LIMIT)

    run_threads(produce, producers)
    queue.close()
    assert Counter(answers.errors) == {None: 300, PoolExhausted: 100}
    assert sorted(draw_id for draw_id in answers.ids if draw_id) == list(range(1, 301))
    assert Counter(name for _, name, _ in answers.all) == {"a": 150, "b": 150, None: 100}


def test_threads_that_draw_directly_share_ids_and_stock(backend: PoolBackend) -> None:
    log = MemoryLog(before_append=lambda: time.sleep(0))  # gives the interpreter lock away
    pool = backend.open([Item("a", 1, 201), Item("b", 3, 201)], seed=3, log=log)
    ids: list[int] = []

    def draw() -> None:
        for _ in range(50):
            ids.append(pool.draw_record()[0])
            first_id, indices = pool.draw_many(3)
            ids.extend(range(first_id, first_id + len(indices)))
            pool.revert(pool.select())

    run_threads(draw, 2)
    assert sorted(ids) == list(range(1, 401))
    assert sum(left or 0 for left in pool.stock().values()) == 2
    logged = [int.from_bytes(payload[:8], "little") for _, payload in log.records]
    assert logged == sorted(logged)


def test_threads_that_draw_large_batches_share_ids_and_stock(backend: PoolBackend) -> None:
    """Large enough for a compiled twin to give the interpreter lock away."""
    need(backend, Capability.DRAW_MANY)
    pool = backend.open([Item("a", 1, 9_000), Item("b", 3, 9_000)], seed=3)
    ids: list[int] = []
    counts: Counter[int] = Counter()

    def draw() -> None:
        for _ in range(3):
            first_id, indices = pool.draw_many(3_000)
            ids.extend(range(first_id, first_id + len(indices)))
            counts.update(indices)

    run_threads(draw, 2)
    assert sorted(ids) == list(range(1, 18_001))
    assert counts == {0: 9_000, 1: 9_000}


def test_an_answered_request_leaves_nothing_behind(backend: PoolBackend, ack: str) -> None:
    queue = backend.queue(backend.open([Item("a", 1, 60)], seed=3, log=MemoryLog()), ack=ack)
    errors: list[type[BaseException]] = []

    def callback(draw_id: int, name: str | None, error: BaseException | None) -> None:
        if error is not None:
            errors.append(type(error))

    before = sys.getrefcount(callback)
    for _ in range(100):
        queue.submit(callback)
    gc.collect()  # an error and its traceback refer to each other
    assert errors == [PoolExhausted] * 40
    assert sys.getrefcount(callback) == before
