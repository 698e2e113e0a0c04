"""Arguments that run code of their own in the middle of a call: the compiled cache neither uses
what that code threw away nor waits for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench_cli.cache import rules
from tests.contract.cache_backends import KIB, load, read, small


@pytest.fixture
def cache() -> Any:
    return load("bench_cli.cache.native").open(small(max_size=256 * KIB))


class Number:
    """A number that does something else before it tells its value."""

    def __init__(self, value: int, first: Callable[[], object]) -> None:
        self.value, self.first = value, first

    def __index__(self) -> int:
        self.first()
        return self.value


class Name(str):
    """A name that does something else before it is equal to another."""

    first: Callable[[], object]
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        self.first()
        return str.__eq__(self, other)


def test_a_file_made_while_its_name_is_checked_is_kept(
    cache: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_name = rules.check_name

    def check_meanwhile(name: str) -> None:
        monkeypatch.setattr(rules, "check_name", check_name)
        check_name(name)
        cache.write("a", 5000, b"second")

    monkeypatch.setattr(rules, "check_name", check_meanwhile)
    cache.write("a", 0, b"first")
    assert cache.list_files() == [("a", 5006)]
    assert read(cache, "a", 0, 5) + read(cache, "a", 5000, 6) == b"firstsecond"
    stats = cache.stats()
    assert (stats.files, stats.blocks, stats.dirty_blocks) == (1, 2, 2)
    cache.remove("a")
    stats = cache.stats()
    assert (stats.files, stats.blocks, stats.allocated) == (0, 0, 0)


def test_a_block_that_goes_while_its_generation_is_asked_for_is_not_uploaded(cache: Any) -> None:
    cache.write("a", 0, b"x" * 4096)
    [(_, block, generation)] = cache.dirty_blocks()
    asked = Number(generation, lambda: cache.remove("a"))
    assert not cache.mark_uploaded("a", block, asked)
    assert cache.stats().dirty_blocks == 0


def test_a_block_number_may_use_the_file_it_is_asked_for(cache: Any) -> None:
    cache.write("a", 0, b"x")
    sizes: list[int] = []
    number = Number(0, lambda: sizes.append(cache.file_size("a")))
    assert cache.read_block("a", number)[1] == [(0, b"x")]
    assert sizes == [1]


def test_a_name_may_remove_a_file_that_the_batch_has_used(cache: Any) -> None:
    for name in ("a", "b"):
        cache.write(name, 0, b"x" * 4096)
    evil = Name("".join(["", "b"]))
    evil.first = lambda: cache.stats().files == 2 and cache.remove("a")
    buffers = [bytearray(4096), bytearray(4096)]
    assert cache.read_many([("a", 0, buffers[0]), (evil, 0, buffers[1])]) == 8192
    assert buffers == [bytearray(b"x" * 4096)] * 2
    assert cache.list_files() == [("b", 4096)]
    cache.write("a", 0, b"x" * 4096)
    cache.write_many([("a", 0, b"new"), (evil, 0, b"new")])
    assert cache.list_files() == [("b", 4096)]
    assert read(cache, "b", 0, 4) == b"newx"
