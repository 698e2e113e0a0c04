"""Rows become tables: what tells rows apart, what is absent and why, what fits."""

from __future__ import annotations

from bench_cli.report import page, table
from bench_cli.report.layout import lay_out
from bench_cli.report.model import Column, Line, Table
from bench_cli.results import RequirementOutcome, Row
from tests.report.rows import make_draw, make_result, make_row


def text_of(*rows: Row, width: int = 200) -> str:
    built = table.tables(rows)
    return "\n".join(line.text for one in built for line in lay_out(one, width))


def page_of(*rows: Row, width: int = 100, **changes: object) -> str:
    return "\n".join(line.text for line in page.render(make_result(*rows, **changes), width))


def line_with(text: str, part: str) -> str:
    """The last line that holds ``part``: rows stand below headings."""
    return [line for line in text.splitlines() if part in line][-1]


def test_axes_that_differ_become_columns_and_the_rest_is_said_once() -> None:
    rows = [
        make_row(f"wal.append[backend=wal.mmap,core=native,record={r},state=steady]")
        for r in ("512B", "32KiB")
    ]
    lines = text_of(*rows).splitlines()
    assert lines[1] == "wal.append on wal.mmap, native twin, state steady"
    assert lines[3].split()[0] == "record"
    assert "core" not in lines[3]


def test_a_default_that_another_row_names_is_filled_in_from_the_parameters() -> None:
    named = make_row("wal.append[backend=wal.mmap,record=32KiB]", params={"record": 32768})
    default = make_row("wal.append[backend=wal.mmap]", params={"record": 512})
    assert line_with(text_of(named, default), "512B")


def test_axes_of_one_operation_among_several_join_its_name() -> None:
    sync = make_row("wal.sync[after=1MiB,backend=wal.mmap]")
    remove = make_row("wal.append_remove[backend=wal.mmap]")
    assert line_with(text_of(sync, remove), "wal.sync after=1MiB")


def test_scenarios_that_time_the_same_operation_have_a_table_each() -> None:
    rows = [
        make_row("wal.append[record=512B]", scenario="plain"),
        make_row("wal.append[format=text]", scenario="text"),
    ]
    assert [one.title for one in table.tables(rows)] == ["A group: plain", "A group: text"]


def test_limits_come_last() -> None:
    rows = [make_row("limits.call", group="Limits"), make_row("wal.append[record=1B]")]
    assert [one.title for one in table.tables(rows)] == ["A group", "Limits"]


def test_mixed_twins_are_told_per_row() -> None:
    rows = [make_row(f"wal.append[core={core}]", core=core) for core in ("native", "python")]
    text = text_of(*rows)
    assert "twin" not in text
    assert line_with(text, "python")


def test_failed_and_skipped_rows_show_their_reason_instead_of_numbers() -> None:
    rows = [
        make_row("wal.append[record=1B]"),
        make_row("wal.append[record=2B]", status="failed", reason="the disk is full"),
        make_row("wal.append[record=3B]", status="failed", reason="the disk is full"),
        make_row("wal.append[record=4B]", status="skipped", reason="no text format"),
    ]
    text = text_of(*rows)
    assert "2B      failed: the disk is full" in text
    assert "3B      failed: as above" in text
    assert "4B      skipped: no text format" in text


def test_spread_limit_and_durability_stand_beside_each_number() -> None:
    row = make_row("wal.append[record=1B]", processes=(1, 1.1, 0.9), metrics={"limit_share": 0.66})
    text = text_of(row)
    assert "±10 %" in line_with(text, "1B")
    assert "66 %" in line_with(text, "1B")
    assert "D1 I1 C2" in line_with(text, "1B")
    assert "(declared)" in text


def test_one_process_says_nothing_about_spread() -> None:
    assert "±" not in text_of(make_row("wal.append[record=1B]", processes=(1.0,)))


def test_a_window_and_mixed_evidence_are_told() -> None:
    proven = {"level": "D2", "window": "10 ms", "integrity": "I1", "damage": "C2",
              "evidence": "1,000 images"}  # fmt: skip
    rows = [make_row("wal.append[record=1B]"),
            make_row("wal.append[record=2B]", durability=proven)]  # fmt: skip
    text = text_of(*rows)
    assert "D2(10 ms) I1 C2 1,000 images" in text
    assert "D1 I1 C2 declared" in text


def test_a_missing_log_is_not_a_log_of_size_zero() -> None:
    rows = [make_draw("none", 50.0), make_draw("wal.mmap", 80.0, wal_bytes_per_op=16.5)]
    text = text_of(*rows)
    assert "N/A" in line_with(text, "none  ")
    assert "no log is kept" in text


def test_uncounted_allocations_say_why() -> None:
    text = text_of(make_draw("none", 50.0))
    assert "bytes/draw" in text.replace("\n", "")
    assert "compiled counter" in text


def test_rows_with_a_log_show_what_it_costs() -> None:
    assert "1.6x" in text_of(make_draw("none", 50.0), make_draw("wal.mmap", 80.0))


def test_columns_go_by_priority_and_foldable_ones_become_a_sentence() -> None:
    columns = [Column("name", label=True), Column("needed"), Column("useful", 1),
               Column("survives", 2, fold="survives"), Column("extra", 3)]  # fmt: skip
    lines = [Line(("a", "111", "222", "D1", "333")), Line(("b", "444", "555", "D0", "666"))]
    built = Table("T", columns, lines)

    def shown(width: int) -> str:
        return "\n".join(line.text for line in lay_out(built, width))

    assert "333" in shown(80)
    assert "333" not in shown(32)
    assert "survives: a D1; b D0." in shown(24)
    assert "111" in shown(10)


def test_a_folded_column_names_as_many_labels_as_tell_its_values_apart() -> None:
    columns = [Column("log", label=True), Column("size", label=True), Column("ns"),
               Column("survives", 2, fold="survives")]  # fmt: skip
    same = [
        Line(("a", "1", "1,234,567", "D1")),
        Line(("a", "2", "22", "D1")),
        Line(("b", "1", "3", "D0")),
    ]
    lines = [line.text for line in lay_out(Table("T", columns, same), 26)]
    assert "survives: a D1; b D0." in lines
    mixed = [Line(("a", "1", "1,234,567", "D1")), Line(("a", "2", "22", "D0"))]
    lines = [line.text for line in lay_out(Table("T", columns, mixed), 26)]
    assert "survives: a 1 D1; a 2 D0." in lines


def test_narrow_tables_wrap_labels_and_keep_numbers_whole() -> None:
    built = Table("T", [Column("row", label=True), Column("ns")],
                  [Line(("a very long name of a row", "1,234,567,890"))])  # fmt: skip
    lines = [line.text for line in lay_out(built, 26)]
    assert all(len(line) <= 26 for line in lines)
    assert any("1,234,567,890" in line for line in lines)


def test_a_warning_shared_by_rows_is_said_once() -> None:
    rows = [make_row(f"wal.append[record={n}B]", warnings=["too short"]) for n in range(5)]
    assert text_of(*rows).count("too short (all rows)") == 1
    rows.append(make_row("wal.append[record=9B]"))
    assert "! too short (0B; 1B; 2B; 2 more)" in text_of(*rows)


def test_loop_overhead_above_five_percent_is_told() -> None:
    assert "up to 12 %" in text_of(make_row("a.b[c=1]", metrics={"overhead_share": 0.12}))
    assert "loop" not in text_of(make_row("a.b[c=1]", metrics={"overhead_share": 0.04}))


# --- the whole page --------------------------------------------------------------------------


def test_python_twins_are_announced_at_the_top_with_the_reason() -> None:
    row = make_row("wal.append[core=python]", core="python")
    text = page_of(row, settings={"native_missing": "no compiler"})
    assert "! Python twins: all rows ran on the readable twin" in text
    assert "no compiler" in text
    assert text.index("Python twins") < text.index("A group")


def test_native_runs_say_nothing_about_python_twins() -> None:
    assert "Python twins" not in page_of(make_row("wal.append[core=native]"))


def test_requirements_show_their_margin_and_missed_ones_come_first() -> None:
    outcomes = [
        RequirementOutcome("s", "wal.append[a=1]", "bytes_per_s", "at_least", "3 GB/s", "met",
                           15.8e9, 3e9, 4.2667),
        RequirementOutcome("s", "wal.append[a=2]", "ns_per_op", "at_most",
                           "1.3x of limits.call", "missed", 1450.0, 1295.0, -0.12),
        RequirementOutcome("s", "wal.append[a=3]", "ns_per_op", "at_most", "1us", "unjudged",
                           reason="the row failed"),
    ]  # fmt: skip
    text = page_of(make_row("wal.append[a=1]"), requirements=outcomes)
    assert "1 of 3 met" in text
    assert "met by 427 %" in line_with(text, "15.8 GB/s")
    assert text.index("missed by 12 %") < text.index("met by 427 %")
    assert "1.3x of limits.call" in text
    assert "the row failed" in text
    assert text.rstrip().endswith("1 of 3 requirements missed.")


def test_the_legend_explains_the_levels_that_appear() -> None:
    text = page_of(make_row("wal.append[a=1]"))
    assert "D1 survives SIGKILL" in text
    assert "D3" not in text


def test_an_empty_result_is_a_page_too() -> None:
    assert "0 rows: nothing ran." in page_of()


def test_an_interrupted_result_says_so() -> None:
    assert "Interrupted" in page_of(make_row("wal.append[a=1]"), interrupted=True)


def test_unequal_numbers_of_processes_are_a_column() -> None:
    ids = [f"wal.append[backend=wal.mmap,core=native,record={r}]" for r in ("1KiB", "2KiB")]
    often, once = make_row(ids[0], processes=(1.0,) * 7), make_row(ids[1], processes=(1.0,))
    text = text_of(often, once)
    assert "processes" in text
    assert " 7 " in line_with(text, "1KiB")
    assert "processes" not in text_of(often, make_row(ids[1], processes=(1.0,) * 7))
