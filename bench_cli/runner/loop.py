"""The only timer.

A *batch* is one call of ``Body.run``: a fixed number of operations and the loop around them. A
*sample* is as many batches as take ``min_sample_ns`` (a number fixed in the warm-up and the same
in all processes of a row), with untimed preparation between them and verification after it.
The loop itself, timed empty over the same iterable, is subtracted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench_cli.interfaces import Body
from bench_cli.runner.counters import Counters, read_counters
from bench_cli.runner.waiting import time_apart

Now = Callable[[], int]
OVERHEAD_TRIALS = 5
CLOCK_TRIALS = 1_000
WALL_CAP = 12
"""No sample takes longer than about this many times ``min_sample_ns`` with its preparation."""
TRIES = 3
PATIENCE_NS = 100_000_000
"""A calibration that meets the cap at once tries so often, within this time, before it believes
it: one preparation that was held up would make every sample of the row a single batch."""


@dataclass(slots=True)
class Sample:
    """``time_ns``: overhead subtracted, at least 0. ``batch_ns``: the raw time of each batch.
    ``run_ns``: the same without what it waited for a core that other processes had. ``cpu_ns``:
    what its own thread ran of that; the rest it waited for a device or another thread."""

    time_ns: float
    raw_ns: int
    overhead_ns: float
    prepare_ns: int
    batch_ns: list[int] = field(default_factory=list)
    run_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)


def _nothing() -> None:
    """What a batch without a loop costs: one call."""


def empty_loop(loop: Iterable[Any]) -> Callable[[], None]:
    """The loop of a batch without its operations."""

    def run() -> None:
        for _ in loop:
            pass

    return run


def _time_call(run: Callable[[], None], now: Now) -> int:
    """The timed region: one call, between two readings of the clock."""
    start = now()
    run()
    return now() - start


def _time_batch(body: Body, now: Now) -> tuple[int, int]:
    """What a batch took, and how much of that it waited for a core; on a clock that is not the
    machine's nobody waits."""
    region = partial(_time_call, body.run, now)
    return time_apart(region) if now is time.perf_counter_ns else (region(), 0)


def loop_overhead_ns(loop: Iterable[Any] | None, now: Now = time.perf_counter_ns) -> float:
    """What the timed region costs without its operations: the smallest of a few trials, because
    an interrupted trial would subtract too much and flatter the row."""
    empty = _nothing if loop is None else empty_loop(loop)
    return float(min(_time_call(empty, now) for _ in range(OVERHEAD_TRIALS)))


def quiet_collector() -> None:
    """Empty the collector and set what is alive aside, so that only garbage of the timed
    operations can make it run. It stays enabled: its runs are part of the cost, and counted."""
    gc.collect()
    gc.freeze()


def take_sample(
    body: Body, batches: int, overhead_ns: float, now: Now = time.perf_counter_ns
) -> Sample:
    """One sample of ``batches`` batches, verified. Raises what the body raises."""
    sample = Sample(0.0, 0, overhead_ns * batches, 0)
    fresh_each = not body.info.batches
    for index in range(batches):
        began = now()
        if fresh_each or index == 0:
            body.prepare()
        quiet_collector()
        before = read_counters()
        sample.prepare_ns += now() - began
        ran = time.thread_time_ns()
        took, waited = _time_batch(body, now)
        sample.cpu_ns.append(time.thread_time_ns() - ran)
        sample.batch_ns.append(took)
        sample.run_ns.append(took - waited)
        sample.counters += read_counters() - before
    sample.raw_ns = sum(sample.batch_ns)
    sample.time_ns = max(0.0, sample.raw_ns - sample.overhead_ns)
    body.verify()
    return sample


# --- one operation at a time -----------------------------------------------------------------


def clock_cost_ns(now: Now = time.perf_counter_ns) -> int:
    """What a timed region of nothing takes: two readings of the clock. The smallest of many, as
    for the loop."""
    return min(-(now() - now()) for _ in range(CLOCK_TRIALS))


def time_steps(step: Callable[[], object], count: int, end_ns: int, now: Now) -> list[int]:
    """The time of each of ``count`` steps, one after the other; fewer once ``end_ns`` is
    reached."""
    took = [0] * count
    for index in range(count):
        start = now()
        step()
        end = now()
        took[index] = end - start
        if end >= end_ns:
            return took[: index + 1]
    return took


@dataclass(slots=True)
class Paced:
    """Per step, in ns: from its start, from the start that was meant for it, and how much of the
    wait between the two came from being woken late by the system."""

    service: list[int]
    response: list[int]
    late: list[int]


def pace_steps(
    step: Callable[[], object],
    count: int,
    schedule: Callable[[int], int],
    end_ns: int,
    now: Now,
    wait: Callable[[int], None],
) -> Paced:
    """``schedule`` says when each step is meant to start. One that is late starts at once, and
    those behind it wait: what a stall does to the operations that would have come meanwhile is in
    their response. A late awakening stays with the steps behind it until they have caught up."""
    service, response, late = [0] * count, [0] * count, [0] * count
    overslept = 0
    for index in range(count):
        due = schedule(index)
        waited = now() < due
        if waited:
            wait(due)
        start = now()
        step()
        end = now()
        service[index] = end - start
        response[index] = end - due
        behind = start - due
        overslept = behind if waited or behind < overslept else overslept
        late[index] = overslept
        if end >= end_ns:
            done = index + 1
            return Paced(service[:done], response[:done], late[:done])
    return Paced(service, response, late)


# --- the warm-up -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the warm-up settled. ``overhead_ns``: the empty loop of one batch. ``short``: a sample
    would stay below ``min_sample_ns``, because preparation takes so much longer than what is
    timed that a full one would take for ever. ``run_ns``: the times its batches ran:
    beside other processes they take longer, and samples should not hold fewer for that."""

    batches: int
    overhead_ns: float
    short: bool = False
    run_ns: tuple[int, ...] = ()


def calibrate(body: Body, min_sample_ns: int, now: Now = time.perf_counter_ns) -> Calibration:
    """The beginning of the warm-up: one sample, discarded.

    The number of batches follows from the faster half of the warm-up's batches, so that a first,
    cold one does not make every sample too short; what a batch takes with its preparation, from
    the least disturbed try.
    """
    overhead = loop_overhead_ns(body.info.loop, now)
    if body.info.batches:
        first = take_sample(body, body.info.batches, overhead, now)
        return Calibration(body.info.batches, overhead, run_ns=tuple(first.run_ns))
    run_ns: list[int] = []
    walls: list[float] = []
    cap_ns = WALL_CAP * min_sample_ns
    began = now()
    while not walls or (
        sum(run_ns) < min_sample_ns and _goes_on(len(walls), now() - began, cap_ns)
    ):
        batches = _batches_left(run_ns, min_sample_ns)
        tried = now()
        run_ns += take_sample(body, batches, overhead, now).run_ns
        walls.append((now() - tried) / batches)
    wall_per_batch = max(1.0, min(walls))
    fast_half = sorted(run_ns)[: max(1, len(run_ns) // 2)]
    typical = max(1.0, sum(fast_half) / len(fast_half))
    wanted = int(min_sample_ns * 1.05 / typical) + 1
    most = max(1, int(cap_ns / wall_per_batch))
    return Calibration(min(wanted, most), overhead, wanted > most, tuple(run_ns))


def _goes_on(tries: int, wall_ns: int, cap_ns: int) -> bool:
    if wall_ns < cap_ns:
        return True
    return tries < TRIES and wall_ns < max(2 * cap_ns, PATIENCE_NS)


def repeat(body: Body, batches: int, now: Now = time.perf_counter_ns) -> Calibration:
    """The beginning of the warm-up where another process has calibrated already."""
    overhead = loop_overhead_ns(body.info.loop, now)
    first = take_sample(body, batches, overhead, now)
    return Calibration(batches, overhead, run_ns=tuple(first.run_ns))


def _batches_left(done: list[int], min_sample_ns: int) -> int:
    """At most doubles, so that one slow first batch cannot lead to thousands."""
    if not done:
        return 1
    missing = (min_sample_ns - sum(done)) / max(1.0, sum(done) / len(done))
    return max(1, min(int(missing) + 1, len(done)))
