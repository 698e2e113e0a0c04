"""The JSON Lines format: one object per record, which any JSON parser reads.

A line::

    {"crc":"9f3ab2c1","seq":17,"lag":4,"kind":"draw","data":"DRAW 17 gold%20coin"}

``crc`` is the CRC-32C of what stands behind it up to the end of the line, seeded with the
segment's salt; ``lag`` see format.py, null promises nothing; ``kind`` is a word, or a number where
it has none. A payload that is UTF-8 is a string. Any other is ``{"base64":"..."}``, as JSON has no
bytes. A batch has the list of its payloads under ``batch`` instead of ``data``.

Control characters are escaped, so a line never holds a newline or a zero byte of its own, and the
zeros of a preallocated file end the search for a newline. The fields stand in this order and
without blanks: a line of the same meaning in another shape is none of a log's.

The clean-close mark and a link are lines of kind ``mark``, as in text.py. So is the header slot a
line, filled up with spaces to 512 bytes, with ``"log":"BENCHWAL"`` in place of a sequence.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence

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
from bench_cli.wal.text import KINDS, WORDS

_LINE = re.compile(
    rb'\n?\{"crc":"([0-9a-f]{8})"(,"seq":(\d{1,19}),"lag":(\d{1,10}|null),'
    rb'"kind":(?:"([a-z]+)"|(\d{1,3})),"(data|batch)":(.+)\})',
    re.DOTALL,
)
_HEADER = re.compile(
    rb'\{"crc":"([0-9a-f]{8})"(,"log":"BENCHWAL","version":(\d{1,5}),"format":"jsonl",'
    rb'"number":(\d{1,19}),"salt":"([0-9a-f]{16})","first":(\d{1,19}),"capacity":(\d{1,19}),'
    rb'"flags":(\d)\}) *\n'
)
_C1 = re.compile("[\x7f-\x9f]")  # JSON allows these control characters, a terminal obeys them
_string = json.JSONEncoder(ensure_ascii=False).encode


# --- payloads --------------------------------------------------------------------------------


def encode_value(payload: bytes) -> bytes:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return b'{"base64":"%b"}' % b64encode(payload)
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", _string(text)).encode()


def decode_value(value: object) -> bytes:
    """Raises ValueError for what is no payload."""
    match value:
        case str():
            return value.encode()
        case {"base64": str(encoded), **rest} if not rest:
            return b64decode(encoded, validate=True)
    raise ValueError("no payload")


# --- lines -----------------------------------------------------------------------------------


def encode_line(
    seed: int, sequence: int, lag: int, kind: int, payloads: Sequence[bytes], batch: bool
) -> tuple[bytes, int]:
    """(line, its checksum)."""
    durable = "null" if lag == NOTHING_DURABLE else str(lag)
    word = f'"{WORDS[kind]}"' if kind in WORDS else str(kind)
    values = b",".join(encode_value(payload) for payload in payloads)
    last = b'"batch":[%b]' % values if batch else b'"data":%b' % values
    body = f',"seq":{sequence},"lag":{durable},"kind":{word},'.encode() + last + b"}"
    crc = crc32c(body, seed)
    before = b"\n" if kind == FOOTER else b""
    return b'%b{"crc":"%08x"%b\n' % (before, crc, body), crc


def decode_line(seed: int, line: bytes, offset: int) -> Frame | None:
    """``line`` without its newline; None when it is no line of this segment."""
    match = _LINE.fullmatch(line)
    if match is None or crc32c(match[2], seed) != int(match[1], 16):
        return None
    sequence, lag = int(match[3]), NOTHING_DURABLE if match[4] == b"null" else int(match[4])
    kind = KINDS.get(match[5].decode(), 0) if match[6] is None else int(match[6])
    if not 0 < kind <= FOOTER or (match.start(1) > len('{"crc":"') and kind != FOOTER):
        return None
    try:
        payloads = _payloads(match[8], batch=match[7] == b"batch")
    except (ValueError, RecursionError):  # a checksum that holds makes no payload of it
        return None
    return Frame(
        offset, len(line) + 1, sequence, len(payloads), lag, kind, payloads, int(match[1], 16)
    )


def _payloads(text: bytes, *, batch: bool) -> list[memoryview]:
    values = json.loads(text)
    if not batch:
        values = [values]
    if not isinstance(values, list) or not 0 < len(values) <= MAX_BATCH:
        raise ValueError("no payloads")
    return [memoryview(decode_value(value)) for value in values]


# --- segment header --------------------------------------------------------------------------


def encode_header(header: SegmentHeader) -> tuple[bytes, int]:
    """(a slot of 512 bytes, its checksum)."""
    body = (
        f',"log":"BENCHWAL","version":{VERSION},"format":"jsonl","number":{header.number},'
        f'"salt":"{header.salt:016x}","first":{header.first_sequence},'
        f'"capacity":{header.capacity},"flags":{header.flags}}}'
    ).encode()
    crc = crc32c(body)
    return (b'{"crc":"%08x"%b' % (crc, body)).ljust(SLOT - 1) + b"\n", crc


def decode_header(slot: bytes) -> SegmentHeader | None:
    """None when the slot holds no header of this version."""
    match = _HEADER.fullmatch(slot)
    if match is None or int(match[3]) != VERSION or crc32c(match[2]) != int(match[1], 16):
        return None
    number, first_sequence, capacity, flags = map(int, match.group(4, 6, 7, 8))
    return SegmentHeader.of(
        number, int(match[5], 16), first_sequence, capacity, flags, int(match[1], 16)
    )
