"""What the pool backends say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from bench_cli.errors import UnknownName
from bench_cli.interfaces import Item
from tests.contract.pool_backends import TWINS, Case

both = pytest.mark.parametrize("case", TWINS, ids=lambda case: case.id)


@both
def test_a_backend_names_itself_and_its_core(case: Case) -> None:
    backend = case.load()
    assert (backend.name, backend.core) == ("rewards.pool", case.id)


@both
@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "D0 I0 C0"),
        ({"wal": "wal.none", "flush_every": 1}, "D0 I0 C0"),
        ({"wal": "wal.mmap"}, "D1 I1 C2"),
        ({"wal": "wal.mmap", "ack": "logged"}, "D1 I1 C2"),
        ({"wal": "wal.mmap", "ack": "memory", "flush_every": 1}, "D0 I0 C0"),
        ({"wal": "wal.mmap", "ack": "durable"}, "D3 I1 C2"),
        ({"wal": "wal.basic", "flush_every": 1}, "D3 I1 C2"),
        ({"wal": "wal.basic", "flush_every": 100}, "D2(100 draws) I1 C2"),
    ],
)
def test_the_level_follows_from_log_flush_and_acknowledgement(
    case: Case, options: dict[str, Any], label: str
) -> None:
    assert case.load().durability(options).label() == label


@both
def test_an_unknown_selector_is_refused_with_those_there_are(case: Case) -> None:
    with pytest.raises(UnknownName) as caught:
        case.load().open([Item("a")], seed=1, selector="alias")
    assert caught.value.remedy == "selectors are: fenwick, prefix_sum"


@both
def test_a_negative_flush_interval_is_a_mistake(case: Case) -> None:
    with pytest.raises(ValueError, match="-1"):
        case.load().open([Item("a")], seed=1, flush_every=-1)
