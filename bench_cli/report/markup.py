"""A comparison as Markdown, fit for a comment on a pull request.

Names come from files that a stranger may have written. Whatever is not ours stands in code spans,
where Markdown, HTML, mentions and references mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bench_cli.errors import ExitCode
from bench_cli.report.comparison import Compared, closing, tables, unjudged, verdict_of
from bench_cli.report.model import Table
from bench_cli.report.text import safe

MARKER = "<!-- bench-compare -->"
"""The first line: how a bot finds its own comment again."""
LIMIT = 60_000
"""Bytes; GitHub refuses comments above 65,536 characters."""
_LONGEST = 400  # characters of one name or command
_ICONS = {ExitCode.OK: "✅", ExitCode.REGRESSION: "❌"}
_OTHER_ICON = "⚠️"
_HARMLESS = re.compile(r"[A-Za-z0-9 +.,%()/±-]*")
_CUT = (
    "_Cut to fit a comment: {} more lines. The result files have every row; "
    "`bench compare BASE HEAD` prints them._"
)


def code(text: str) -> str:
    """Text as a code span, also inside a table."""
    shown = safe(text)
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|") if shown else ""


def render(told: Compared) -> str:
    """At most ``LIMIT`` bytes; what does not fit is cut from the end of the tables, never from
    the verdict."""
    found = told.found
    icon = _ICONS.get(found.exit_code, _OTHER_ICON)
    head = [
        MARKER,
        f"### {icon} Benchmarks: {verdict_of(found)} (exit {found.exit_code})",
        "",
        f"base {code(told.names[0])}, head {code(told.names[1])}",
        "",
    ]
    tail = ["", *_closing(told)]
    head += [f"- differs: {code(one)}" for one in found.fingerprint]
    body = [line for table in tables(told) for line in _table(table)]
    body = ["", *body, *_remarks(told)] if found.fingerprint else [*body, *_remarks(told)]
    return "\n".join([*head, *_fitting(body, LIMIT - _size([*head, *tail, _CUT])), *tail]) + "\n"


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def _fitting(body: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    room -= 20  # the number in the pointer, and two line ends
    for number, line in enumerate(body):
        room -= len(line.encode()) + 1
        if room < 0:
            return [*kept, "", _CUT.format(len(body) - number)]
        kept.append(line)
    return kept


def _table(table: Table) -> Iterator[str]:
    yield f"**{table.title}**"
    yield ""
    if table.lines:
        yield _row([column.heading for column in table.columns])
        yield _row([":--" if column.label else "--:" for column in table.columns])
    for line in table.lines:
        cells = zip(table.columns, line.cells, strict=True)
        yield _row([code(cell) if column.label else _plain(cell) for column, cell in cells])
    if table.lines:
        yield ""
    for note in [*table.subtitles, *table.notes]:
        yield f"{note}"
        yield ""
    for warning in table.warnings:
        yield f"- {code(warning)}"
    yield ""


def _plain(cell: str) -> str:
    """Numbers and words stand as they are; anything else may be somebody's text."""
    return cell if _HARMLESS.fullmatch(cell) else code(cell)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _remarks(told: Compared) -> Iterator[str]:
    for one in told.found.failed:
        yield f"- failed on head: {code(one.id)} ({code(one.reason)})"
    for one in told.found.missing:
        yield f"- missing in {one.side}: {code(one.id)} ({code(one.reason)})"
    for text in unjudged(told.found.rows):
        yield f"- {code(text)}"
    for remedy in told.remedies:
        yield f"- to fill the gap: {code(remedy)}"


def _closing(told: Compared) -> Iterator[str]:
    for text in closing(told):
        yield text
        yield ""
    if told.reproduce:
        yield f"The worst row again: {code(told.reproduce)}"
