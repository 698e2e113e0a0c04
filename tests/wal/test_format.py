"""The bytes themselves: samples that must never change, limits, and the checksum."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.wal import format as fmt
from bench_cli.wal import text
from bench_cli.wal.codec import CODECS

SALT = 0x0123456789ABCDEF
SEED = fmt.salt_seed(SALT)
HEADER = fmt.SegmentHeader(7, SALT, 42, 1 << 20)


@pytest.fixture
def native() -> Iterator[Any]:
    module = pytest.importorskip("bench_cli.wal.native", reason="the compiled log is not built")
    yield module
    module.use_hardware(True)


def test_the_checksum_is_crc_32c() -> None:
    assert fmt.crc32c(b"123456789") == 0xE3069283
    assert fmt.crc32c(b"6789", fmt.crc32c(b"12345")) == 0xE3069283


@pytest.mark.parametrize("hardware", [True, False])
def test_the_compiled_checksum_agrees_at_every_length(native: Any, hardware: bool) -> None:
    native.use_hardware(hardware)
    data = bytes(index * 37 % 251 for index in range(12_500))
    for length in [*range(1100), *range(4000, 4100), *range(8000, 8200), 12_500]:
        for start in (0, 1, 5):
            part = data[start : start + length]
            assert native.crc32c(part, length) == fmt.crc32c(part, length)


def test_frames_are_the_same_without_the_instruction(native: Any, tmp_path: Any) -> None:
    logs = importlib.import_module("tests.contract.log_backends")
    native.use_hardware(False)
    log = native.MmapBackend(salts=lambda: 5).open(tmp_path / "log", logs.small())
    payloads = [bytes(range(length % 256)) * (1 + length // 256) for length in range(0, 600, 7)]
    for payload in payloads:
        log.append(payload)
    log.append_many(payloads[:20])
    log.close()
    native.use_hardware(True)
    found = logs.read(native.MmapBackend(), tmp_path / "log", logs.small())[1]
    assert [payload for _, _, payload in found] == payloads + payloads[:20]


def test_a_frame_on_disk_looks_like_this() -> None:
    frame, crc = fmt.encode_frame(SEED, 9, 3, 6, b"twelve bytes")
    assert len(frame) == 40
    assert frame[:20].hex() == "060001000c0000000900000000000000" + "03000000"
    assert frame[24:36] == b"twelve bytes"
    assert frame[36:] == crc.to_bytes(4, "little")
    assert frame.hex()[40:48] == fmt.crc32c(frame[:20], SEED).to_bytes(4, "little").hex()
    assert crc == fmt.crc32c(b"\x09" + bytes(7) + b"twelve bytes", SEED)


def test_a_header_on_disk_looks_like_this() -> None:
    slot, crc = fmt.encode_header(HEADER)
    assert len(slot) == 512
    assert slot[:16].hex() == b"BENCHWAL".hex() + "0100fffe01000000"
    assert slot[48:52] == crc.to_bytes(4, "little")
    decoded = fmt.decode_header(slot)
    assert decoded == fmt.SegmentHeader(7, SALT, 42, 1 << 20, crc)


def test_a_line_on_disk_looks_like_this() -> None:
    line, _ = text.encode_line(SEED, 17, 4, 6, [b"DRAW 17 gold%20coin"], batch=False)
    assert line[8:] == b" 17 4 draw DRAW 17 gold%20coin\n"
    line, _ = text.encode_line(SEED, 1, fmt.NOTHING_DURABLE, 99, [b"a\n", b"\xff\\"], batch=True)
    assert line[8:] == b" 1 - 99*2 a\\n\t\\xff\\\\\n"


@pytest.mark.parametrize("format", ["binary", "text", "jsonl"])
def test_no_flipped_bit_of_a_header_goes_unnoticed(format: str) -> None:
    slot, _ = CODECS[format].header(HEADER)
    used = 52 if format == "binary" else 512
    for bit in range(used * 8):
        damaged = bytearray(slot)
        damaged[bit // 8] ^= 1 << bit % 8
        assert CODECS[format].parse_header(bytes(damaged)) is None


def test_a_header_of_another_version_or_byte_order_is_not_read() -> None:
    slot, _ = fmt.encode_header(HEADER)
    for at, value in ((8, b"\x02\0"), (10, b"\xfe\xff")):
        body = bytearray(slot[:48])
        body[at : at + 2] = value
        assert (
            fmt.decode_header(bytes(body) + fmt.crc32c(bytes(body)).to_bytes(4, "little")) is None
        )


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_link_on_disk_looks_like_this(codec: Any) -> None:
    link, crc = codec.frame(SEED, 43, 2, fmt.FOOTER, fmt.encode_link(0xCAFE))
    assert b"0000cafe" in link
    assert len(link) <= fmt.LINK_ROOM
    payload = memoryview(b"0000cafe")
    frame = fmt.Frame(0, len(link), 43, 1, 2, fmt.FOOTER, [payload], crc)
    assert (fmt.decode_link(frame), frame.durable) == (0xCAFE, 40)
    longest, _ = codec.frame(SEED, (1 << 63) - 1, (1 << 32) - 2, fmt.FOOTER, b"ffffffff")
    assert len(longest) <= fmt.LINK_ROOM


@pytest.mark.parametrize("payload", [b"", b"0000caf", b"0000CAFE", b"0000cafe0"])
def test_what_is_no_chain_value_makes_no_link(payload: bytes) -> None:
    frame = fmt.Frame(0, 40, 43, 1, 2, fmt.FOOTER, [memoryview(payload)], 0)
    assert fmt.decode_link(frame) is None
    record = fmt.Frame(0, 40, 43, 1, 2, 1, [memoryview(b"0000cafe")], 0)
    assert fmt.decode_link(record) is None


def test_the_lag_saturates_and_then_promises_nothing() -> None:
    assert fmt.lag_of(10, 9) == 0
    assert fmt.lag_of(1 << 32, 0) == fmt.NOTHING_DURABLE
    assert fmt.lag_of(1 << 40, 0) == fmt.NOTHING_DURABLE
    frame = fmt.Frame(0, 32, 1 << 40, 1, fmt.NOTHING_DURABLE, 1, None, 0)
    assert frame.durable == 0
    assert fmt.Frame(0, 32, 100, 1, 9, 1, None, 0).durable == 90


def test_a_batch_whose_lengths_do_not_add_up_is_no_batch() -> None:
    whole = fmt.batch_payload([b"one", b"", b"three"])
    assert fmt.split_batch(memoryview(whole), 3) == [b"one", b"", b"three"]
    assert fmt.split_batch(memoryview(whole + b"x"), 3) is None
    assert fmt.split_batch(memoryview(whole[:8]), 3) is None


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(payload=st.binary(max_size=40))
def test_every_payload_survives_escaping_as_one_clean_line(payload: bytes) -> None:
    escaped = text.escape(payload)
    assert text.unescape(escaped) == payload
    readable = escaped.decode("utf-8")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in readable)


@pytest.mark.parametrize("bad", [rb"\q", b"\\", rb"\x4", rb"\xZZ"])
def test_an_escape_that_is_never_written_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError):
        text.unescape(bad)
