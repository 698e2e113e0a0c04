"""The latency table: one line per time told, and nothing made up."""

from __future__ import annotations

from typing import Any

from bench_cli.report import latency, table
from bench_cli.report.layout import lay_out
from bench_cli.results import Row
from tests.report.rows import make_row

TIMES = {"count": 12_000, "p50": 90.0, "p90": 131.0, "p99": 320.5, "p99.9": 549.5, "max": 77_907}
SLOW = {"count": 500, "p50": 2.1e6, "p90": 4e6, "p99": None, "p99.9": None, "max": 9_000_000}


def row(record: str, **told: Any) -> Row:
    return make_row(f"wal.append[backend=wal.mmap,core=native,record={record}]", latency=told)


def text_of(*rows: Row, width: int = 120) -> str:
    built = latency.table("WAL append", rows)
    assert built is not None
    return "\n".join(line.text for line in lay_out(built, width))


def test_a_closed_loop_has_a_line_with_its_percentiles() -> None:
    text = text_of(row("1KiB", service=TIMES), row("2KiB"))
    assert text.splitlines()[0] == "WAL append: latencies"
    line = next(line for line in text.splitlines() if "1KiB" in line)
    assert line.split()[1:] == ["90.0", "131.0", "320.5", "549.5", "77.9", "12,000"]
    assert "2KiB" not in text
    assert "intended start" not in text


def test_an_open_loop_shows_response_and_service() -> None:
    text = text_of(
        row("1KiB", service=TIMES, response={**TIMES, "p99": 5e7}, rate_per_s=1000,
            achieved_per_s=999.7),
        row("2KiB", service=TIMES, rate_per_s=0),
    )  # fmt: skip
    lines = [line.split() for line in text.splitlines() if "KiB" in line]
    assert lines[0][1:4] == ["1,000", "1,000", "response"]
    assert lines[1][1:4] == ["1,000", "1,000", "service"]
    assert lines[2][1:5] == ["one", "by", "one", "service"]
    assert "50.0 ms" in text or "50.0" in lines[0]
    assert "intended start" in text


def test_a_percentile_of_too_few_operations_says_so() -> None:
    text = text_of(row("1KiB", service=SLOW))
    assert "n too small" in text
    assert "fewer than ten operations" in text


def test_rows_without_latencies_have_no_table() -> None:
    assert latency.table("x", [row("1KiB"), row("2KiB", reason="cannot be stepped")]) is None
    assert len(table.tables([row("1KiB")])) == 1
    assert len(table.tables([row("1KiB", service=TIMES)])) == 2


def test_values_of_a_file_that_are_no_numbers_are_left_out() -> None:
    bad = {"p50": "\x1b[2J", "p90": True, "p99": -1, "p99.9": 1e300, "max": [1], "count": {}}
    text = text_of(row("1KiB", service=bad, response="x", rate_per_s="y", achieved_per_s=None))
    assert "\x1b" not in text
    assert text.count("n too small") >= 5
    assert latency.table("x", [row("1KiB", service=[1], response=None)]) is None
