"""The text format: one line per record, readable with ``less`` and safe to parse.

A line::

    9f3ab2c1 17 4 draw DRAW 17 gold%20coin
    |        |  | |    payload, escaped
    |        |  | kind: a word, or a number where it has none; ``draw*3`` is a batch of three,
    |        |  |       whose payloads are separated by tabs
    |        |  lag (see format.py); ``-`` promises nothing
    |        sequence number
    CRC-32C of the rest of the line, seeded with the segment's salt

Escaped are backslash, control characters and bytes that are not UTF-8; everything else stays as
it is. So a line never holds a newline, a tab or a zero byte of its own, and the zeros of a
preallocated file end the search for a newline.

The clean-close mark is a line of kind ``mark`` after an empty line: should the newline before it be
damaged, the line above is seen to be damaged, and the mark still stands. A link (see format.py) is
a ``mark`` with a payload.

A header slot is a line too, filled up with spaces to 512 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench_cli.interfaces import RecordKind
from bench_cli.wal.format import (
    FOOTER,
    MAX_BATCH,
    NOTHING_DURABLE,
    SLOT,
    VERSION,
    Frame,
    SegmentHeader,
    crc32c,
)

WORDS = {int(kind): kind.name.lower() for kind in RecordKind} | {FOOTER: "mark"}
KINDS = {word: kind for kind, word in WORDS.items()}
BLANK_SLOT = b" " * (SLOT - 1) + b"\n"

_LINE = re.compile(
    rb"\n?([0-9a-f]{8}) (\d{1,19}) (\d{1,10}|-) ([a-z]+|\d{1,3})(?:\*(\d{1,5}))? (.*)", re.DOTALL
)
_HEADER = re.compile(
    rb"BENCHWAL (\d{1,5}) text (\d{1,19}) ([0-9a-f]{16}) (\d{1,19}) (\d{1,19}) "
    rb"(\d) ([0-9a-f]{8}) *\n"
)
# What must be escaped, and the ASCII behind it: one long match costs less than many short ones.
_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\\\\\udc80-\udcff][\x00-\x9f\udc80-\udcff]*")
_REWRITTEN = (
    (rb"\\", b"\0"),  # out of the way: what follows a backslash of the payload is no escape
    (rb"\x8", rb"\xc2\x8"),  # C1 control characters, as their UTF-8 bytes
    (rb"\x9", rb"\xc2\x9"),
    (rb"\udc", rb"\x"),  # bytes that are not UTF-8
    (b"\0", rb"\\"),
)
_ANY_HEX = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_ESCAPES = (rb"\x00", rb"\n", rb"\t", rb"\r")


# --- escaping --------------------------------------------------------------------------------


def escape(payload: bytes) -> bytes:
    """Python's own ``unicode_escape`` does the work, at C speed; the forms in which it differs
    from this format are rewritten."""
    text = payload.decode("utf-8", "surrogateescape")
    if not _ESCAPED.search(text):
        return payload
    escaped = _ESCAPED.sub(lambda run: run[0].encode("unicode_escape").decode(), text).encode()
    for theirs, ours in _REWRITTEN:
        escaped = escaped.replace(theirs, ours)
    return escaped


def unescape(text: bytes) -> bytes:
    """Raises ValueError at an escape this format does not write: ``unicode_escape`` knows more
    of them, so the backslashes must be as many as the escapes."""
    if b"\\" not in text:
        return text
    rest = text.replace(rb"\\", b"  ").translate(_ANY_HEX)
    if rest.count(b"\\") != sum(map(rest.count, _ESCAPES)):
        raise ValueError("an escape that is never written")
    return text.decode("unicode_escape").encode("latin-1")


# --- lines -----------------------------------------------------------------------------------


def encode_line(
    seed: int, sequence: int, lag: int, kind: int, payloads: Sequence[bytes], batch: bool
) -> tuple[bytes, int]:
    """(line, its checksum)."""
    durable = "-" if lag == NOTHING_DURABLE else str(lag)
    times = f"*{len(payloads)}" if batch else ""
    head = f" {sequence} {durable} {WORDS.get(kind, str(kind))}{times} ".encode()
    body = head + b"\t".join(escape(payload) for payload in payloads)
    crc = crc32c(body[1:], seed)
    before = b"\n" if kind == FOOTER else b""
    return b"%b%08x%b\n" % (before, crc, body), crc


def decode_line(seed: int, line: bytes, offset: int) -> Frame | None:
    """``line`` without its newline; None when it is no line of this segment."""
    match = _LINE.fullmatch(line)
    if match is None or crc32c(line[match.start(2) :], seed) != int(match[1], 16):
        return None
    sequence, lag = int(match[2]), NOTHING_DURABLE if match[3] == b"-" else int(match[3])
    word = match[4].decode()
    kind = KINDS[word] if word in KINDS else int(word) if word.isdigit() else 0
    count = 1 if match[5] is None else int(match[5])
    parts = [match[6]] if match[5] is None else match[6].split(b"\t")
    if not 0 < kind <= FOOTER or (match.start(1) and kind != FOOTER):
        return None
    if len(parts) != count or count > MAX_BATCH:
        return None
    try:
        payloads = [memoryview(unescape(part)) for part in parts]
    except ValueError:
        return None
    return Frame(offset, len(line) + 1, sequence, count, lag, kind, payloads, int(match[1], 16))


# --- segment header --------------------------------------------------------------------------


def encode_header(header: SegmentHeader) -> tuple[bytes, int]:
    """(a slot of 512 bytes, its checksum)."""
    body = (
        f"BENCHWAL {VERSION} text {header.number} {header.salt:016x} {header.first_sequence}"
        f" {header.capacity} {header.flags} "
    ).encode()
    crc = crc32c(body)
    return (body + b"%08x" % crc).ljust(SLOT - 1) + b"\n", crc


def decode_header(slot: bytes) -> SegmentHeader | None:
    """None when the slot holds no header of this version."""
    match = _HEADER.fullmatch(slot)
    if match is None or int(match[1]) != VERSION:
        return None
    crc = int(match[7], 16)
    if crc32c(slot[: match.start(7)]) != crc:
        return None
    number, first_sequence, capacity, flags = map(int, match.group(2, 4, 5, 6))
    return SegmentHeader.of(number, int(match[3], 16), first_sequence, capacity, flags, crc)
