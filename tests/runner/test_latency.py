"""The latency pass under a clock that moves only when an operation or a wait says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench_cli import registry
from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import BodyInfo, Engines, Setting, SteppedBody
from bench_cli.runner.latency import Pass, Schedule, pooled, tell, warnings
from bench_cli.stats.histogram import Histogram
from bench_cli.workloads.base import PlainBody

MS = 1_000_000
SECOND = 1_000 * MS


class Clock:
    def __init__(self) -> None:
        self.ns = 0
        self.slept = 0

    def now(self) -> int:
        return self.ns

    def sleep(self, duration: int) -> None:
        assert duration > 0
        self.ns += duration
        self.slept += 1


class Stepping(PlainBody):
    """``cost(number)`` is what operation ``number`` (from 0) takes; preparation takes 7 ms."""

    def __init__(self, cost: Callable[[int], int], steps: int = 10_000) -> None:
        self.clock = Clock()
        self.cost, self.steps = cost, steps
        self.done = self.since = self.prepared = 0
        self.info = BodyInfo(steps, now=self.clock.now, sleep=self.clock.sleep)

    def prepare(self) -> None:
        self.clock.ns += 7 * MS
        self.since = 0
        self.prepared += 1

    def stepper(self) -> Callable[[], object]:
        return self.step

    def step(self) -> None:
        self.clock.ns += self.cost(self.done) if self.prepared > 1 else 1000  # after the warm-up
        self.done += self.prepared > 1
        self.since += 1

    def verify_steps(self, count: int) -> None:
        self.clock.ns += 3 * MS
        if not 0 < self.since == count <= self.steps:
            raise VerificationFailed(f"{self.since} steps, not {count}")


def row(body: Stepping, wanted: Pass) -> dict[str, Any]:
    """As it stands in a result: one process, through JSON."""
    return pooled([json.loads(json.dumps(tell(body, wanted)))])


def stalling(number: int) -> int:
    """One stall of 100 ms every 1,000 operations, which is every second."""
    return 100 * MS if number % 1000 == 500 else 20_000


@pytest.mark.parametrize("steps", [10_000, 300, 1])
def test_a_stall_is_felt_by_all_that_should_have_started_meanwhile(steps: int) -> None:
    """1,000 op/s with one stall of 100 ms a second, however the operations fall into batches."""
    told = row(Stepping(stalling, steps), Pass(10_000, 1000, 50 * MS))
    assert told["mode"] == "open"
    assert told["response"]["p99"] >= 85 * MS
    assert told["service"]["p99"] < 5 * MS
    assert told["service"]["max"] == 100 * MS
    assert told["response"]["p50"] == pytest.approx(20_000, rel=0.01)
    assert told["achieved_per_s"] == pytest.approx(1000, rel=0.01)
    assert warnings(told) == []


def test_a_closed_loop_sees_the_same_stall_once() -> None:
    told = row(Stepping(stalling), Pass(10_000, 0, 500 * MS))
    assert told["mode"] == "closed"
    assert "response" not in told
    assert told["service"]["p99"] < 5 * MS
    assert told["service"]["max"] == 100 * MS


def test_without_stalls_response_is_service() -> None:
    told = row(Stepping(lambda _: 50_000), Pass(2_000, 1000, 50 * MS))
    assert told["response"] == told["service"]
    assert told["response"]["count"] == 2_000


def test_a_rate_that_cannot_be_kept_is_told_and_its_backlog_grows() -> None:
    body = Stepping(lambda _: 2 * MS)
    told = row(body, Pass(2_000, 1000, 50 * MS))
    assert warnings(told) == ["the rate of 1,000/s was not kept: 500/s"]
    assert told["response"]["max"] > 1.9 * SECOND
    assert told["service"]["max"] == 2 * MS


def test_a_pass_ends_at_its_cap_of_time() -> None:
    told = row(Stepping(lambda _: SECOND), Pass(10_000, 1000, 50 * MS))
    assert told["response"]["count"] == 10
    told = row(Stepping(lambda _: 100 * MS), Pass(10_000, 0, 50 * MS))
    assert told["service"]["count"] == 10
    assert told["service"]["p99"] is None
    assert told["service"]["reasons"]["p99"] == "n too small: 10 of 1,000 operations"


def test_a_waiter_sleeps_and_does_not_spin_through_the_whole_gap() -> None:
    body = Stepping(lambda _: 1000)
    row(body, Pass(1_000, 10, 50 * MS))
    assert 0 < body.clock.slept <= 2 * 1_000


def test_a_machine_that_wakes_the_loop_late_is_blamed_and_not_the_row() -> None:
    body = Stepping(lambda _: 20_000)

    def oversleep(duration: int) -> None:
        body.clock.ns += duration + (30 * MS if body.done % 500 == 250 else 0)

    body.info = BodyInfo(1, now=body.clock.now, sleep=oversleep)
    told = row(body, Pass(10_000, 1000, 50 * MS))
    assert told["response"]["p99"] > 20 * MS
    assert told["late"]["p99"] == pytest.approx(told["response"]["p99"], rel=0.01)
    [warning] = warnings(told)
    assert "waking the loop late" in warning


def test_a_stall_of_the_row_is_not_blamed_on_the_machine() -> None:
    told = row(Stepping(stalling), Pass(10_000, 1000, 50 * MS))
    assert told["late"]["max"] == 0


def test_fast_operations_go_on_for_as_long_as_a_sample() -> None:
    told = row(Stepping(lambda _: 100), Pass(1_000, 0, 50 * MS))
    assert told["service"]["count"] >= 500_000


def test_processes_pool_to_what_one_would_have_told() -> None:
    costs = np.random.default_rng(3).lognormal(11, 1.5, 12_000).astype(int).tolist()
    parts = [costs[start : start + 4_000] for start in (0, 4_000, 8_000)]
    found = [
        tell(Stepping(lambda n, p=part: p[n % 4_000], 4_000), Pass(4_000, 0, 50 * MS))
        for part in parts
    ]
    together = pooled(found)["service"]
    assert together["count"] == 12_000
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        exact = np.quantile(costs, share, method="inverted_cdf")
        assert together[name] == pytest.approx(exact, rel=0.01)


def test_a_queue_with_more_in_flight_is_not_stepped(tmp_path: Path) -> None:
    body = built(tmp_path, "rewards.draw_queued", "rewards.pool", {"in_flight": 4})
    try:
        assert not isinstance(body, SteppedBody)
    finally:
        body.close()


def test_a_body_that_cannot_step_or_wait_says_so() -> None:
    assert "one at a time" in tell(PlainBody(), Pass(10, 0, 1))["reason"]
    body = Stepping(lambda _: 1)
    body.info = BodyInfo(1, now=body.clock.now)
    told = pooled([tell(body, Pass(10, 1000, 1))])
    assert warnings(told) == ["no latencies: this row's clock cannot wait for an intended start"]


def test_work_that_cannot_be_verified_is_an_error() -> None:
    body = Stepping(lambda _: 1)
    body.step = lambda: None  # type: ignore[method-assign]  # does nothing, and is found out
    with pytest.raises(VerificationFailed):
        tell(body, Pass(10, 0, 1))


@pytest.mark.parametrize("cost", [0, 30])
def test_reading_the_clock_is_subtracted(cost: int) -> None:
    body = Stepping(lambda _: cost)

    def now() -> int:
        body.clock.ns += 5
        return body.clock.ns

    body.info = BodyInfo(1, now=now, sleep=body.clock.sleep)
    assert row(body, Pass(1_000, 0, 1))["service"]["max"] == cost


# --- the bodies of the shipped rows ----------------------------------------------------------

BODIES = [
    ("wal.append", "wal.basic", {"record": 64}),
    ("wal.append", "wal.basic", {"record": 64, "batch": 10}),
    ("wal.append", "wal.mmap", {"record": 64, "state": "cold"}),
    ("wal.append_remove", "wal.basic", {}),
    ("wal.sync", "wal.basic", {}),
    ("rewards.draw", "rewards.pool", {"wal": "wal.basic"}),
    ("rewards.draw", "rewards.pool", {"batch": 100}),
    ("rewards.draw_queued", "rewards.pool", {"wal": "wal.basic"}),
    ("rewards.draw_queued", "rewards.pool", {"wal": "wal.basic", "mode": "worker"}),
    ("cache.read_sequential", "cache.block", {"size": 4096, "ring": 1 << 20}),
    ("cache.write_sequential", "cache.block", {"size": 4096, "ring": 1 << 20}),
    ("cache.write_sequential", "cache.block", {"size": 4096, "ring": 1 << 20, "state": "cold"}),
    ("cache.write_sequential", "cache.block", {"size": 4096, "ring": 1 << 20, "state": "pooled"}),
]

TALLIED = [body for body in BODIES if body[0] not in ("wal.sync", "cache.read_sequential")]
"""Whose work leaves something to count; a second sync or read leaves what the first one did."""


def built(tmp_path: Path, name: str, backend: str, params: dict[str, Any]) -> Any:
    workload = registry.workload_of(name)
    given = {parameter.name: parameter.default for parameter in workload.parameters}
    if "segment" in given:
        given["segment"] = 1 << 20
    engines = Engines(lambda wanted: registry.resolve(wanted, "python"))
    return workload.build(Setting(given | params, backend, "python", 1, tmp_path, engines))


@pytest.mark.parametrize(("name", "backend", "params"), BODIES)
def test_shipped_bodies_step_and_verify_their_steps(
    tmp_path: Path, name: str, backend: str, params: dict[str, Any]
) -> None:
    body = built(tmp_path, name, backend, params)
    try:
        assert isinstance(body, SteppedBody)
        for count in (1, min(20, body.steps)):
            body.prepare()
            step = body.stepper()
            for _ in range(count):
                step()
            body.verify_steps(count)
        body.prepare()
        body.run()
        body.verify()
    finally:
        body.close()


@pytest.mark.parametrize(("name", "backend", "params"), TALLIED)
def test_a_step_that_was_not_done_is_found_out(
    tmp_path: Path, name: str, backend: str, params: dict[str, Any]
) -> None:
    body = built(tmp_path, name, backend, params)
    try:
        body.prepare()
        body.stepper()()
        with pytest.raises(VerificationFailed):
            body.verify_steps(2)
    finally:
        body.close()


def test_a_stored_histogram_survives_a_round_trip_through_a_row() -> None:
    told = row(Stepping(stalling), Pass(2_000, 1000, 50 * MS))
    again = Histogram.from_json(told["response"])
    assert again.quantile(0.99) == told["response"]["p99"]


# --- several threads at once -----------------------------------------------------------------


class Together(PlainBody):
    """Two threads whose steps meet: neither can do one without the other. Its clock stands still
    meanwhile, so that neither runs out of time before the other."""

    steps = 20

    def __init__(self) -> None:
        self.clock = Clock()
        self.info = BodyInfo(2 * self.steps, now=self.clock.now, sleep=self.clock.sleep, threads=2)
        self.meeting = threading.Barrier(2)
        self.done: list[int] = []
        self.verified = 0

    def prepare(self) -> None:
        self.clock.ns += 5 * MS
        self.done.clear()

    def stepper(self) -> Callable[[], object]:
        def step() -> None:
            self.meeting.wait()
            self.done.append(threading.get_ident())

        return step

    def verify_steps(self, count: int) -> None:
        assert count == len(self.done)
        assert len(set(self.done)) == 2
        self.verified += count


@pytest.mark.parametrize("rate", [0, 1_000_000])
def test_steps_of_several_threads_are_told_together(rate: int) -> None:
    body = Together()
    found = tell(body, Pass(100, rate, 10 * MS))
    assert found["ops"] >= 100
    assert body.verified == found["ops"] + 40  # with the warm-up
    assert Histogram.from_json(found["service"]).total == found["ops"]
    if rate:
        assert Histogram.from_json(found["response"]).total == found["ops"]


def test_threads_take_turns_on_the_schedule() -> None:
    schedule = Schedule(origin_ns=500, first=10, threads=4, rate_per_s=1_000)
    due = sorted(schedule.due(thread, index) for thread in range(4) for index in range(5))
    assert due == [500 + number * MS for number in range(10, 30)]


def test_a_step_that_fails_on_a_thread_fails_the_pass() -> None:
    class Failing(Together):
        def stepper(self) -> Callable[[], object]:
            def step() -> None:
                raise VerificationFailed("no step")

            return step

    with pytest.raises(VerificationFailed, match="no step"):
        tell(Failing(), Pass(100, 0, 1))
