"""What a draw looks like in a log.

Binary, little-endian:

    DRAW   | id u64 | item u32 |                                12 bytes
    DRAWS  | first id u64 | item u32 | item u32 | ...           8 + 4 n bytes, n of 1 .. 65,535

The item is its index in the catalogue. The n draws of a DRAWS record have the ids first id ..
first id + n - 1; n is not stored, the log keeps the length of a record anyway.

Text, where the log's format is one of lines ("text", "jsonl"), with names percent-quoted so that
blanks, line ends and any other character survive:

    DRAW <id> <item>
    DRAWS <first id> <item> <item> ...
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

from bench_cli.errors import CatalogueError
from bench_cli.interfaces import RecordKind

MAX_BATCH = 65_535
"""Draws in one atomic record: a record of at most 256 KiB, small beside a log segment."""

DRAW = struct.Struct("<QI")
FIRST_ID = struct.Struct("<Q")
ID_LIMIT = 1 << 64


class DrawRecords(Protocol):
    """Encodes and decodes the payloads of draw records."""

    def draw(self, draw_id: int, index: int) -> bytes: ...
    def draws(self, first_id: int, indices: array[int]) -> bytes: ...
    def parse(self, kind: int, payload: memoryview) -> tuple[int, Sequence[int]]:
        """(first id, item indices). Raises CatalogueError; an index may still be too large."""


def little_endian(numbers: array[int]) -> array[int]:
    """The same numbers with the byte order of the log; a copy only where that differs."""
    if sys.byteorder == "little":
        return numbers
    swapped = array(numbers.typecode, numbers)
    swapped.byteswap()
    return swapped


class BinaryRecords:
    draw = staticmethod(DRAW.pack)

    def draws(self, first_id: int, indices: array[int]) -> bytes:
        return FIRST_ID.pack(first_id) + little_endian(indices).tobytes()

    def parse(self, kind: int, payload: memoryview) -> tuple[int, Sequence[int]]:
        size = payload.nbytes
        if kind == RecordKind.DRAW:
            if size != DRAW.size:
                raise CatalogueError(f"a draw record has {size} bytes instead of {DRAW.size}")
            draw_id, index = DRAW.unpack(payload)
            return draw_id, [index]
        if size <= FIRST_ID.size or size % 4:
            raise CatalogueError(f"a record of draws has {size} bytes, not 8 + 4 per draw")
        indices = array("I")
        indices.frombytes(payload[FIRST_ID.size :])
        return FIRST_ID.unpack_from(payload)[0], little_endian(indices)


def quoted(name: str) -> bytes:
    """A name as one word of ASCII."""
    return quote(name, safe="").encode()


class TextRecords:
    def __init__(self, names: Sequence[str]) -> None:
        self._words = [quoted(name) for name in names]
        self._indices = {word: index for index, word in enumerate(self._words)}

    def draw(self, draw_id: int, index: int) -> bytes:
        return b"DRAW %d %b" % (draw_id, self._words[index])

    def draws(self, first_id: int, indices: array[int]) -> bytes:
        return b"DRAWS %d %b" % (first_id, b" ".join(self._words[index] for index in indices))

    def parse(self, kind: int, payload: memoryview) -> tuple[int, Sequence[int]]:
        verb, *rest = bytes(payload).split(b" ")
        single = kind == RecordKind.DRAW
        if verb != (b"DRAW" if single else b"DRAWS") or len(rest) < 2 or (single and rest[2:]):
            raise CatalogueError(f"not a record of draws: {bytes(payload[:80])!r}")
        return _parse_id(rest[0]), [self._index_of(word) for word in rest[1:]]

    def _index_of(self, word: bytes) -> int:
        try:
            return self._indices[word]
        except KeyError:
            raise CatalogueError(
                f"the log has a draw of {word[:80]!r}, which the catalogue does not hold"
            ) from None


def _parse_id(word: bytes) -> int:
    """At most 20 digits: neither signs nor the seconds that a long number would take."""
    if not word.isdigit() or len(word) > 20 or int(word) >= ID_LIMIT:
        raise CatalogueError(f"{word[:80]!r} is not a draw id")
    return int(word)


def records_for(log_format: str, names: Sequence[str]) -> DrawRecords:
    """Text payloads for logs of lines, binary ones for every other."""
    return TextRecords(names) if log_format in ("text", "jsonl") else BinaryRecords()


def check_draws(expected_id: int, first_id: int, indices: Sequence[int], items: int) -> None:
    """Refuse records that cannot be the history of a catalogue of ``items`` items. Raises
    CatalogueError unless ids go on at ``expected_id`` and every item exists."""
    if first_id != expected_id:
        raise CatalogueError(f"the log goes on with draw {first_id} where {expected_id} is due")
    worst = max(indices)
    if worst >= items:
        raise CatalogueError(
            f"draw {first_id} is of item {worst}, and the catalogue has {items} items",
            remedy="recover with the catalogue the log was written with",
        )
