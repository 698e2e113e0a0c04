"""What a log keeps of a cache's operations: encodings that must never change, and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from bench_cli import payloads
from bench_cli.errors import RecordTooLarge


def test_payloads_on_disk_look_like_this() -> None:
    write = payloads.encode_write("ü", 258, bytearray(b"data"))
    assert write == b"\x02\x01" + bytes(6) + b"\x02\0\0\0" + b"\xc3\xbc" + b"data"
    assert payloads.encode_remove("\udcff") == b"\xff"
    assert payloads.encode_truncate("n", 3) == b"\x03" + bytes(7) + b"n"
    assert payloads.encode_uploaded("n", 1, 2) == b"\x01" + bytes(7) + b"\x02" + bytes(7) + b"n"


def test_what_was_encoded_is_decoded() -> None:
    write = payloads.decode_write(memoryview(payloads.encode_write("a/ü", 1 << 40, b"data")))
    assert write == ("a/ü", 1 << 40, b"data")
    assert payloads.decode_remove(memoryview(payloads.encode_remove("\udcff"))) == "\udcff"
    assert payloads.decode_truncate(memoryview(payloads.encode_truncate("n", 7))) == ("n", 7)
    uploaded = payloads.decode_uploaded(memoryview(payloads.encode_uploaded("n", 7, 9)))
    assert uploaded == ("n", 7, 9)


@pytest.mark.parametrize(
    ("decode", "payload"),
    [
        (payloads.decode_write, b"short"),
        (payloads.decode_write, bytes(8) + b"\xff\xff\0\0" + b"name"),
        (payloads.decode_truncate, b"short"),
        (payloads.decode_uploaded, b"shorter than 16"),
    ],
)
def test_a_payload_of_another_kind_is_a_value_error(decode: Any, payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode(memoryview(payload))


def test_numbers_and_names_beyond_their_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        payloads.write_head("n", 1 << 63)
    with pytest.raises(ValueError, match="generation"):
        payloads.encode_uploaded("n", 0, -1)
    with pytest.raises(RecordTooLarge) as refused:
        payloads.encode_remove("n" * 65_536)
    assert (refused.value.size, refused.value.limit) == (65_536, 65_535)
