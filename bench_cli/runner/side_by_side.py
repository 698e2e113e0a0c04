"""Steps of several threads, all begun together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Step = Callable[[], object]
R = TypeVar("R")


def side_by_side(steps: Sequence[Step], work: Callable[[int, Step], R]) -> list[R]:
    """``work(number, step)`` of each step, on a thread of its own; on this one if it is the only
    one. Raises what the first one to fail raised, when all have ended."""
    if len(steps) == 1:
        return [work(0, steps[0])]
    together = threading.Barrier(len(steps))
    done: dict[int, R] = {}
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            together.wait()
            done[number] = work(number, steps[number])
        except BaseException as error:  # raised again by the thread that waits for all
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [done[number] for number in range(len(steps))]
