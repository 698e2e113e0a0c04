"""Lines of the JSON Lines format: what they look like, and lines no log ever writes."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.interfaces import LogOptions
from bench_cli.wal import format as fmt
from bench_cli.wal import jsonl, text
from tests.contract.log_backends import STORED, Records, label, load, read

PLACES = ("bench_cli.wal.log:BasicBackend", "bench_cli.wal.native:BasicBackend")
SALT = 5
SEED = fmt.salt_seed(SALT)
OPTIONS = LogOptions("jsonl", 1 << 20)
HEAD = b',"seq":%d,"lag":0,"kind":"data",'


def written(bodies: list[bytes], directory: Path) -> None:
    """A segment of lines with these bodies, each with its checksum."""
    header, _ = jsonl.encode_header(fmt.SegmentHeader(1, SALT, 1, OPTIONS.segment_size))
    lines = [b'{"crc":"%08x"%b\n' % (fmt.crc32c(body, SEED), body) for body in bodies]
    (directory / "00000001.wal").write_bytes(header + text.BLANK_SLOT + b"".join(lines))


def read_by_both(bodies: list[bytes], directory: Path) -> Records:
    written(bodies, directory)
    results = [read(load(place), directory, OPTIONS) for place in PLACES]
    assert results[0] == results[1]
    return results[0][1]


def test_a_line_on_disk_looks_like_this() -> None:
    line, crc = jsonl.encode_line(SEED, 17, 4, 6, [b"DRAW 17 gold%20coin"], batch=False)
    assert line == (
        b'{"crc":"%08x","seq":17,"lag":4,"kind":"draw","data":"DRAW 17 gold%%20coin"}\n' % crc
    )
    payloads = ["a\n\0\x7f\x85 \u00fc".encode(), b"\xff\\"]
    line, _ = jsonl.encode_line(SEED, 1, fmt.NOTHING_DURABLE, 99, payloads, batch=True)
    assert line[17:] == (
        b',"seq":1,"lag":null,"kind":99,"batch":'
        b'["a\\n\\u0000\\u007f\\u0085 \xc3\xbc",{"base64":"/1w="}]}\n'
    )


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(payloads=st.lists(st.one_of(st.binary(), st.text().map(str.encode)), min_size=1, max_size=4))
def test_any_payload_comes_back_from_a_line_of_one_object(payloads: list[bytes]) -> None:
    line, crc = jsonl.encode_line(SEED, 9, 2, 1, payloads, batch=True)
    assert b"\n" not in line[:-1] and b"\0" not in line
    found = jsonl.decode_line(SEED, line[:-1], 0)
    assert found is not None and found.payloads is not None
    assert [bytes(payload) for payload in found.payloads] == payloads
    assert (found.sequence, found.lag, found.count, found.crc) == (9, 2, len(payloads), crc)
    values = json.loads(line)["batch"]
    assert payloads == [
        value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
        for value in values
    ]


@pytest.mark.parametrize("place", STORED, ids=label)
def test_a_closed_log_is_json_from_its_first_line_to_its_last(place: str, tmp_path: Path) -> None:
    log = load(place).open(tmp_path / "log", OPTIONS)
    log.append(b"one")
    log.append_many([b"two", b"\xff"], 7)
    log.close()
    whole = (tmp_path / "log" / "00000001.wal").read_bytes().rstrip(b"\0")
    objects = [json.loads(line) for line in whole.splitlines() if line.strip()]
    assert [item.get("log") for item in objects] == ["BENCHWAL", None, None, None]
    assert [item["kind"] for item in objects[1:]] == ["data", "draws", "mark"]
    assert [item["seq"] for item in objects[1:]] == [1, 2, 4]


def test_no_flipped_bit_of_a_line_goes_unnoticed() -> None:
    line, _ = jsonl.encode_line(SEED, 17, 4, 6, [b"DRAW 17 coin", b"\xff"], batch=True)
    for bit in range((len(line) - 1) * 8):
        damaged = bytearray(line[:-1])
        damaged[bit // 8] ^= 1 << bit % 8
        assert jsonl.decode_line(SEED, bytes(damaged), 0) is None


@pytest.mark.parametrize(
    "rest",
    [
        b'"data":7}',
        b'"data":null}',
        b'"data":["a"]}',
        b'"data":"a',
        b'"data":"\\ud800"}',
        b'"data":"\\q"}',
        b'"data":"\xff"}',
        b'"data":{"base64":"!"}}',
        b'"data":{"base64":"YQ"}}',
        b'"data":{"base64":"YQ==","more":1}}',
        b'"data":{"text":"a"}}',
        b'"data":"a","seq":3}',
        b'"batch":[]}',
        b'"batch":"a"}',
        b'"batch":["a",1]}',
        b'"batch":{"base64":"YQ=="}}',
        b'"data":' + b"[" * 100_000 + b"}",
        b'"data":' + b"9" * 10_000 + b"}",
        b'"batch":[' + b'"",' * fmt.MAX_BATCH + b'""]}',
    ],
    ids=lambda rest: repr(rest[:40]),
)
def test_a_line_without_a_payload_is_no_record(rest: bytes, tmp_path: Path) -> None:
    bodies = [HEAD % 1 + b'"data":"good"}', HEAD % 2 + rest]
    assert read_by_both(bodies, tmp_path) == [(1, 1, b"good")]


@pytest.mark.parametrize("kind", [b"0", b"256", b'"mark"', b'"drew"', b'"1"', b"-1", b"null"])
def test_a_line_of_no_kind_is_no_record(kind: bytes, tmp_path: Path) -> None:
    body = b',"seq":1,"lag":0,"kind":%b,"data":"a"}' % kind
    assert read_by_both([body], tmp_path) == []


def test_a_line_longer_than_any_window_is_one_record(tmp_path: Path) -> None:
    long = b"x" * 300_000
    bodies = [HEAD % at + b'"data":"%b"}' % data for at, data in ((1, b"a"), (2, long), (3, b"c"))]
    assert read_by_both(bodies, tmp_path) == [(1, 1, b"a"), (2, 1, long), (3, 1, b"c")]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads that take turns as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", [place for place in STORED if "native" in place], ids=label)
def test_threads_that_append_at_once_lose_and_mix_nothing(place: str, tmp_path: Path) -> None:
    backend: Any = load(place)
    log = backend.open(tmp_path / "log", LogOptions("jsonl", 64 << 10))
    numbers: list[list[int]] = [[], [], [], []]

    def work(mine: int) -> None:
        for index in range(2000):
            numbers[mine].append(log.append(b"%d of %d" % (index, mine)))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found, records = read(backend, tmp_path / "log", OPTIONS)
    assert found.tail == "clean"
    kept = {sequence: payload for sequence, _, payload in records}
    assert sorted(kept) == list(range(1, 8001))
    for mine, given_out in enumerate(numbers):
        assert [kept[at] for at in given_out] == [b"%d of %d" % (i, mine) for i in range(2000)]
