"""The payloads of file records: what a log keeps of a cache's operations. Every log that says it
has file records uses these, ours and foreign ones, so that a cache recovers from any of them::

    WRITE      | offset u64 | name length u32 | name | data |
    REMOVE     | name |
    TRUNCATE   | size u64 | name |
    UPLOADED   | block u64 | generation u64 | name |

Little-endian. Names are UTF-8; bytes that are not (file names may hold any) travel as surrogate
escapes.
"""

from __future__ import annotations

import struct
from pathlib import Path

from bench_cli.errors import RecordTooLarge
from bench_cli.interfaces import Buffer, LiveFiles, LogBackend, LogOptions, RecordKind, Recovery

MAX_NAME = 65_535
MAX_UNSIGNED = (1 << 63) - 1  # offsets, sizes and block numbers: a file offset is signed

_U64 = struct.Struct("<Q")
_WRITE = struct.Struct("<QI")
_UPLOADED = struct.Struct("<QQ")


def encode_name(name: str) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) > MAX_NAME:
        raise RecordTooLarge(
            f"a file name of {len(encoded)} bytes; the log holds {MAX_NAME}",
            size=len(encoded),
            limit=MAX_NAME,
        )
    return encoded


def _decode_name(encoded: Buffer) -> str:
    return bytes(encoded).decode("utf-8", "surrogateescape")


def _unsigned(what: str, value: int) -> int:
    if not 0 <= value <= MAX_UNSIGNED:
        raise ValueError(f"{what} is {value}, outside 0..{MAX_UNSIGNED}")
    return value


def write_head(name: str, offset: int) -> bytes:
    """The part of a WRITE payload before the data."""
    encoded = encode_name(name)
    return _WRITE.pack(_unsigned("offset", offset), len(encoded)) + encoded


def encode_write(name: str, offset: int, data: Buffer) -> bytes:
    return write_head(name, offset) + bytes(memoryview(data))


def encode_remove(name: str) -> bytes:
    return encode_name(name)


def encode_truncate(name: str, size: int) -> bytes:
    return _U64.pack(_unsigned("size", size)) + encode_name(name)


def encode_uploaded(name: str, block: int, generation: int) -> bytes:
    numbers = _unsigned("block", block), _unsigned("generation", generation)
    return _UPLOADED.pack(*numbers) + encode_name(name)


def decode_write(payload: memoryview) -> tuple[str, int, memoryview]:
    """(name, offset, data). Raises ValueError when the payload is not one."""
    if len(payload) < _WRITE.size:
        raise ValueError(f"a write record of {len(payload)} bytes")
    offset, length = _WRITE.unpack_from(payload)
    start = _WRITE.size + length
    if start > len(payload):
        raise ValueError(f"a name of {length} bytes in a write record of {len(payload)}")
    return _decode_name(payload[_WRITE.size : start]), offset, payload[start:]


def decode_remove(payload: memoryview) -> str:
    return _decode_name(payload)


def decode_truncate(payload: memoryview) -> tuple[str, int]:
    """(name, size). Raises ValueError when the payload is not one."""
    if len(payload) < _U64.size:
        raise ValueError(f"a truncate record of {len(payload)} bytes")
    return _decode_name(payload[_U64.size :]), _U64.unpack_from(payload)[0]


def decode_uploaded(payload: memoryview) -> tuple[str, int, int]:
    """(name, block, generation). Raises ValueError when the payload is not one."""
    if len(payload) < _UPLOADED.size:
        raise ValueError(f"an uploaded record of {len(payload)} bytes")
    block, generation = _UPLOADED.unpack_from(payload)
    return _decode_name(payload[_UPLOADED.size :]), block, generation


# --- what a log's records leave alive --------------------------------------------------------


def live_files(
    backend: LogBackend, directory: Path, options: LogOptions
) -> tuple[Recovery, LiveFiles]:
    """``LogBackend.live_files`` for any log that recovers file records."""
    files: LiveFiles = {}

    def apply(sequence: int, kind: int, payload: memoryview) -> None:
        if kind == RecordKind.WRITE:
            name, offset, data = decode_write(payload)
            files.setdefault(name, []).append((sequence, offset, len(data)))
        elif kind == RecordKind.REMOVE:
            files.pop(decode_remove(payload), None)
        elif kind == RecordKind.TRUNCATE:
            truncate_live(files, *decode_truncate(payload))

    return backend.recover(directory, options, apply), files


def truncate_live(files: LiveFiles, name: str, size: int) -> None:
    if name in files:
        files[name] = [
            (sequence, offset, min(length, size - offset))
            for sequence, offset, length in files[name]
            if offset < size
        ]
