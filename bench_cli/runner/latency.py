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
from typing import Any

from bench_cli.interfaces import Body, SteppedBody
from bench_cli.runner.loop import (
    Now,
    clock_cost_ns,
    pace_steps,
    quiet_collector,
    time_steps,
)
from bench_cli.runner.plan import OPEN_CAP
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
    count = min(body.steps, MOST_AT_ONCE, wanted.ops)
    done = time_steps(body.stepper(), count, now() + wanted.min_sample_ns, now)
    body.verify_steps(len(done))


def closed_loop(body: SteppedBody, wanted: Pass, now: Now) -> Told:
    """One after the other, for at least as long as a sample."""
    told, cost = Told(), clock_cost_ns(now)
    began = now()
    while told.ops < wanted.ops or told.elapsed_ns < wanted.min_sample_ns:
        left_ns = wanted.cap_ns - (now() - began)  # preparation included: it may be most of it
        if left_ns <= 0:
            break
        step = _prepared(body)
        start = now()
        took = time_steps(step, min(body.steps, MOST_AT_ONCE), start + left_ns, now)
        told.elapsed_ns += now() - start
        _done(body, told, len(took))
        told.service.add([one - cost for one in took])
    return told


def open_loop(body: SteppedBody, wanted: Pass, now: Now, sleep: Callable[[int], None]) -> Told:
    """At the intended rate. Preparation and verification stop the schedule's clock: they are not
    the row's work, and a backlog from before is still there after them."""
    told, cost = Told(), clock_cost_ns(now)

    def wait(due: int) -> None:
        while (left := due - now()) > 0:
            if left > SPIN_NS:
                sleep(left - SPIN_NS)
            elif body.info.now:
                sleep(left)

    while told.ops < wanted.ops and (left_ns := wanted.cap_ns - told.elapsed_ns) > 0:
        step = _prepared(body)
        first, start = told.ops, now()
        origin = start - told.elapsed_ns

        def due(index: int, first: int = first, origin: int = origin) -> int:
            return origin + (first + index) * SECOND // wanted.rate_per_s

        count = min(body.steps, MOST_AT_ONCE, wanted.ops - told.ops)
        paced = pace_steps(step, count, due, start + left_ns, now, wait)
        told.elapsed_ns += now() - start
        _done(body, told, len(paced.service))
        told.service.add([one - cost for one in paced.service])
        told.response.add([one - cost for one in paced.response])
        told.late.add([one - cost for one in paced.late])
    return told


def _prepared(body: SteppedBody) -> Callable[[], object]:
    body.prepare()
    step = body.stepper()
    quiet_collector()
    return step


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
