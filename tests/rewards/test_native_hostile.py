"""Arguments that are not what they say, and threads at the worst moment: the compiled pool and
its queue keep inside their memory and lose nothing."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench_cli.interfaces import Item
from tests.contract.pool_backends import NATIVE

ITEMS = [Item("a", 1), Item("b", 2)]


class Elsewhere(int):
    """An index that compares as if it were in range."""

    def __ge__(self, other: object) -> bool:
        return True

    def __lt__(self, other: object) -> bool:
        return True


class SlowLog:
    """A log that lets ``meanwhile`` have all the turns it may need during an append."""

    format = "binary"

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.thread = threading.Thread(target=meanwhile)
        self.ended_within: bool | None = None

    def append(self, payload: bytes, kind: int) -> None:
        self.thread.start()
        for _ in range(1000):
            time.sleep(0)
        self.ended_within = not self.thread.is_alive()


@pytest.fixture
def backend() -> Any:
    return NATIVE.load()


@pytest.mark.parametrize("use", ["commit", "revert"])
def test_an_index_that_lies_about_its_value_is_refused(backend: Any, use: str) -> None:
    pool = backend.open(ITEMS, seed=1)
    pool.select()
    with pytest.raises(ValueError, match="not reserved"):
        getattr(pool, use)(Elsewhere(1_000_000))
    with pytest.raises(ValueError, match="not reserved"):
        getattr(pool, use)(1 << 80)


def test_another_log_is_attached_after_the_append_under_way(backend: Any) -> None:
    pool = backend.open(ITEMS, seed=1)
    other = SlowLog(lambda: None)
    log = SlowLog(lambda: pool.attach(other))
    pool.attach(log)
    pool.draw()
    log.thread.join()
    assert log.ended_within is False
    pool.draw()
    assert other.ended_within is True


@pytest.fixture
def collector() -> Iterator[None]:
    """Off, so that a test can say when it runs."""
    threshold = gc.get_threshold()
    gc.collect()
    gc.disable()
    yield
    gc.set_threshold(*threshold)
    gc.enable()


class Garbage:
    """Only the collector finds it, and then it does ``last``."""

    def __init__(self, last: Callable[[], None]) -> None:
        self.itself, self.last = self, last

    def __del__(self) -> None:
        self.last()


@pytest.mark.usefixtures("collector")
def test_a_request_of_another_thread_during_a_collection_is_answered_once(backend: Any) -> None:
    """The collector runs where a drain makes its first list, on Pythons where allocating calls it;
    on later ones it runs elsewhere, and nothing is to be seen."""
    queue = backend.queue(backend.open(ITEMS, seed=1))
    answers: list[str] = []
    answering, go_on = threading.Event(), threading.Event()

    def answer(name: str) -> Callable[..., None]:
        def callback(draw_id: int, item: str | None, error: object) -> None:
            answers.append(name)
            if threading.current_thread() is thread:
                answering.set()
                go_on.wait()

        return callback

    callbacks = [answer(name) for name in ("first", "meanwhile", "next", "last")]

    thread = threading.Thread(target=lambda: queue.submit(callbacks[1]))

    def meanwhile() -> None:
        thread.start()
        while thread.is_alive() and not answering.is_set():
            time.sleep(0)

    taken: list[list[None]] = [[] for _ in range(200)]  # no list is left to be used again
    Garbage(meanwhile)
    gc.set_threshold(1)
    gc.enable()
    queue.submit(callbacks[0])
    gc.disable()
    if not thread.ident:
        meanwhile()
    queue.submit(callbacks[2])
    go_on.set()
    thread.join()
    queue.submit(callbacks[3])
    queue.close()
    assert len(taken) == 200
    assert sorted(answers) == ["first", "last", "meanwhile", "next"]
