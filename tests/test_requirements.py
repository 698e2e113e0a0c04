"""Bounds are read with positions in their errors, and judged per process where that is possible."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_cli.expressions import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_ROWS,
    Call,
    ExpressionError,
    Number,
    RowValue,
    Scaled,
    evaluate,
    parse_bound,
    parse_expression,
    references,
)
from bench_cli.metrics import METRICS, Unit
from bench_cli.requirements import Requirement, ceiling_share, judge, named_by
from bench_cli.results import Row, Samples

NS, RATE = Unit.NANOSECONDS, Unit.BYTES_PER_SECOND


# --- reading ---------------------------------------------------------------------------------


def test_a_quantity_is_a_bound() -> None:
    bound = parse_bound("3 GB/s", RATE)
    assert (bound.factor, bound.expression) == (1.0, Number(3e9))
    assert parse_bound("500 ns", NS).expression == Number(500.0)
    assert parse_bound("60%", Unit.RATIO).expression == Number(0.6)
    assert parse_bound("0", Unit.COUNT).expression == Number(0.0)


def test_a_bound_may_be_a_multiple_of_rows() -> None:
    bound = parse_bound("1.3x of sum(limits.memcpy[size=32K], 4x limits.call)", NS)
    assert bound.factor == 1.3
    assert [r.id for r in references(bound.expression)] == [
        "limits.memcpy[size=32KiB]", "limits.call",
    ]  # fmt: skip
    values = {"limits.memcpy[size=32KiB]": 100.0, "limits.call": 10.0}
    assert evaluate(bound.expression, lambda r: values[r.id]) == 140.0


def test_percent_is_a_hundredth() -> None:
    assert parse_bound("60 % of limits.memcpy", RATE).factor == 0.6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limits.call", 10.0),
        ("2x limits.call", 20.0),
        ("2 x limits.call", 20.0),
        ("max(limits.call, 25 ns)", 25.0),
        ("min( limits.call ,1us )", 10.0),
        ("sum(limits.call, max(5ns, 2x limits.call), 0.5x min(limits.call, 4ns))", 32.0),
        ("3x max(limits.call, limits.call)", 30.0),
        ("0.125x limits.call", 1.25),
    ],
)
def test_expressions_nest(text: str, expected: float) -> None:
    assert evaluate(parse_expression(text), lambda _: 10.0) == expected


def test_a_row_is_named_once_however_often_it_is_used() -> None:
    assert len(references(parse_expression("sum(limits.call, 2x limits.call)"))) == 1


@pytest.mark.parametrize(
    ("text", "unit", "reason"),
    [
        ("", NS, "column 1: a quantity is missing"),
        ("fast", NS, "column 1: 'fast' is not a number with a unit"),
        ("5", NS, "column 1: '5' needs a unit of time"),
        ("3 GB/s", NS, "'GB/s' is not a unit of time"),
        ("nan", NS, "not a finite number"),
        ("-5ns", NS, "negative"),
        ("limits.call", NS, "column 1: a bound over rows is `NUMBER (% or x) of ...`"),
        ("sum(limits.call)", NS, "column 1: a bound over rows"),
        ("2 of limits.call", NS, "column 3: 'of' where % or x is expected"),
        ("x of limits.call", NS, "column 1: 'x' where a number with % or x is expected"),
        ("2x of", NS, "column 6: the end where a row, a number, sum(...), max(...) or min(...)"),
        ("2x of fast", NS, "column 7: 'fast' where a row"),
        ("2x of call", NS, "column 7: 'call' where a row"),
        ("2x of limits.call limits.call", NS, "column 19: 'limits.call' where the end"),
        ("2x of sum()", NS, "column 11: ')' where a row"),
        ("2x of sum(limits.call", NS, "column 22: the end where ')'"),
        ("2x of sum(limits.call,)", NS, "column 23: ')' where a row"),
        ("2x of sum limits.call", NS, "column 11: 'limits.call' where '('"),
        ("2x of avg(limits.call)", NS, "column 7: 'avg' where a row"),
        ("2x of sum(5)", NS, "column 11: '5' needs a unit of time"),
        ("2x of 2x 3x limits.call", NS, "column 10: '3' where a row"),
        ("2x of limits.call[a", NS, "column 7: 'limits.call[a' lacks its closing bracket"),
        ("2x of limits.call[a=*]", NS, "column 7: value: '*' is not a plain word"),
        ("2x of limits.call; ls", NS, "column 18: ';' where the end"),
        ("2x of sum(limits.call, limits.memcpy)", RATE, "a sum of rates means nothing"),
        ("1e99x of limits.call", NS, "absurdly large"),
    ],
)
def test_a_bad_bound_is_refused_at_its_column(text: str, unit: Unit, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_bound(text, unit)
    assert reason in caught.value.message


def test_depth_length_and_rows_are_bounded() -> None:
    deep = "sum(" * (MAX_DEPTH - 1) + "limits.call" + ")" * (MAX_DEPTH - 1)
    assert evaluate(parse_expression(deep), lambda _: 1.0) == 1.0
    for text, reason in [
        (f"sum({deep})", f"nested deeper than {MAX_DEPTH}"),
        ("sum(" * 100_000, f"longer than {MAX_LENGTH}"),
        ("sum(" * 400, f"nested deeper than {MAX_DEPTH}"),
        (f"sum({','.join(['limits.call'] * (MAX_ROWS + 1))})", f"more than {MAX_ROWS} rows"),
    ]:
        with pytest.raises(ExpressionError, match=reason):
            parse_expression(text)


ROWS = st.sampled_from(["limits.call", "limits.memcpy[size=32KiB]", "wal.append[backend=wal.mmap]"])
TREES = st.recursive(
    st.one_of(
        ROWS.map(lambda text: parse_expression(text)),
        st.integers(0, 10**6).map(lambda n: Number(float(n))),
    ),
    lambda inner: st.builds(
        Call,
        st.sampled_from(["sum", "max", "min"]),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=10,
)


def written(tree: Any) -> str:
    """An expression as text."""
    match tree:
        case Number(value):
            return f"{value:.0f} ns"
        case RowValue(reference):
            return reference.id
        case Scaled(factor, inner):
            return f"{factor}x {written(inner)}"
        case Call(function, arguments):
            return f"{function}({', '.join(written(item) for item in arguments)})"


@given(TREES)
def test_every_expression_survives_writing(tree: Any) -> None:
    try:
        assert parse_expression(written(tree)) == tree
    except ExpressionError as error:
        assert "nested deeper" in error.message


@given(st.text(max_size=60) | st.text(alphabet="sum(max)4x, %of limits.call[a=1]ns", max_size=60))
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    try:
        parse_bound(text, NS)
    except ExpressionError as error:
        assert error.column >= 1


# --- judging ---------------------------------------------------------------------------------


def row(name: str = "wal.append[backend=wal.mmap]", **changes: Any) -> Row:
    settings: dict[str, Any] = {
        "id": name, "scenario": "s", "workload": name.partition("[")[0], "group": "g",
        "backend": "wal.mmap", "core": "native", "params": {"record": 512}, "status": "ok",
        "metrics": {"ns_per_op": 100.0, "bytes_per_s": 5e9},
    }  # fmt: skip
    return Row(**(settings | changes))


def need(
    relation: str, text: str, metric: str = "ns_per_op", **where: tuple[Any, ...]
) -> Requirement:
    return Requirement("s", metric, relation, parse_bound(text, METRICS[metric].unit), where)


def verdicts(requirement: Requirement, *rows: Row) -> list[tuple[str, float | None]]:
    return [
        (o.status, o.margin if o.margin is None else round(o.margin, 6))
        for o in judge([requirement], rows)
    ]


def test_a_margin_is_the_distance_on_the_good_side() -> None:
    assert verdicts(need("at_most", "200ns"), row()) == [("met", 0.5)]
    assert verdicts(need("at_most", "80ns"), row()) == [("missed", -0.25)]
    assert verdicts(need("at_least", "4 GB/s", "bytes_per_s"), row()) == [("met", 0.25)]
    assert verdicts(need("at_least", "10 GB/s", "bytes_per_s"), row()) == [("missed", -0.5)]
    assert verdicts(need("at_most", "100ns"), row()) == [("met", 0.0)]


def test_a_bound_of_zero_has_no_fraction() -> None:
    counted = row(metrics={"gc_count": 0.0})
    assert verdicts(need("at_most", "0", "gc_count"), counted) == [("met", 0.0)]
    counted.metrics["gc_count"] = 2.0
    assert verdicts(need("at_most", "0", "gc_count"), counted) == [("missed", None)]


def test_where_selects_by_parameter_backend_and_core() -> None:
    rows = [row(), row("b", backend="wal.basic"), row("c", params={"record": 4096})]
    chosen = need("at_most", "1us", backend=("wal.mmap",), record=(512, 1024))
    assert [o.row for o in judge([chosen], rows)] == [rows[0].id]
    assert len(judge([need("at_most", "1us", core=("native",))], rows)) == 3


def test_rows_of_other_scenarios_are_not_selected() -> None:
    [outcome] = judge([need("at_most", "1us")], [row(scenario="other")])
    assert (outcome.status, outcome.reason) == ("unjudged", "no row of the run is selected by it")


def test_limits_of_the_same_processes_are_compared_process_by_process() -> None:
    """Both the row and its limit are twice as slow in one process: the ratio stays 2."""
    measured = row(
        metrics={"ns_per_op": 220.0},
        per_process={"ns_per_op": [200.0, 400.0, 220.0]},
        limits={"limits.call": [100.0, 200.0, 110.0]},
    )
    [outcome] = judge([need("at_most", "2x of limits.call")], [measured])
    assert (outcome.status, outcome.margin) == ("met", 0.0)
    assert (outcome.value, outcome.bound) == (220.0, 220.0)
    assert verdicts(need("at_most", "1.6x of limits.call"), measured) == [("missed", -0.25)]


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    measured = row(
        metrics={"ns_per_op": 200.0},
        per_process={"ns_per_op": [100.0, 200.0, 300.0]},
        limits={"limits.call": [100.0, 40.0, 60.0]},
    )  # ratios 1, 5 and 5, where the medians alone would say 200 / 60 = 3.3
    assert verdicts(need("at_most", "4x of limits.call"), measured) == [("missed", -0.25)]


def test_a_limit_is_found_in_whichever_unit_it_is_written() -> None:
    measured = row(
        per_process={"ns_per_op": [100.0]}, limits={"limits.memcpy[ring=4MiB,size=32KiB]": [50.0]}
    )
    requirement = need("at_most", "2x of limits.memcpy[size=32768,ring=4M]")
    assert verdicts(requirement, measured) == [("met", 0.0)]


def test_a_rate_is_compared_with_the_limits_rate() -> None:
    measured = row(
        metrics={"bytes_per_s": 4e9},
        per_process={"bytes_per_s": [4e9, 2e9]},
        limits={"limits.memcpy[size=32KiB]": [4096.0, 8192.0]},
        samples=Samples(payload=32768),
    )  # the limit copies 8e9 and 4e9 bytes per second
    requirement = need("at_least", "50% of limits.memcpy[size=32K]", "bytes_per_s")
    assert verdicts(requirement, measured) == [("met", 0.0)]


def test_a_limits_own_payload_counts_where_its_row_is_known() -> None:
    limit = row("limits.memcpy[size=64KiB]", scenario="limits", backend=None, core=None,
                samples=Samples(payload=65536))  # fmt: skip
    measured = row(
        metrics={"bytes_per_s": 4e9},
        per_process={"bytes_per_s": [4e9]},
        limits={"limits.memcpy[size=64KiB]": [8192.0]},
        samples=Samples(payload=32768),
    )  # 65536 bytes in 8192 ns: 8e9 bytes per second
    requirement = need("at_least", "50% of limits.memcpy[size=64K]", "bytes_per_s")
    assert verdicts(requirement, measured, limit) == [("met", 0.0)]


def test_another_row_is_compared_by_its_median() -> None:
    other = row("wal.append[backend=wal.none,record=512B]", scenario="t", backend="wal.none",
                metrics={"ns_per_op": 50.0})  # fmt: skip
    requirement = need("at_most", "2x of wal.append[backend=wal.none]")
    assert verdicts(requirement, row(), other) == [("met", 0.0)]


def test_a_reference_without_core_means_the_core_of_the_judged_row() -> None:
    others = [
        row(f"wal.append[core={core}]", scenario="t", core=core, backend="wal.none",
            metrics={"ns_per_op": cost})
        for core, cost in [("native", 50.0), ("python", 500.0)]
    ]  # fmt: skip
    requirement = need("at_most", "2x of wal.append[backend=wal.none]")
    assert verdicts(requirement, row(), *others) == [("met", 0.0)]
    assert verdicts(requirement, row(core="python"), *others) == [("met", 0.9)]


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        ("2x of limits.call", {}, "the row limits.call is missing"),
        ("2x of wal.append[record=512]", {}, "wal.append[record=512] may be any of 2 rows: "
         "wal.append[backend=wal.mmap], wal.append[backend=wal.basic]"),
        ("1us", {"status": "failed", "reason": "killed"},
         "wal.append[backend=wal.mmap] failed: killed"),
        ("1us", {"status": "skipped", "reason": "no sync"},
         "wal.append[backend=wal.mmap] skipped: no sync"),
        ("1us", {"metrics": {}}, "wal.append[backend=wal.mmap] has no ns_per_op"),
        ("1us", {"metrics": {"ns_per_op": math.nan}},
         "ns_per_op of wal.append[backend=wal.mmap] is not a finite number"),
        ("2x of limits.call", {"limits": {"limits.call": [0.0]},
                               "per_process": {"ns_per_op": [5.0]}},
         "the bound '2x of limits.call' is not above zero in every process"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_says_why(text: str, changes: dict[str, Any], reason: str) -> None:
    other = row("wal.append[backend=wal.basic]", scenario="t", backend="wal.basic")
    [outcome] = judge([need("at_most", text)], [row(**changes), other])
    assert (outcome.status, outcome.reason) == ("unjudged", reason)
    assert outcome.margin is None


def test_a_referenced_row_that_failed_leaves_the_requirement_unjudged() -> None:
    other = row("limits.call", scenario="limits", backend=None, core=None, status="failed",
                reason="no compiler")  # fmt: skip
    [outcome] = judge([need("at_most", "2x of limits.call")], [row(), other])
    assert (outcome.status, outcome.reason) == ("unjudged", "limits.call failed: no compiler")


def test_the_exact_id_wins_over_agreement() -> None:
    rows = [row("wal.append[backend=wal.mmap,record=512B]"), row()]
    reference = references(parse_expression("wal.append[backend=wal.mmap]"))[0]
    assert named_by(reference, rows) == [rows[1]]


def test_a_ceiling_share_is_the_median_over_processes() -> None:
    measured = row(
        per_process={"ns_per_op": [200.0, 400.0, 100.0]},
        limits={"limits.call": [10.0, 10.0, 10.0], "limits.memcpy[size=512B]": [90.0, 90.0, 90.0]},
        ceiling="max(limits.call, sum(limits.memcpy[size=512], 10 ns))",
    )
    assert ceiling_share(measured) == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"ceiling": None},
        {"limits": {}},
        {"per_process": {}},
        {"per_process": {"ns_per_op": [1.0, 2.0]}},
        {"per_process": {"ns_per_op": [0.0]}},
    ],
)
def test_without_a_measured_ceiling_there_is_no_share(changes: dict[str, Any]) -> None:
    measured = {
        "per_process": {"ns_per_op": [200.0]}, "limits": {"limits.call": [10.0]},
        "ceiling": "limits.call",
    }  # fmt: skip
    assert ceiling_share(row(**measured)) == 0.05
    assert ceiling_share(row(**(measured | changes))) is None
