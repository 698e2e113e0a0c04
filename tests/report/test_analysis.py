"""The sentences under the draws: from the numbers, and silent about what is not there."""

from __future__ import annotations

from bench_cli.report.analysis import analyse
from bench_cli.results import Row
from tests.report.rows import make_draw, make_row


def told(*rows: Row) -> str:
    return "\n".join(analyse(rows))


def basic() -> Row:
    row = make_draw("wal.basic", 900.0, wal_bytes_per_op=16.5, write_calls_per_op=1.0)
    row.limits = {"limits.write_syscall[size=16B]": [600.0, 640.0, 630.0]}
    return row


def test_the_fastest_is_named_with_the_factors_of_the_others() -> None:
    text = told(basic(), make_draw("none", 50.0), make_draw("wal.mmap", 80.0))
    assert "Fastest: no log, 20,000,000 draws/sec" in text
    assert "wal.mmap takes 1.6x as long, wal.basic takes 18x as long" in text


def test_the_share_of_the_system_call_comes_from_the_limit_measured_beside_it() -> None:
    assert "wal.basic: 70 % of a draw is write(2), 630.0 ns" in told(basic(), make_draw("none", 50))


def test_without_that_limit_nothing_is_said_about_system_calls() -> None:
    row = basic()
    row.limits = {}
    assert "write(2)" not in told(row, make_draw("none", 50.0))


def test_bytes_of_log_are_told_for_the_logs_that_share_them() -> None:
    mapped = make_draw("wal.mmap", 80.0, wal_bytes_per_op=16.5)
    assert "16.50 bytes of log (wal.mmap and wal.basic): 16.5 MB" in told(basic(), mapped)


def test_survival_names_the_level() -> None:
    assert "survives the death of the process, not of the machine (D1)" in told(
        basic(), make_draw("none", 50.0)
    )


def test_rows_whose_processes_overlap_are_a_tie() -> None:
    assert "a tie" in told(make_draw("none", 50.0), make_draw("wal.mmap", 50.5))
    assert "a tie" not in told(make_draw("none", 50.0), make_draw("wal.mmap", 80.0))


def test_one_row_a_failed_row_or_another_workload_give_no_sentence() -> None:
    failed = make_draw("wal.mmap", 80.0)
    failed.status = "failed"
    assert told(make_draw("none", 50.0)) == ""
    assert told(make_draw("none", 50.0), failed) == ""
    assert told(make_row("wal.append[a=1]"), make_row("wal.append[a=2]")) == ""


def test_only_rows_that_differ_in_nothing_but_the_log_are_compared() -> None:
    other = make_row(
        "rewards.draw[backend=rewards.pool,batch=100,core=native,wal=none]", 2.0,
        metrics={"draws_per_s": 5e8},
    )  # fmt: skip
    text = told(make_draw("none", 50.0), make_draw("wal.mmap", 80.0), other)
    assert "20,000,000" in text
    assert "500,000,000" not in text


def test_uncounted_heap_is_not_called_zero() -> None:
    text = told(make_draw("none", 50.0), make_draw("wal.mmap", 80.0))
    assert "heap" not in text
    counted = [
        make_draw(wal, ns, alloc_bytes_per_op=0.0)
        for wal, ns in (("none", 50.0), ("wal.mmap", 80.0))
    ]
    assert "No draw allocates heap memory." in told(*counted)
