"""Progress for logs and pipes: a line now and then, each failure at once."""

from __future__ import annotations

import io

from bench_cli.report.console import PlainProgress


class FakeClock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    def wall_ns(self) -> int:
        return self.ns


def test_a_line_comes_every_ten_seconds_with_the_time_left() -> None:
    clock, stream = FakeClock(), io.StringIO()
    progress = PlainProgress(stream, clock)
    progress.started(2, 10, 55.0)
    for _ in range(10):
        clock.ns += 6_000_000_000
        progress.process_done("a.b", True, None)
    progress.finished()
    assert stream.getvalue().splitlines() == [
        "2 cells in 10 processes, about 55 s",
        "2 of 10 processes, 48 s left",
        "4 of 10 processes, 36 s left",
        "6 of 10 processes, 24 s left",
        "8 of 10 processes, 12 s left",
        "10 of 10 processes done in 1 min 0 s",
    ]


def test_failures_are_told_at_once_and_escaped_and_not_repeated() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, FakeClock())
    progress.started(2, 2, 1.0)
    progress.process_done("a", False, "no \x1b[31m room")
    progress.process_done("b", False, "no \x1b[31m room")
    lines = stream.getvalue().splitlines()
    assert lines[1:] == ["failed: a: no \\x1b[31m room", "failed: b: as before"]


def test_under_a_budget_the_time_left_is_told_and_no_number_to_reach() -> None:
    clock, stream = FakeClock(), io.StringIO()
    progress = PlainProgress(stream, clock)
    progress.started(2, 0, 15.0)
    for _ in range(2):
        clock.ns += 10_000_000_000
        progress.process_done("a.b", True, None)
    progress.finished()
    assert stream.getvalue().splitlines() == [
        "2 cells in as many processes as fit in 15 s",
        "1 processes, 5 s left",
        "2 processes, 0 s left",
        "2 processes done in 20 s",
    ]
