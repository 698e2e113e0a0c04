"""Latencies in a comparison: told beside the verdict, in every format."""

from __future__ import annotations

from bench_cli.report import comparison, markup
from bench_cli.report.comparison import Compared
from bench_cli.results import Row
from bench_cli.stats.compare import compare
from tests.report.rows import make_result, make_row


def row(identifier: str, p99: float, *processes: float) -> Row:
    found = make_row(identifier, metrics={"exact_ops": 1.0, "gc_count": 0.0, "p99_ns": p99})
    found.per_process["p99_ns"] = list(processes)
    return found


def compared(*, everything: bool = False) -> Compared:
    base = [row("a.a", 1e3, 1e3, 1e3, 1e3), row("a.b", 1e6, 1e6, 1e6, 1e6), row("a.c", 5.0)]
    head = [row("a.a", 1e3, 1e3, 1e3, 1e3), row("a.b", 2e6, 2e6, 2e6, 2e6), row("a.c", 9.0)]
    found = compare(make_result(*base), make_result(*head), [])
    return Compared(found, ("base.json", "head.json"), everything)


def text_of(told: Compared) -> str:
    return "\n".join(line.text for line in comparison.render(told, 120))


def test_what_changed_is_shown_and_the_rest_is_counted() -> None:
    table = text_of(compared()).partition("Latency (advisory, never judged)")[2]
    [line] = [line.split() for line in table.splitlines() if " a." in line]
    assert line == ["p99", "+100", "%", "+100", "%", "to", "+100", "%", "1.00", "ms", "2.00", "ms",
                    "a.b"]  # fmt: skip
    assert "2 percentiles are not shown" in table
    assert "Intervals cover 90 % or more of such comparisons" in table
    assert "Verdict: no regression (exit 0)" in table


def test_all_of_them_are_shown_where_that_is_asked() -> None:
    table = text_of(compared(everything=True)).partition("Latency (advisory")[2]
    rows = [line.split() for line in table.splitlines() if " a." in line]
    assert [line[-1] for line in rows] == ["a.b", "a.c", "a.a"]
    assert "unknown" in rows[1]
    assert "not shown" not in table


def test_a_comment_has_them_too() -> None:
    assert "Latency (advisory, never judged)" in markup.render(compared())


def test_scripts_read_that_they_are_advisory() -> None:
    told = {one["id"]: one["latencies"] for one in comparison.as_json(compared())["rows"]}
    [changed], [bare] = told["a.b"], told["a.c"]
    assert (changed["metric"], changed["relative"], changed["advisory"]) == ("p99_ns", 1.0, True)
    assert changed["interval"]["low"] == 1.0
    assert bare["interval"] is None


def test_a_comparison_without_latencies_has_no_such_table() -> None:
    bare = [make_row("a.a", metrics={"exact_ops": 1.0, "gc_count": 0.0})]
    found = compare(make_result(*bare), make_result(*bare), [])
    assert "Latency" not in text_of(Compared(found, ("a", "b"), everything=True))
