"""Text from results on a terminal: escaped, measured and wrapped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_cli.report.text import safe, width, wrap

HOSTILE = {
    "\x1b[2J": "\\x1b[2J",
    "a\nb": "a\\x0ab",
    "\r": "\\x0d",
    "\x9b31m": "\\x9b31m",
    "\u202etxt": "\\u202etxt",
    "\ud800": "\\ud800",
    "\u2028": "\\u2028",
    "[bold]x[/bold]": "[bold]x[/bold]",
    "µ±é": "µ±é",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_not_obeyed(text: str) -> None:
    assert safe(text) == HOSTILE[text]


@given(st.text())
def test_safe_text_is_one_printable_line_that_can_be_encoded(text: str) -> None:
    found = safe(text)
    assert "\x1b" not in found
    assert len(found.splitlines()) <= 1
    found.encode("utf-8")
    assert safe(found) == found


def test_wide_and_combining_characters_are_measured_as_the_terminal_does() -> None:
    assert width("日本") == 4
    assert width("e\u0301") == 1


@given(st.text(alphabet="ab, []\x20é", max_size=200), st.integers(8, 80))
def test_wrapped_text_fits_and_keeps_every_letter(text: str, room: int) -> None:
    lines = wrap(text, room, "  ")
    assert all(width(line) <= room for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_ids_break_after_commas_and_a_percent_sign_stays_with_its_number() -> None:
    assert wrap("wal.append[a=1,b=2]", 16) == ["wal.append[a=1,", "b=2]"]
    assert wrap("about 95 %", 8) == ["about", "95 %"]
