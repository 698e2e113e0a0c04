"""A table at one width: which columns fit, and the lines.

Numbers are never cut. Where the table is too wide, columns go by their declared priority (folding
ones reappear as a sentence below), then label columns wrap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench_cli.report.model import Column, Line, Styled, Table, Tone
from bench_cli.report.text import width, wrap

GAP = 2
INDENT = "  "
_NARROWEST_LABEL = 8
_LABEL_TO_WRAP = 26
_WORTH_WRAPPING = 2  # the lowest priority for which labels are wrapped
_SHORT_HEADING = 6
_ROOM_FOR_MESSAGE = 40


def lay_out(table: Table, columns: int) -> list[Styled]:
    """The table's lines, none wider than ``columns`` unless its numbers alone are."""
    room = _measured(table)
    shown = _fitting(table, room, columns)
    lines = [Styled(table.title, Tone.TITLE)]
    lines += _paragraphs(table.subtitles, columns, Tone.DIM)
    if table.lines:
        widths = _widths(table, room, shown, columns)
        lines += _heading(table, shown, widths)
        lines += [
            styled for line in table.lines for styled in _row(line, shown, widths, table, columns)
        ]
    lines += _paragraphs(
        [*_folded(table, shown), *_absences(table, shown), *table.notes], columns, Tone.DIM
    )
    lines += _paragraphs([f"! {warning}" for warning in table.warnings], columns, Tone.WARN)
    return lines


def _paragraphs(texts: Sequence[str], columns: int, tone: Tone) -> list[Styled]:
    return [Styled(line, tone) for text in texts for line in wrap(text, columns, INDENT)]


# --- columns ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Room:
    """What each column would take: as it is, and with its label wrapped at blanks."""

    natural: list[int]
    wrapped: list[int]

    def total(self, shown: Sequence[int], *, wrapped: bool) -> int:
        each = self.wrapped if wrapped else self.natural
        return sum(each[i] for i in shown) + GAP * (len(shown) - 1)


def _measured(table: Table) -> _Room:
    """Every cell is looked at here, once."""
    natural = [_natural(table, position) for position in range(len(table.columns))]
    return _Room(natural, [_least(table, i, room) for i, room in enumerate(natural)])


def _fitting(table: Table, room: _Room, columns: int) -> list[int]:
    """The positions of the columns to show. Long labels wrap at their blanks to keep an important
    column, not to keep a minor one."""
    shown = list(range(len(table.columns)))
    while droppable := [i for i in shown if _priority(table, i, columns) > 0]:
        last = max(droppable, key=lambda i: (_priority(table, i, columns), i))
        wrapped = _priority(table, last, columns) <= _WORTH_WRAPPING
        if room.total(shown, wrapped=wrapped) <= columns:
            break
        shown.remove(last)
    if room.total(shown, wrapped=True) > columns:
        shown = [i for i in shown if table.columns[i].fold is None]
    return shown


def _priority(table: Table, position: int, columns: int) -> int:
    """As declared; a column that would fold into more than one line is kept instead."""
    column = table.columns[position]
    if column.fold is not None and width(_told(table, position)) > columns:
        return 0
    return column.priority


def _least(table: Table, position: int, natural: int) -> int:
    if not table.columns[position].label or natural <= _LABEL_TO_WRAP:
        return natural
    words = [word for line in table.lines for word in line.cells[position].split(" ")]
    return max(_LABEL_TO_WRAP, *map(width, words))


def _natural(table: Table, position: int) -> int:
    cells = [
        width(line.cells[position]) for line in table.lines if _has_cell(line, table, position)
    ]
    heading = _heading_lines(table.columns[position].heading, max(cells, default=0))
    return max([*cells, *map(width, heading)])


def _has_cell(line: Line, table: Table, position: int) -> bool:
    return line.message is None or table.columns[position].label


def _widths(table: Table, room: _Room, shown: Sequence[int], columns: int) -> dict[int, int]:
    """Natural widths; where even the necessary columns are too wide, the widest labels wrap."""
    widths = {i: room.natural[i] for i in shown}
    labels = [i for i in shown if table.columns[i].label]
    while sum(widths.values()) + GAP * (len(shown) - 1) > columns and labels:
        widest = max(labels, key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST_LABEL:
            break
        widths[widest] -= 1
    return widths


def _folded(table: Table, shown: Sequence[int]) -> Iterator[str]:
    """What the hidden columns would have said, where they can be told as a sentence."""
    for position, column in enumerate(table.columns):
        if position not in shown and column.fold is not None:
            yield _told(table, position)


def _absences(table: Table, shown: Sequence[int]) -> list[str]:
    """Why cells say N/A, once per reason."""
    by_reason: dict[str, list[str]] = {}
    for column in (table.columns[i] for i in shown):
        if column.absent:
            by_reason.setdefault(column.absent, []).append(column.heading)
    return [f"N/A ({', '.join(names)}): {reason}." for reason, names in by_reason.items()]


def hides_columns(table: Table, columns: int) -> bool:
    """Whether this width leaves out a column that nothing else tells."""
    shown = _fitting(table, _measured(table), columns)
    return any(c.fold is None for i, c in enumerate(table.columns) if i not in shown)


def _told(table: Table, position: int) -> str:
    """``survives (declared): wal.none D0 I0 C0; wal.mmap, wal.basic D1 I1 C2.``"""
    labels: dict[str, list[str]] = {}
    for line, name in zip(table.lines, _short_names(table, position), strict=True):
        if line.message is None and line.cells[position]:
            labels.setdefault(line.cells[position], []).append(name)
    word = table.columns[position].fold
    if len(labels) == 1:
        return f"{word}: all rows {next(iter(labels))}."
    told = (f"{', '.join(dict.fromkeys(names))} {value}" for value, names in labels.items())
    return f"{word}: {'; '.join(told)}."


def _short_names(table: Table, position: int) -> list[str]:
    """For each line as many of its labels as it takes to tell the column's values apart."""
    count = sum(column.label for column in table.columns)
    names: list[str] = []
    for used in range(1, count + 1):
        names = [" ".join(filter(None, line.cells[:used])) for line in table.lines]
        values: dict[str, str] = {}
        pairs = [(n, line.cells[position]) for n, line in zip(names, table.lines, strict=True)
                 if line.message is None]  # fmt: skip
        if all(values.setdefault(name, value) == value for name, value in pairs):
            break
    return names


# --- lines -----------------------------------------------------------------------------------


def _heading_lines(heading: str, room: int) -> list[str]:
    """A heading over narrow numbers stands on several lines, broken after ``/``, ``_``, blank."""
    if width(heading) <= max(room, _SHORT_HEADING):
        return [heading]
    parts = re.findall(r"[^/_ ]*[/_ ]|[^/_ ]+", heading)
    longest = max([room, *(width(part.strip()) for part in parts)])
    lines = [""]
    for part in parts:
        if lines[-1] and width((lines[-1] + part).strip()) > longest:
            lines.append("")
        lines[-1] += part
    return [line.strip() for line in lines]


def _heading(table: Table, shown: Sequence[int], widths: dict[int, int]) -> list[Styled]:
    stacks = {
        i: wrap(table.columns[i].heading, widths[i])
        if table.columns[i].label
        else _heading_lines(table.columns[i].heading, widths[i])
        for i in shown
    }
    height = max(len(stack) for stack in stacks.values())
    lines = []
    for level in range(height):
        cells = {i: _at_bottom(stacks[i], level, height) for i in shown}
        lines.append(Styled(_join(cells, table.columns, widths), Tone.HEADING))
    rule = (" " * GAP).join("─" * widths[i] for i in shown)
    return [*lines, Styled(rule, Tone.DIM)]


def _at_bottom(stack: Sequence[str], level: int, height: int) -> str:
    position = level - (height - len(stack))
    return stack[position] if position >= 0 else ""


def _row(
    line: Line, shown: Sequence[int], widths: dict[int, int], table: Table, columns: int
) -> Iterator[Styled]:
    stacks = {
        i: wrap(line.cells[i], widths[i]) if table.columns[i].label else [line.cells[i]]
        for i in shown
        if _has_cell(line, table, i)
    }
    height = max((len(stack) for stack in stacks.values()), default=1)
    texts = []
    for level in range(height):
        cells = {i: stack[level] if level < len(stack) else "" for i, stack in stacks.items()}
        texts.append(_join(cells, table.columns, widths))
    if line.message is None:
        yield from (Styled(text, line.tone) for text in texts)
    else:
        yield from _with_message(texts, line, sum(widths[i] + GAP for i in stacks), columns)


def _with_message(texts: list[str], line: Line, start: int, columns: int) -> Iterator[Styled]:
    """The labels, then the sentence beside them; below them where there is no room."""
    message = line.message or ""
    beside = columns - start >= _ROOM_FOR_MESSAGE
    indent = " " * start if beside else INDENT * 2
    told = wrap(message, columns - len(indent))
    if beside:
        height = max(len(texts), len(told))
        for level in range(height):
            left = texts[level] if level < len(texts) else ""
            right = told[level] if level < len(told) else ""
            yield Styled((left + " " * (start - width(left)) + right).rstrip(), line.tone)
    else:
        yield from (Styled(text, line.tone) for text in texts)
        yield from (Styled(indent + text, line.tone) for text in told)


def _join(cells: dict[int, str], columns: Sequence[Column], widths: dict[int, int]) -> str:
    padded = []
    for position, cell in cells.items():
        room = widths[position] - width(cell) + len(cell)  # in characters, not in columns
        padded.append(cell.ljust(room) if columns[position].label else cell.rjust(room))
    return (" " * GAP).join(padded).rstrip()
