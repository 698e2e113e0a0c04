"""The latency pass: the time of each operation, told by histograms.

It is a pass of its own with a body of its own, because two readings of the clock per operation
would be most of what the throughput pass measures. A closed loop starts an operation when the one
before has ended: it tells service times. An open loop (``rate_per_s``) means to start them at fixed
times and counts from there, so that a stall is felt by every operation that should have started
meanwhile, and not by one alone ("coordinated omission").
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench_cli.interfaces import Body, SteppedBody
from bench_cli.runner.loop import (
    Now,
    Paced,
    clock_cost_ns,
    pace_steps,
    quiet_collector,
    time_steps,
)
from bench_cli.runner.plan import OPEN_CAP
from bench_cli.runner.side_by_side import side_by_side
from bench_cli.stats.histogram import Histogram, summary

MOST_AT_ONCE = 100_000
"""Steps between two looks at the histogram: bounds the memory of a pass."""
CLOSED_CAP = 20
"""A closed loop ends after this many times ``min_sample_ns``, preparation included."""
SPIN_NS = 60_000
"""The last stretch before an intended start is waited for awake: a sleeper wakes up late, without
timer slack by 18 us typically and 57 us in one of a hundred on a shared virtual machine. More
would make the loop a busy one, which the scheduler then puts off."""
KEPT = 0.98
"""Below this share of the intended rate the row says that it was not kept."""
LATE_NS = 50_000
"""What waking up may take on a quiet machine."""
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Pass:
    """At least ``ops`` operations, as far as its cap of time allows. ``rate_per_s`` 0: a closed
    loop."""

    ops: int
    rate_per_s: int
    min_sample_ns: int

    @property
    def cap_ns(self) -> int:
        return self.min_sample_ns * (OPEN_CAP if self.rate_per_s else CLOSED_CAP)


@dataclass(slots=True)
class Told:
    """Operations done, the time that took without preparation, and the histograms. ``late``: how
    much of each wait came from the system waking the loop late."""

    ops: int = 0
    elapsed_ns: int = 0
    service: Histogram = field(default_factory=Histogram)
    response: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)


def tell(body: Body, wanted: Pass) -> dict[str, Any]:
    """What one process tells, as plain values: either ``reason``, or the pass and its
    histograms."""
    if not isinstance(body, SteppedBody):
        return {"reason": "this row's operations cannot be run one at a time"}
    now = body.info.now or time.perf_counter_ns
    sleep = body.info.sleep if body.info.now else sleep_ns
    if wanted.rate_per_s and sleep is None:
        return {"reason": "this row's clock cannot wait for an intended start"}
    _warm_up(body, wanted, now)
    if wanted.rate_per_s and sleep is not None:
        told = open_loop(body, wanted, now, sleep)
    else:
        told = closed_loop(body, wanted, now)
    found = {
        "rate_per_s": wanted.rate_per_s,
        "ops": told.ops,
        "elapsed_ns": told.elapsed_ns,
        "service": told.service.as_json(),
    }
    if wanted.rate_per_s:
        found |= {"response": told.response.as_json(), "late": told.late.as_json()}
    return found


def sleep_ns(duration: int) -> None:
    time.sleep(duration / SECOND)


def _warm_up(body: SteppedBody, wanted: Pass, now: Now) -> None:
    body.prepare()
    steps = _steps(body)
    count, end_ns = _each(body, len(steps), wanted.ops), now() + wanted.min_sample_ns
    done = _timed(steps, count, end_ns, now)
    body.verify_steps(sum(map(len, done)))


def _timed(
    steps: Sequence[Callable[[], object]], count: int, end_ns: int, now: Now
) -> list[list[int]]:
    return side_by_side(steps, lambda _, step: time_steps(step, count, end_ns, now))


def _steps(body: SteppedBody) -> Sequence[Callable[[], object]]:
    return [body.stepper() for _ in range(body.info.threads)]


def _each(body: SteppedBody, threads: int, ops: int) -> int:
    """Steps of each thread, to do ``ops`` together as far as the body allows."""
    return max(1, min(body.steps, MOST_AT_ONCE // threads, -(-ops // threads)))


def closed_loop(body: SteppedBody, wanted: Pass, now: Now) -> Told:
    """One after the other, for at least as long as a sample."""
    told, cost = Told(), clock_cost_ns(now)
    began = now()
    while told.ops < wanted.ops or told.elapsed_ns < wanted.min_sample_ns:
        left_ns = wanted.cap_ns - (now() - began)  # preparation included: it may be most of it
        if left_ns <= 0:
            break
        steps = _prepared(body)
        start = now()
        took = _timed(steps, _each(body, len(steps), MOST_AT_ONCE), start + left_ns, now)
        told.elapsed_ns += now() - start
        _done(body, told, sum(map(len, took)))
        for times in took:
            told.service.add([one - cost for one in times])
    return told


def open_loop(body: SteppedBody, wanted: Pass, now: Now, sleep: Callable[[int], None]) -> Told:
    """At the intended rate. Preparation and verification stop the schedule's clock: they are not
    the row's work, and a backlog from before is still there after them."""
    told, cost = Told(), clock_cost_ns(now)
    while told.ops < wanted.ops and (left_ns := wanted.cap_ns - told.elapsed_ns) > 0:
        steps = _prepared(body)
        count, start = _each(body, len(steps), wanted.ops - told.ops), now()
        schedule = Schedule(start - told.elapsed_ns, told.ops, len(steps), wanted.rate_per_s)
        wait = _waiting(body, len(steps), now, sleep)
        paced = _paced(steps, schedule, count, start + left_ns, now, wait)
        told.elapsed_ns += now() - start
        _done(body, told, sum(len(one.service) for one in paced))
        for one in paced:
            told.service.add([time - cost for time in one.service])
            told.response.add([time - cost for time in one.response])
            told.late.add([time - cost for time in one.late])
    return told


@dataclass(frozen=True, slots=True)
class Schedule:
    """Operations take turns among the threads; ``first`` is the number of the first one."""

    origin_ns: int
    first: int
    threads: int
    rate_per_s: int

    def due(self, thread: int, index: int) -> int:
        number = self.first + index * self.threads + thread
        return self.origin_ns + number * SECOND // self.rate_per_s


def _paced(
    steps: Sequence[Callable[[], object]],
    schedule: Schedule,
    count: int,
    end_ns: int,
    now: Now,
    wait: Callable[[int], None],
) -> list[Paced]:
    def work(thread: int, step: Callable[[], object]) -> Paced:
        return pace_steps(step, count, partial(schedule.due, thread), end_ns, now, wait)

    return side_by_side(steps, work)


def _waiting(
    body: SteppedBody, threads: int, now: Now, sleep: Callable[[int], None]
) -> Callable[[int], None]:
    """Several threads that waited awake would take the processor from those that work."""
    awake_ns = SPIN_NS if threads == 1 else 0

    def wait(due: int) -> None:
        while (left := due - now()) > 0:
            if left > awake_ns:
                sleep(left - awake_ns)
            elif body.info.now:
                sleep(left)

    return wait


def _prepared(body: SteppedBody) -> Sequence[Callable[[], object]]:
    body.prepare()
    steps = _steps(body)
    quiet_collector()
    return steps


def _done(body: SteppedBody, told: Told, count: int) -> None:
    body.verify_steps(count)
    told.ops += count


# --- over the processes of a row -------------------------------------------------------------


def pooled(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all processes told, as it stands in a row: per histogram its percentiles in ns and
    its buckets. Raises ValueError, TypeError or KeyError for what ``tell`` cannot have made."""
    for one in found:
        if "reason" in one:
            return {"reason": str(one["reason"])}
    rate = int(found[0]["rate_per_s"])
    elapsed = sum(int(one["elapsed_ns"]) for one in found)
    ops = sum(int(one["ops"]) for one in found)
    row: dict[str, Any] = {
        "mode": "open" if rate else "closed",
        "rate_per_s": rate,
        "achieved_per_s": ops * SECOND / elapsed if elapsed > 0 else None,
    }
    for name in ("response", "service", "late") if rate else ("service",):
        merged = Histogram()
        for one in found:
            merged.merge(Histogram.from_json(one[name]))
        row[name] = {**summary(merged), **merged.as_json()}
    return row


def warnings(latency: Mapping[str, Any]) -> list[str]:
    """What a reader of the row has to know."""
    if "reason" in latency:
        return [f"no latencies: {latency['reason']}"]
    told = []
    achieved, rate = latency["achieved_per_s"], latency["rate_per_s"]
    if rate and achieved is not None and achieved < KEPT * rate:
        told.append(f"the rate of {rate:,}/s was not kept: {achieved:,.0f}/s")
    if rate and (late := busy(latency)) is not None:
        told.append(
            f"{late / 1e6:.3g} ms of the response's p99 is this machine waking the loop late, "
            "not the row: close what else is running"
        )
    return told


def busy(latency: Mapping[str, Any]) -> float | None:
    """The p99 of late awakenings where it is half of the response's or more; else None."""
    late, response = latency["late"]["p99"], latency["response"]["p99"]
    if late is None or response is None or late < LATE_NS or 2 * late < response:
        return None
    return float(late)
