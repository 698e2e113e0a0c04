"""Lines no log ever writes but whose checksum holds: both twins read them by the same rules."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench_cli.interfaces import LogOptions
from bench_cli.wal import format as fmt
from bench_cli.wal import text
from tests.contract.log_backends import Records, load, read

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
PLACES = ("bench_cli.wal.log:BasicBackend", "bench_cli.wal.native:BasicBackend")
SALT = 5
OPTIONS = LogOptions("text", 1 << 20)

NUMBER = st.sampled_from([b"1", b"01", b"2", b"-", b"", b"4294967295", b"4294967296", b"9" * 19])
WORD = st.sampled_from([b"data", b"draw", b"mark", b"1", b"0", b"255", b"254", b"dat", b"data1"])
TIMES = st.sampled_from([b"", b"", b"*1", b"*2", b"*0", b"*65535", b"*70000", b"*", b"*02"])
PIECES = (b"plain", b" ", b"41", b"n", b"x41", b"\t", b"\xff", "ü".encode(), b"\\", b"\\\\")
ESCAPES = (b"\\n", b"\\t", b"\\x", b"\\x41", b"\\x4", b"\\xFF", b"\\x4G", b"\\q", b"\\x5c")
BODY = st.lists(st.sampled_from(PIECES + ESCAPES), max_size=8).map(b"".join)


def written(bodies: list[bytes], directory: Path) -> None:
    """A segment of lines with these bodies, each with its checksum."""
    header, _ = text.encode_header(fmt.SegmentHeader(1, SALT, 1, OPTIONS.segment_size))
    seed = fmt.salt_seed(SALT)
    lines = [b"%08x %b\n" % (fmt.crc32c(body, seed), body) for body in bodies]
    (directory / "00000001.wal").write_bytes(header + text.BLANK_SLOT + b"".join(lines))


def read_by_both(bodies: list[bytes]) -> Records:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        written(bodies, Path(directory))
        results = [read(load(place), Path(directory), OPTIONS) for place in PLACES]
    assert results[0] == results[1]
    return results[0][1]


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(sequence=NUMBER, lag=NUMBER, word=WORD, times=TIMES, body=BODY)
@example(sequence=b"1", lag=b"0", word=b"data", times=b"*2", body=b"\\x41\t\\\\")
@example(sequence=b"1", lag=b"0", word=b"data", times=b"", body=b"a\t\\t\\x0a")
@example(sequence=b"1", lag=b"0", word=b"data", times=b"*2", body=b"a\tb\tc")
def test_twins_read_a_line_that_was_never_written_alike(
    sequence: bytes, lag: bytes, word: bytes, times: bytes, body: bytes
) -> None:
    line = b"%b %b %b%b %b" % (sequence, lag, word, times, body)
    read_by_both([line, b"2 0 data the next"])


def test_numbers_and_escapes_that_mean_the_same_are_the_same_record() -> None:
    lines = [b"1 0 data \\x41", b"02 - 1 A", b"3 2 1*02 \\x09\tB", b"5 4 254 tab\there"]
    assert read_by_both(lines) == [
        (1, 1, b"A"),
        (2, 1, b"A"),
        (3, 1, b"\t"),
        (4, 1, b"B"),
        (5, 254, b"tab\there"),
    ]


@pytest.mark.parametrize("body", [b"\\", b"a\\x4", b"\\x4G", b"\\q", b"\\x4\\\\1", b"\\u0041"])
def test_a_line_with_an_escape_that_is_never_written_is_no_record(body: bytes) -> None:
    assert read_by_both([b"1 0 data good", b"2 0 data " + body]) == [(1, 1, b"good")]


def test_a_line_longer_than_any_window_is_one_record() -> None:
    long = b"x" * 300_000
    assert read_by_both([b"1 0 data a", b"2 0 data " + long, b"3 0 data c"])[1:] == [
        (2, 1, long),
        (3, 1, b"c"),
    ]
