"""Comparisons as Markdown: whatever stands in a name, it stays a name, and the verdict fits."""

from __future__ import annotations

import re

import pytest

from bench_cli.report import markup
from bench_cli.report.comparison import Compared
from bench_cli.stats.compare import compare
from tests.report.rows import make_result, make_row

HOSTILE = [
    "a|b",
    "a`b",
    "``",
    "`x` | y `",
    "a\n## forged",
    "</td><script>alert(1)</script>",
    "@everyone #1 [x](http://example.org)",
    "\x1b[2J\u202e",
    "<!-- ",
]


def told(*names: str, base: str = "base.json", everything: bool = False) -> Compared:
    """Rows of those names, each with one more byte on head."""
    sides = [
        make_result(*[
            make_row(name, metrics={"exact_ops": 10.0, "wal_bytes_per_op": size}) for name in names
        ])
        for size in (16.0, 17.0)
    ]  # fmt: skip
    return Compared(
        compare(*sides, ["kernel: 1 -> 2"]), (base, "head.json"), everything,
        reproduce=f"bench run -k {names[0]}" if names else None,
    )  # fmt: skip


def test_it_begins_with_its_marker_and_the_verdict() -> None:
    first, second, *_ = markup.render(told("a.b[c=1]")).splitlines()
    assert first == markup.MARKER
    assert second == "### ❌ Benchmarks: regression (exit 10)"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_nothing_but_a_name(name: str) -> None:
    text = markup.render(told(name, base=name))
    assert text.count("\n#") == text.count("\n### ") == 1
    assert "\x1b" not in text
    assert "\u202e" not in text
    for line in text.splitlines()[1:]:
        assert not re.search(r"<|@|\[x\]|#1", outside_code(line)), line
    rows = [line for line in text.splitlines() if line.startswith("| ") and "WAL" in line]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [6]


def outside_code(line: str) -> str:
    """What is left of a line without its code spans, as CommonMark finds them."""
    return re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", line)


@pytest.mark.parametrize("text", ["a", "`", "a`", "``a", "` `` ```"])
def test_a_code_span_ends_where_it_should(text: str) -> None:
    assert outside_code(markup.code(text)) == ""


def test_a_long_comparison_is_cut_and_says_so() -> None:
    text = markup.render(told(*[f"wal.append[record={n},x={'é' * 50}]" for n in range(2_000)]))
    assert len(text.encode()) <= markup.LIMIT
    assert len(text.encode()) > markup.LIMIT * 0.95
    assert re.search(r"Cut to fit a comment: [\d]+ more lines", text)
    assert "Verdict: regression (exit 10)" in text


def test_names_of_any_length_leave_room_for_the_verdict() -> None:
    text = markup.render(told("x" * 200_000, base="y" * 200_000))
    assert len(text.encode()) <= markup.LIMIT
    assert "Verdict: regression (exit 10)" in text


def test_nothing_in_common_is_a_comment_too() -> None:
    assert "nothing could be compared (exit 12)" in markup.render(told())


def test_text_of_requirements_and_reasons_is_quoted_too() -> None:
    from bench_cli.results import RequirementOutcome

    found = told("a.b")
    found.found.requirements = [
        RequirementOutcome(
            "s", "a.b", "ns_per_op", "at_most", "<b>@all</b>", "missed", 2.0, 1.0, -1.0
        )
    ]
    found.found.rows[0].unjudged.append("accepted until 2027 (<i>@me</i>)")
    text = markup.render(found)
    assert "@me" in text
    for line in text.splitlines()[1:]:
        assert not re.search(r"<|@", outside_code(line)), line
