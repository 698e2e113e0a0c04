"""How long the timing thread was ready to run while something else had its core.

On a shared machine that is most of what disturbs a sample: a batch of 20 ms beside two busy
processes takes 60. The kernel counts it, to the nanosecond, apart from what the thread waited for
of its own accord (a lock, a disk), which is the row's own time and is never taken off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache

_SCHEDSTAT = "/proc/thread-self/schedstat"
"""Nanoseconds on a core, nanoseconds waiting for one, slices (Linux, sched-stats.rst)."""


@cache
def _opened() -> int | None:
    try:
        return os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _waited_ns() -> int:
    """Of this thread so far; 0 where the system does not say, so that nothing is taken off."""
    descriptor = _opened()
    if descriptor is None:
        return 0
    fields = os.pread(descriptor, 100, 0).split()
    return int(fields[1]) if len(fields) == 3 else 0


def _others_ns() -> int:
    """CPU time of this process's other threads so far."""
    return time.process_time_ns() - time.thread_time_ns()


def time_apart(region: Callable[[], int]) -> tuple[int, int]:
    """What ``region`` returns, its time in ns, and how much of that it waited for a core because
    of other processes. Where the process's own threads may have been in the way, that much stays:
    it is the row's doing. What was waited outside the region is not taken off twice."""
    began, waited, others = time.perf_counter_ns(), _waited_ns(), _others_ns()
    took = region()
    waited, others = _waited_ns() - waited, _others_ns() - others
    around = time.perf_counter_ns() - began - took
    return took, min(took, max(0, waited - others - around))
