"""Exact counts: allocations, written bytes, collector runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench_cli.runner.counters import count_pass

native = pytest.importorskip("bench_cli.runner.native", reason="the compiled module is not built")


def test_a_call_that_allocates_nothing_counts_zero() -> None:
    assert native.count_allocations(lambda: None) == (0, 0)


def test_a_large_block_is_counted_once_although_two_allocators_see_it() -> None:
    calls, size = native.count_allocations(lambda: bytearray(1 << 20))
    assert calls == 2  # the object and its bytes
    assert (1 << 20) < size < (1 << 20) + 200


def test_counts_are_the_same_every_time() -> None:
    def work() -> list[str]:
        return [f"item-{number}" for number in range(1000)]

    work()
    assert native.count_allocations(work) == native.count_allocations(work)


def test_counting_stops_when_the_call_raises() -> None:
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        native.count_allocations(fails)
    assert native.count_allocations(lambda: None) == (0, 0)


def test_counting_within_counting_is_refused() -> None:
    with pytest.raises(RuntimeError, match="already"):
        native.count_allocations(lambda: native.count_allocations(lambda: None))
    assert native.count_allocations(lambda: None) == (0, 0)


def test_written_bytes_and_write_calls_are_those_of_the_call(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
    data = b"x" * 1000

    def work() -> None:
        for _ in range(7):
            os.write(fd, data)

    counted = count_pass(work)
    os.close(fd)
    if counted.written is None:
        pytest.skip("this system does not count a process's writes")
    assert counted.written == (7000, 7)
