"""Judging two results: exact metrics by any change, timing never."""

from __future__ import annotations

import pytest

from bench_cli.errors import ExitCode
from bench_cli.results import Row, RunResult
from bench_cli.stats.compare import Comparison, compare
from bench_cli.stats.verdict import Verdict
from tests.report.rows import make_result, make_row

ID = "wal.append[record=1B]"


def counted(identifier: str = ID, ns: float = 100.0, **metrics: float) -> Row:
    return make_row(identifier, ns, metrics={"exact_ops": 1000.0, **metrics})


def judge(base: Row | RunResult, head: Row | RunResult) -> Comparison:
    sides = [make_result(one) if isinstance(one, Row) else one for one in (base, head)]
    return compare(sides[0], sides[1], [])


@pytest.mark.parametrize(
    ("metric", "before", "after", "verdict"),
    [
        ("wal_bytes_per_op", 16.5, 16.5, Verdict.SAME),
        ("wal_bytes_per_op", 16.5, 16.6, Verdict.REGRESSED),
        ("wal_bytes_per_op", 16.5, 16.4, Verdict.IMPROVED),
        ("wal_bytes_per_op", 16.5, 16.5 * (1 + 1e-12), Verdict.SAME),
        ("allocs_per_op", 0.0, 1.0, Verdict.REGRESSED),
        ("allocs_per_op", 1.0, 0.0, Verdict.IMPROVED),
        ("gc_count", 3.0, 4.0, Verdict.REGRESSED),
        ("wal_file_size", 3263820.0, 3263821.0, Verdict.REGRESSED),
    ],
)
def test_any_change_of_an_exact_metric_counts(
    metric: str, before: float, after: float, verdict: Verdict
) -> None:
    found = judge(counted(**{metric: before}), counted(**{metric: after}))
    assert found.rows[0].verdict is verdict
    expected = ExitCode.REGRESSION if verdict is Verdict.REGRESSED else ExitCode.OK
    assert found.exit_code == expected


def test_a_regression_is_not_hidden_by_an_improvement_of_the_same_row() -> None:
    found = judge(counted(gc_count=1.0, allocs_per_op=5.0), counted(gc_count=2.0, allocs_per_op=1))
    assert found.rows[0].verdict is Verdict.REGRESSED


def test_neutral_metrics_are_not_judged() -> None:
    found = judge(counted(gc_count=0.0, wal_allocated_bytes=1.0),
                  counted(gc_count=0.0, wal_allocated_bytes=2.0))  # fmt: skip
    assert found.exit_code == ExitCode.OK


def test_a_row_ten_times_slower_is_told_and_not_judged() -> None:
    found = judge(counted(ns=100.0, gc_count=0.0), counted(ns=1000.0, gc_count=0.0))
    timing = found.rows[0].timing
    assert timing is not None
    assert timing.estimate == pytest.approx(9.0, rel=0.05)
    assert found.exit_code == ExitCode.OK


def test_regressed_rows_come_first() -> None:
    base = make_result(counted("a", gc_count=0.0), counted("b", gc_count=0.0))
    head = make_result(counted("a", gc_count=0.0), counted("b", gc_count=1.0))
    assert [row.id for row in judge(base, head).rows] == ["b", "a"]


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_row_on_one_side_only_is_missing(side: str) -> None:
    both = make_result(counted("a", gc_count=0.0), counted("b", gc_count=0.0))
    one = make_result(counted("a", gc_count=0.0))
    found = judge(one, both) if side == "base" else judge(both, one)
    assert [(missing.id, missing.side) for missing in found.missing] == [("b", side)]
    assert found.exit_code == ExitCode.ROW_MISSING


def test_a_row_that_failed_on_one_side_is_missing_there() -> None:
    failed = counted("a", gc_count=0.0)
    failed.status, failed.reason = "failed", "disk full"
    base = make_result(counted("a", gc_count=0.0), counted("b", gc_count=0.0))
    found = judge(base, make_result(failed, counted("b", gc_count=0.0)))
    assert found.missing[0].reason == "failed: disk full"
    assert found.exit_code == ExitCode.ROW_MISSING


def test_a_row_that_ran_on_neither_side_takes_no_part() -> None:
    skipped = counted("a")
    skipped.status = "skipped"
    base = make_result(skipped, counted("b", gc_count=0.0))
    found = judge(base, base)
    assert (len(found.rows), found.missing) == (1, [])


def test_a_regression_outweighs_a_missing_row() -> None:
    base = make_result(counted("a", gc_count=0.0), counted("b", gc_count=0.0))
    assert judge(base, counted("a", gc_count=1.0)).exit_code == ExitCode.REGRESSION


def test_nothing_in_common_is_no_pass() -> None:
    assert judge(counted("a", gc_count=0.0), counted("b", gc_count=0.0)).exit_code == (
        ExitCode.NOTHING_COMPARED
    )
    assert judge(make_result(), make_result()).exit_code == ExitCode.NOTHING_COMPARED


def test_rows_without_a_single_exact_metric_in_common_are_no_pass() -> None:
    assert judge(counted(), counted()).exit_code == ExitCode.NOTHING_COMPARED


def test_counts_of_different_passes_are_not_compared() -> None:
    head = counted(gc_count=9.0)
    head.metrics["exact_ops"] = 10.0
    found = judge(counted(gc_count=1.0), head)
    assert found.rows[0].verdict is Verdict.SAME
    assert "different numbers of operations" in found.rows[0].unjudged[0]


def test_a_count_that_differs_between_processes_of_one_run_is_not_judged() -> None:
    head = counted(allocs_per_op=8.8)
    head.per_process["allocs_per_op"] = [8.7, 8.8]
    found = judge(counted(allocs_per_op=8.7, gc_count=0.0), head)
    assert found.rows[0].exact == []
    assert "differs between the processes of head" in found.rows[0].unjudged[0]


def test_allocation_counts_are_not_compared_between_python_versions() -> None:
    base = make_result(counted(allocs_per_op=1.0, wal_bytes_per_op=16.0))
    head = make_result(counted(allocs_per_op=2.0, wal_bytes_per_op=17.0))
    head.environment["python"] = "3.14.0"
    row = judge(base, head).rows[0]
    assert [one.metric.id for one in row.exact] == ["wal_bytes_per_op"]
    assert "different Python versions" in row.unjudged[0]


def test_a_metric_that_only_one_side_counted_is_told() -> None:
    row = judge(counted(gc_count=0.0, allocs_per_op=1.0), counted(gc_count=0.0)).rows[0]
    assert row.unjudged == ["allocs/op: not counted in head"]


# --- latencies -------------------------------------------------------------------------------


def latent(p99: float, *processes: float) -> Row:
    """A row with one exact metric and a p99, per process too."""
    found = counted(p99_ns=p99, gc_count=0.0)
    found.per_process["p99_ns"] = list(processes)
    return found


FAST, SLOW = (100.0, 101.0, 99.0, 100.0), (200.0, 202.0, 198.0, 200.0)


def test_a_latency_twice_as_long_is_told_with_its_interval_and_never_judged() -> None:
    found = judge(latent(100.0, *FAST), latent(200.0, *SLOW))
    [change] = found.rows[0].latencies
    assert (change.metric.id, change.relative, change.is_notable) == ("p99_ns", 1.0, True)
    assert change.interval is not None
    assert change.interval.low > 0.9
    assert found.rows[0].verdict is Verdict.SAME
    assert (found.exit_code, found.judged) == (ExitCode.OK, 1)


def test_latencies_alone_are_nothing_to_judge() -> None:
    base, head = counted(p99_ns=100.0), counted(p99_ns=200.0)
    assert judge(base, head).exit_code == ExitCode.NOTHING_COMPARED


def test_a_latency_without_an_interval_or_within_its_floor_is_not_notable() -> None:
    def change(base: Row, head: Row) -> bool:
        [found] = judge(base, head).rows[0].latencies
        return found.is_notable

    assert not change(latent(100.0), latent(200.0))
    assert not change(latent(100.0, *FAST), latent(105.0, 105.0, 106.0, 104.0, 105.0))
    assert not change(latent(100.0, *FAST), latent(150.0, 50.0, 150.0, 150.0, 250.0))
    assert not change(latent(0.0, 0.0, 0.0), latent(200.0, *SLOW))


def test_a_latency_that_one_side_lacks_is_not_compared() -> None:
    assert judge(latent(100.0, *FAST), counted(gc_count=0.0)).rows[0].latencies == []
