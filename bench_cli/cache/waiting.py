"""Waiting for room in a full cache."""

from __future__ import annotations

import threading


class ConditionWaiter:
    """The production ``Waiter``: a counter of wake-ups under a condition, so that a wake-up
    between a failed look for room and the wait is not lost."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._wakes = 0

    def ticket(self) -> int:
        return self._wakes

    def wait(self, ticket: int, timeout_ns: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._wakes != ticket, timeout_ns / 1e9)

    def wake(self) -> None:
        with self._condition:
            self._wakes += 1
            self._condition.notify_all()
