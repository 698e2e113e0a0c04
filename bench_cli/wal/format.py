"""The bytes of a log: segment headers and binary frames. Payloads are in ``payloads.py``.

Everything is little-endian. Checksums are CRC-32C seeded with the segment's random salt, so that
bytes of an earlier life of the same blocks never pass as records.

A segment file is named by its number (``00000001.wal``)::

    0          512        1024                                  capacity
    | slot A   | slot B   | frame | frame | ... | zeros ........ |

The header stands in one of two slots, each in a disk sector of its own. Emptying a log in place
writes the *other* slot: a torn write leaves the old header, hence the old log, whole. Which slot
counts is told by the number in it and the number in the file's name (see ``choose_header``).

A header slot of the binary format::

    0        8         10       12      16       24     32               40         48    52
    | magic  | version | endian | flags | number | salt | first sequence | capacity | crc |

``flags`` bit 0 marks a base: nothing before this segment belongs to the log, and its records begin
with ``first sequence``. The header of any other segment is written before it is needed, and has
zero there. When those before it are removed it is made a base: the same header with its first
sequence and ``flags`` bit 1 goes into the other slot. Such a segment begins with a link: a frame of
the kind ``FOOTER`` whose sequence is that of the first record, and whose payload is the chain value
in 8 hexadecimal digits. That is the checksum of the last frame of the segment before, so that a
segment from another history does not pass as the next one; its lag says up to where the segments
before were known to be durable.

A frame of the binary format, 8-byte aligned::

    0      1       2       4        8          16    20           24        24+length
    | kind | flags | count | length | sequence | lag | header crc | payload | payload crc | pad |

``lag`` is sequence - 1 - (highest sequence known durable when this was written): 4 bytes give the
durable watermark back. The header has a checksum of its own so that ``length`` can be trusted
when the payload is damaged. A batch (flag bit 0) is one frame, hence atomic: its payload is
``count`` 4-byte lengths followed by the payloads, and it takes ``count`` sequence numbers.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from google_crc32c import extend as _extend

from bench_cli.interfaces import Buffer

MAGIC = b"BENCHWAL"
VERSION = 1
ENDIAN_TAG = 0xFEFF  # reads as 0xFFFE where the byte order was swapped
BASE = 1
LINKED = 2  # a base that begins with a link all the same
SLOT = 512  # the smallest unit a disk writes: a torn write never spans two slots
DATA_START = 2 * SLOT
MAX_SEGMENT = 1 << 30  # bounds what a reader of a hostile sparse file has to look at
MIN_SEGMENT = 4096
FOOTER_ROOM = 128  # kept free at the end of a segment for the clean-close mark of any format
LINK_ROOM = 128  # what the link at the start of a segment takes at most, in any format
FOOTER = 255  # kind of the clean-close mark, and of links; never delivered
MAX_KIND = 254
BATCH = 1
NOTHING_DURABLE = 0xFFFFFFFF  # a lag that does not fit: promises nothing
MAX_SEQUENCE = (1 << 64) - 1
MAX_BATCH = 65_535  # count is two bytes

_HEADER = struct.Struct("<8sHHIQQQQ")
_FRAME = struct.Struct("<BBHIQI")
FRAME_HEADER = _FRAME.size + 4
FRAME_OVERHEAD = FRAME_HEADER + 4
_U32 = struct.Struct("<I")
_LINK = re.compile(rb"[0-9a-f]{8}")
_U64 = struct.Struct("<Q")


def new_salt() -> int:
    return int.from_bytes(os.urandom(8), "little")


def crc32c(data: Buffer, seed: int = 0) -> int:
    value: int = _extend(seed, as_bytes(data))
    return value


def as_bytes(data: Buffer) -> bytes:
    """Raises TypeError for what is no buffer (``bytes(5)`` would be five zeros)."""
    return data if isinstance(data, bytes) else memoryview(data).tobytes()


def salt_seed(salt: int) -> int:
    """What every checksum of a segment starts from."""
    return crc32c(_U64.pack(salt))


# --- segment header --------------------------------------------------------------------------


@dataclass(slots=True)
class SegmentHeader:
    number: int
    salt: int
    first_sequence: int  # 0: not a base
    capacity: int  # bytes preallocated for the file
    crc: int = 0  # its own checksum, set by encoding and decoding
    link_kept: bool = False  # a base that was made one later

    @property
    def base(self) -> bool:
        return self.first_sequence > 0

    @property
    def linked(self) -> bool:
        return not self.base or self.link_kept

    @property
    def flags(self) -> int:
        return (BASE | LINKED if self.link_kept else BASE) if self.base else 0

    @classmethod
    def of(
        cls, number: int, salt: int, first_sequence: int, capacity: int, flags: int, crc: int
    ) -> SegmentHeader | None:
        """None for fields that are never written."""
        known = (BASE, BASE | LINKED) if first_sequence else (0,)
        if flags not in known or not MIN_SEGMENT <= capacity <= MAX_SEGMENT:
            return None
        return cls(number, salt, first_sequence, capacity, crc, flags > BASE)


def segment_name(number: int) -> str:
    return f"{number:08d}.wal"


def encode_header(header: SegmentHeader) -> tuple[bytes, int]:
    """(a slot of 512 bytes, its checksum)."""
    body = _HEADER.pack(
        MAGIC,
        VERSION,
        ENDIAN_TAG,
        header.flags,
        header.number,
        header.salt,
        header.first_sequence,
        header.capacity,
    )
    crc = crc32c(body)
    return (body + _U32.pack(crc)).ljust(SLOT, b"\0"), crc


def decode_header(slot: bytes) -> SegmentHeader | None:
    """None when the slot holds no header of this version."""
    if len(slot) < _HEADER.size + 4 or not slot.startswith(MAGIC):
        return None
    crc: int = _U32.unpack_from(slot, _HEADER.size)[0]
    _, version, endian, flags, number, salt, first, capacity = _HEADER.unpack_from(slot)
    if (version, endian) != (VERSION, ENDIAN_TAG) or _extend(0, slot[: _HEADER.size]) != crc:
        return None
    return SegmentHeader.of(number, salt, first, capacity, flags, crc)


def choose_header(
    slots: Sequence[SegmentHeader | None], number: int
) -> tuple[int, SegmentHeader] | None:
    """(index, header) of the slot that counts in the file called ``number``: the rename is what
    makes an emptying happen. A valid header of any other number is what an emptying left behind
    (or what one that never happened prepared), and must not be used: the frames that follow were
    written under the other slot, which is then damaged. Where both have the number, the base was
    written later, when the segments before were removed."""
    chosen = None
    for index, header in enumerate(slots):
        if header and header.number == number and (chosen is None or header.base):
            chosen = index, header
    return chosen


# --- frames ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Frame:
    """One frame found on disk. ``payload`` is None when its checksum does not hold: then only
    the header (extent, sequence, lag) can be trusted."""

    offset: int
    size: int
    sequence: int
    count: int
    lag: int
    kind: int
    payloads: Sequence[memoryview] | None
    crc: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def durable(self) -> int:
        """The highest sequence that was known durable when this frame was written."""
        return 0 if self.lag == NOTHING_DURABLE else self.sequence - 1 - self.lag


def lag_of(sequence: int, durable: int) -> int:
    return min(sequence - 1 - durable, NOTHING_DURABLE)


def frame_size(payload_length: int) -> int:
    return (FRAME_OVERHEAD + payload_length + 7) & ~7


def batch_payload(payloads: Sequence[bytes]) -> bytes:
    sizes = [len(payload) for payload in payloads]
    return b"".join((struct.pack(f"<{len(sizes)}I", *sizes), *payloads))


def split_batch(payload: memoryview, count: int) -> list[memoryview] | None:
    """The payloads of a batch; None when the lengths do not add up."""
    if count * 4 > len(payload):
        return None
    sizes = struct.unpack_from(f"<{count}I", payload)
    if sum(sizes) != len(payload) - 4 * count:
        return None
    parts, start = [], 4 * count
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    return parts


def encode_frame(
    seed: int, sequence: int, lag: int, kind: int, payload: bytes, count: int = 0
) -> tuple[bytes, int]:
    """(frame, its checksum). ``count`` > 0 marks ``payload`` as a batch of that many."""
    flags = BATCH if count else 0
    head = _FRAME.pack(kind, flags, count or 1, len(payload), sequence, lag)
    crc = payload_crc(seed, sequence, payload)
    pad = frame_size(len(payload)) - FRAME_OVERHEAD - len(payload)
    head_crc = _U32.pack(crc32c(head, seed))
    return b"".join((head, head_crc, payload, _U32.pack(crc), bytes(pad))), crc


def payload_crc(seed: int, sequence: int, payload: Buffer) -> int:
    value: int = _extend(_extend(seed, _U64.pack(sequence)), as_bytes(payload))
    return value


def decode_frame_header(seed: int, head: bytes) -> tuple[int, int, int, int, int, int] | None:
    """(kind, flags, count, length, sequence, lag), None when it is no frame header."""
    if len(head) < FRAME_HEADER or head[0] == 0:
        return None
    if _extend(seed, head[: _FRAME.size]) != _U32.unpack_from(head, _FRAME.size)[0]:
        return None
    kind, flags, count, length, sequence, lag = _FRAME.unpack_from(head)
    if flags & ~BATCH or count == 0 or (count > 1 and not flags):
        return None
    return kind, flags, count, length, sequence, lag


# --- links -----------------------------------------------------------------------------------


def encode_link(chain: int) -> bytes:
    return b"%08x" % chain


def decode_link(frame: Frame) -> int | None:
    """The chain value; None when the frame is no link."""
    if frame.kind != FOOTER or not frame.payloads or not _LINK.fullmatch(frame.payloads[0]):
        return None
    return int(bytes(frame.payloads[0]), 16)
