"""The formats behind one face: how the log writes them and how recovery finds them again. Another
format of lines is another module here, any other a class (and its frames in ``put.pxi``)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

from bench_cli.interfaces import Buffer
from bench_cli.wal import format as binary
from bench_cli.wal import jsonl, text
from bench_cli.wal.format import FRAME_HEADER, Frame, SegmentHeader
from bench_cli.wal.reader import Reader

CHUNK = 32 << 10  # small enough that starting anew after each find stays cheap
FEW = 512  # bytes: a loop is through with so many before numpy has begun


class Codec(Protocol):
    """``frame_at`` reads the frame at an offset: a Frame, or the reason why there is none.
    ``candidates`` yields the offsets after a bad ``offset`` where a frame with a sequence in
    ``low..high`` could stand. Both take linear time in all."""

    name: str
    blank_slot: bytes
    nothing: str  # why there is no frame where only zeros follow

    def header(self, header: SegmentHeader) -> tuple[bytes, int]: ...
    def parse_header(self, slot: bytes) -> SegmentHeader | None: ...
    def frame(
        self, seed: int, sequence: int, lag: int, kind: int, payload: Buffer
    ) -> tuple[bytes, int]: ...
    def batch(
        self, seed: int, sequence: int, lag: int, kind: int, payloads: Sequence[Buffer]
    ) -> tuple[bytes, int]: ...
    def frame_at(
        self, reader: Reader, offset: int, seed: int, low: int, high: int
    ) -> Frame | str: ...
    def candidates(self, reader: Reader, offset: int, low: int, high: int) -> Iterator[int]: ...


class BinaryCodec:
    name = "binary"
    blank_slot = bytes(binary.SLOT)
    nothing = "zeros where a frame should be"

    def header(self, header: SegmentHeader) -> tuple[bytes, int]:
        return binary.encode_header(header)

    def parse_header(self, slot: bytes) -> SegmentHeader | None:
        return binary.decode_header(slot)

    def frame(
        self, seed: int, sequence: int, lag: int, kind: int, payload: Buffer
    ) -> tuple[bytes, int]:
        return binary.encode_frame(seed, sequence, lag, kind, binary.as_bytes(payload))

    def batch(
        self, seed: int, sequence: int, lag: int, kind: int, payloads: Sequence[Buffer]
    ) -> tuple[bytes, int]:
        payload = binary.batch_payload([binary.as_bytes(payload) for payload in payloads])
        return binary.encode_frame(seed, sequence, lag, kind, payload, len(payloads))

    def frame_at(self, reader: Reader, offset: int, seed: int, low: int, high: int) -> Frame | str:
        head = bytes(reader.at(offset, FRAME_HEADER))
        fields = binary.decode_frame_header(seed, head)
        if fields is None:
            return "frame header checksum" if any(head) else self.nothing
        kind, flags, count, length, sequence, lag = fields
        if not low <= sequence <= high:
            return f"sequence {sequence} where {low} should be"
        whole = reader.at(offset + FRAME_HEADER, length + 4)
        payload, crc = whole[:length], int.from_bytes(whole[-4:], "little")
        payloads: list[memoryview] | None = None
        if len(whole) == length + 4 and crc == binary.payload_crc(seed, sequence, payload):
            payloads = binary.split_batch(payload, count) if flags else [payload]
        size = binary.frame_size(length)
        return Frame(offset, size, sequence, count, lag, kind, payloads, crc)

    def candidates(self, reader: Reader, offset: int, low: int, high: int) -> Iterator[int]:
        """8 bytes into a frame stands its sequence, the only field known beforehand."""
        offset += 8
        while (offset := reader.skip_zeros(offset) & ~7) + FRAME_HEADER <= reader.limit:
            filled = reader.filled(offset) - offset + 15 & ~7  # the last sequence is not zero
            chunk = reader.at(offset, min(CHUNK, filled) + FRAME_HEADER - 8)
            for index in plausible(chunk, low, high):
                yield offset + 8 * index
            offset += 8 * (len(chunk) // 8 - 2)


def plausible(chunk: memoryview, low: int, high: int) -> list[int]:
    """The 8-byte words of ``chunk`` (but the last two) that could begin a frame. Many all at once,
    by numpy; it is imported here because only a damaged log needs it, and its threads make every
    system call of a process dearer."""
    if len(chunk) <= FEW:
        some = struct.unpack_from(f"<{len(chunk) // 8}Q", chunk)
        places = enumerate(some[1:-1])
        return [index for index, word in places if low <= word <= high and some[index]]

    import numpy as np

    words = np.frombuffer(chunk, "<u8", len(chunk) // 8)
    heads, sequences = words[:-2], words[1:-1]
    fits = (sequences >= low) & (sequences <= high) & (heads != 0)
    found: list[int] = np.flatnonzero(fits).tolist()
    return found


class Lines(Protocol):
    """A module that makes lines and reads them."""

    def encode_header(self, header: SegmentHeader) -> tuple[bytes, int]: ...
    def decode_header(self, slot: bytes) -> SegmentHeader | None: ...
    def encode_line(
        self,
        seed: int,
        sequence: int,
        lag: int,
        kind: int,
        payloads: Sequence[bytes],
        batch: bool,
    ) -> tuple[bytes, int]: ...
    def decode_line(self, seed: int, line: bytes, offset: int) -> Frame | None: ...


class LineCodec:
    """One line per frame; how a line looks is told by ``lines``."""

    blank_slot = text.BLANK_SLOT
    nothing = "zeros where a line should be"

    def __init__(self, name: str, lines: Lines) -> None:
        self.name = name
        self._lines = lines

    def header(self, header: SegmentHeader) -> tuple[bytes, int]:
        return self._lines.encode_header(header)

    def parse_header(self, slot: bytes) -> SegmentHeader | None:
        return self._lines.decode_header(slot)

    def frame(
        self, seed: int, sequence: int, lag: int, kind: int, payload: Buffer
    ) -> tuple[bytes, int]:
        parts = [binary.as_bytes(payload)]
        return self._lines.encode_line(seed, sequence, lag, kind, parts, batch=False)

    def batch(
        self, seed: int, sequence: int, lag: int, kind: int, payloads: Sequence[Buffer]
    ) -> tuple[bytes, int]:
        parts = [binary.as_bytes(payload) for payload in payloads]
        return self._lines.encode_line(seed, sequence, lag, kind, parts, batch=True)

    def frame_at(self, reader: Reader, offset: int, seed: int, low: int, high: int) -> Frame | str:
        end = reader.line_end(offset)
        if end < 0:
            first = reader.at(offset, 1)
            return "a line without an end" if any(first) else self.nothing
        if end == offset:  # the empty line before a footer belongs to it
            end = reader.line_end(offset + 1)
        line = bytes(reader.at(offset, max(0, end - offset)))
        frame = self._lines.decode_line(seed, line, offset)
        if frame is None:
            return "line checksum"
        if not low <= frame.sequence <= high:
            return f"sequence {frame.sequence} where {low} should be"
        return frame

    def candidates(self, reader: Reader, offset: int, low: int, high: int) -> Iterator[int]:
        """The starts of the next lines: after a newline, or after a run of zeros."""
        while (offset := reader.next_line(offset)) < reader.limit:
            yield offset


CODECS: dict[str, Codec] = {
    "binary": BinaryCodec(),
    "text": LineCodec("text", text),
    "jsonl": LineCodec("jsonl", jsonl),
}
