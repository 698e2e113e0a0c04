"""The bytes of draws in a log, and what recovery says to bytes that are none."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench_cli.errors import CatalogueError
from bench_cli.interfaces import Item, RecordKind
from tests.contract.pool_backends import TWINS
from tests.rewards.ledger_logs import MemoryLog

ODD_NAMES = ("a b", "line\nend", "tab\t", "50%", "Gewinn für Zoë", "宝", "/?&=", " ", "%20", "DRAW")


@pytest.fixture(params=TWINS, ids=lambda case: case.id)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param.load()


def test_binary_draws_are_little_endian_words(backend: Any) -> None:
    log = MemoryLog()
    pool = backend.open([Item("no", 1, 0), Item("yes")], seed=1, log=log)
    pool.draw()
    pool.draw_many(2)
    assert log.records == [
        (RecordKind.DRAW, bytes([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])),
        (RecordKind.DRAWS, bytes([2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])),
    ]


@pytest.mark.parametrize("log_format", ["text", "jsonl"])
def test_draws_in_lines_are_the_words_of_the_page_with_quoted_names(
    backend: Any, log_format: str
) -> None:
    log = MemoryLog(format=log_format)
    pool = backend.open([Item("gold coin\n50%")], seed=1, log=log)
    pool.draw()
    pool.draw_many(2)
    assert log.records == [
        (RecordKind.DRAW, b"DRAW 1 gold%20coin%0A50%25"),
        (RecordKind.DRAWS, b"DRAWS 2 gold%20coin%0A50%25 gold%20coin%0A50%25"),
    ]


@pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])
def test_any_name_survives_the_log(backend: Any, log_format: str) -> None:
    items = [Item(name, 1, 4) for name in ODD_NAMES]
    log = MemoryLog(format=log_format)
    pool = backend.open(items, seed=1, log=log)
    for _ in range(15):
        pool.draw()
    pool.draw_many(10)
    again = backend.open(items, seed=1)
    again.read_as(log_format)
    for sequence, (kind, payload) in enumerate(log.records, 1):
        again.replay(sequence, kind, memoryview(payload))
    assert (again.stock(), again.drawn) == (pool.stock(), 25)


payloads = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda first, rest: first.to_bytes(8, "little") + rest,
        st.integers(0, 3),
        st.binary(max_size=16),
    ),
    st.builds(
        lambda verb, words: b" ".join([verb, *words]),
        st.sampled_from([b"DRAW", b"DRAWS", b"draw", b""]),
        st.lists(st.sampled_from([b"1", b"a", b"b%20c", b"b c", b"+1", b"-1", b"", b"9" * 30])),
    ),
)


@pytest.mark.parametrize("log_format", ["binary", "text", "jsonl"])
@settings(max_examples=300, derandomize=True, deadline=None)
@given(kind=st.sampled_from([RecordKind.DRAW, RecordKind.DRAWS]), payload=payloads)
@example(kind=RecordKind.DRAW, payload=b"")
@example(kind=RecordKind.DRAWS, payload=b"\x01" + bytes(7))
@example(kind=RecordKind.DRAWS, payload=b"\x01" + bytes(7) + b"\x02\0\0\0")
@example(kind=RecordKind.DRAWS, payload=struct.pack("<Q4I", 1, 1, 1, 0, 0))
@example(kind=RecordKind.DRAW, payload=b"DRAW 1 a b%20c")
@example(kind=RecordKind.DRAW, payload=b"DRAW 1 ")
@example(kind=RecordKind.DRAW, payload="DRAW ¹ a".encode())
def test_any_payload_is_a_draw_or_a_catalogue_error_in_both_twins(
    log_format: str, kind: int, payload: bytes
) -> None:
    outcomes = []
    for case in TWINS:
        pool = case.load().open([Item("a", 1, 1), Item("b c", 1, 2)], seed=1)
        pool.read_as(log_format)
        try:
            pool.replay(1, kind, memoryview(payload))
            outcomes.append((pool.drawn, pool.stock()))
        except CatalogueError as error:
            outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]
