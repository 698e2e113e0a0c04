"""Text that comes from results (names, reasons, paths), made safe for a terminal.

A row's name may hold an escape sequence that moves the cursor, a newline that forges a line, a
right-to-left mark that turns a number around, or a lone surrogate that cannot be printed at all.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

# Cc control, Cf format (bidirectional marks, zero width), Cs surrogates, Zl/Zp line separators
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def safe(text: str) -> str:
    """``text`` on one line, with everything that is not plain, printable text as ``\\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Columns of a terminal that ``text`` takes: 2 for wide East Asian characters."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(text: str, room: int, indent: str = "") -> list[str]:
    """Lines of at most ``room`` columns, broken at spaces; continuation lines are indented. A word
    longer than a line is cut, since a terminal would do so at a worse place."""
    lines: list[str] = []
    line = ""
    for word in _words(text):
        candidate = f"{line} {word}" if line.strip() else line + word
        if width(candidate) <= room:
            line = candidate
            continue
        if line.strip():
            lines.append(line)
            line = indent
        line += word
        while width(line) > room:
            cut = _fitting(line, room)
            lines.append(line[:cut])
            line = indent + line[cut:]
    return [*lines, line] if line.strip() or not lines else lines


def _words(text: str) -> list[str]:
    """A percent sign stays with its number."""
    return [word for word in re.split(r" +(?!%)", text.strip()) if word]


def _fitting(line: str, room: int) -> int:
    """How many characters of ``line`` fit, ending after a comma or bracket where there is one;
    at least one more than blanks, so that wrapping ends."""
    filled = len(line) - len(line.lstrip()) + 1
    if line.isascii():
        position = max(room, filled)
    else:
        ends = accumulate(map(_columns, line))
        beyond = (at for at, end in enumerate(ends) if end > room and at >= filled)
        position = next(beyond, len(line))
    if position >= len(line):
        return len(line)
    after = max(line.rfind(mark, 0, position) for mark in ",[(") + 1
    return after if line[:after].strip() else position
