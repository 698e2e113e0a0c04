"""Percentiles as metrics: present where the count suffices, and whose time they are."""

from __future__ import annotations

from typing import Any

import pytest

from bench_cli import latencies
from bench_cli.expressions import parse_bound
from bench_cli.metrics import METRICS, Direction, Kind, Unit
from bench_cli.requirements import Requirement, judge
from bench_cli.results import RequirementOutcome
from bench_cli.runner.assemble import fill_measured
from bench_cli.stats.histogram import Histogram, summary
from tests.report.rows import make_row


def histogram(count: int, start: int = 0) -> Histogram:
    found = Histogram()
    found.add(range(start + 1, start + count + 1))
    return found


def told(count: int, **more: Any) -> dict[str, Any]:
    return {"service": summary(histogram(count)), **more}


def process(count: int, rate: int = 0, wait: int = 100_000) -> dict[str, Any]:
    """What a worker answers for a cell; in an open loop the response is ``wait`` longer."""
    latency = {
        "rate_per_s": rate,
        "ops": count,
        "elapsed_ns": count * 1_000,
        "service": histogram(count).as_json(),
    }
    if rate:
        latency |= {"response": histogram(count, wait).as_json(), "late": histogram(1).as_json()}
    return {"time_ns": [100.0], "ops": 1, "payload": 0, "unit": "ops", "noisy": {}, "exact": {},
            "warnings": [], "latency": latency}  # fmt: skip


def judged(metric: str, bound: str, latency: dict[str, Any]) -> RequirementOutcome:
    row = make_row("a.b", latency=latency, metrics=latencies.metrics(latency))
    wanted = Requirement(row.scenario, metric, "at_most", parse_bound(bound, METRICS[metric].unit))
    [outcome] = judge([wanted], [row])
    return outcome


def test_each_is_declared_as_a_noisy_time_of_which_less_is_better() -> None:
    for name in latencies.PERCENTILE_OF:
        metric = METRICS[name]
        assert (metric.unit, metric.kind) == (Unit.NANOSECONDS, Kind.NOISY)
        assert metric.direction is Direction.LOWER


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (0, []),
        (19, ["max_ns"]),
        (20, ["p50_ns", "max_ns"]),
        (999, ["p50_ns", "p90_ns", "max_ns"]),
        (1_000, ["p50_ns", "p90_ns", "p99_ns", "max_ns"]),
        (10_000, ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"]),
    ],
)
def test_a_percentile_is_a_metric_only_where_ten_operations_lie_beyond_it(
    count: int, names: list[str]
) -> None:
    assert list(latencies.metrics(told(count))) == names


def test_a_row_has_the_percentiles_of_all_its_processes_and_those_each_can_tell_alone() -> None:
    row = make_row("a.b")
    fill_measured(row, [process(6_000), process(4_000), process(2_000)])
    assert row.metrics["p999_ns"] == pytest.approx(5_990, rel=0.01)
    assert row.metrics["p50_ns"] == pytest.approx(2_000, rel=0.01)
    assert row.metrics["max_ns"] == 6_000
    assert row.per_process["p50_ns"] == pytest.approx([3_000, 2_000, 1_000], rel=0.01)
    assert "p999_ns" not in row.per_process


def test_a_percentile_that_one_process_cannot_tell_alone_has_no_values_per_process() -> None:
    row = make_row("a.b")
    fill_measured(row, [process(11_000), process(900)])
    assert {"p99_ns", "p999_ns"} <= row.metrics.keys()
    assert list(row.per_process) == ["ns_per_op", "ops_per_s", "p50_ns", "p90_ns", "max_ns"]


def test_in_an_open_loop_it_is_the_response() -> None:
    row = make_row("a.b")
    fill_measured(row, [process(1_000, rate=1_000)])
    assert row.metrics["p50_ns"] == pytest.approx(100_500, rel=0.01)
    assert row.latency["service"]["p50"] == pytest.approx(500, rel=0.01)


def test_a_row_without_latencies_has_no_such_metric() -> None:
    row = make_row("a.b")
    fill_measured(row, [{**process(1_000), "latency": {"reason": "no steps"}}])
    assert not latencies.PERCENTILE_OF.keys() & row.metrics.keys()
    assert latencies.metrics({}) == {}
    assert latencies.metrics({"response": "x"}) == {}


def test_a_requirement_on_a_percentile_is_met_or_missed() -> None:
    assert judged("p99_ns", "1ms", told(1_000)).status == "met"
    missed = judged("p99_ns", "500ns", told(1_000))
    assert missed.status == "missed"
    assert missed.margin == pytest.approx(-0.98, abs=0.02)


@pytest.mark.parametrize(
    ("metric", "latency", "reason"),
    [
        ("p99_ns", told(500), "n too small: 500 of 1,000 operations"),
        ("p999_ns", told(5_000), "n too small: 5,000 of 10,000 operations"),
        ("p50_ns", {"reason": "this row cannot"}, "this row cannot"),
        ("p50_ns", {}, "single operations were not timed"),
        ("max_ns", {}, "single operations were not timed"),
    ],
)
def test_what_cannot_be_told_is_unjudged_with_the_reason(
    metric: str, latency: dict[str, Any], reason: str
) -> None:
    outcome = judged(metric, "1s", latency)
    assert outcome.status == "unjudged"
    assert outcome.reason is not None
    assert outcome.reason.startswith(f"a.b has no {metric}: {reason}")
