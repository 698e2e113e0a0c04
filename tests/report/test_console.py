"""The last door before the terminal: colours where they are wanted, escapes nowhere."""

from __future__ import annotations

import io

import pytest

from bench_cli.report import console
from bench_cli.report.model import Styled, Tone

HOSTILE = "[bold red]x[/] \x1b[2J :smile: [link=http://a]b[/link]"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def emitted(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name in ("NO_COLOR", "TERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    console.emit([Styled(HOSTILE, Tone.BAD)], stream)
    return stream.getvalue()


def test_a_terminal_gets_colours_and_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = emitted(monkeypatch, TERM="xterm")
    assert text.startswith("\x1b[1;31m")
    assert "[bold red]x[/] \\x1b[2J :smile: [link=http://a]b[/link]" in text
    assert "\x1b[2J" not in text


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_means_no_escape_at_all(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    assert "\x1b" not in emitted(monkeypatch, **environment)


def test_long_lines_are_left_to_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    console.emit([Styled("x" * 90)], stream)
    assert stream.getvalue() == "x" * 90 + "\n"


def test_the_live_bar_survives_hostile_names_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    progress = console.LiveProgress(stream)
    progress.started(1, 2, 3.0)
    progress.process_done("wal.append[/bold]" + "x" * 200, True, None)
    progress.process_done("b\x1b[2J", False, "[/] broken")
    progress.finished()
    assert "failed: b\\x1b[2J: [/] broken" in stream.getvalue()
    assert "x" * 60 not in stream.getvalue()


@pytest.mark.parametrize(("wanted", "found"), [("10", 40), ("132", 132), ("nonsense", 80)])
def test_the_width_is_bounded_below(
    monkeypatch: pytest.MonkeyPatch, wanted: str, found: int
) -> None:
    monkeypatch.setenv("COLUMNS", wanted)
    assert console.columns() == found
