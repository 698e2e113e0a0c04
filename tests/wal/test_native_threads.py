"""The compiled log gives up the interpreter lock for large copies and system calls. Two threads
are against its contract; they must wait for each other all the same, and spoil nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from bench_cli.interfaces import LogOptions
from bench_cli.wal.segment import SegmentSet
from tests.contract.log_backends import label, load, read

NATIVE = ["bench_cli.wal.native:BasicBackend", "bench_cli.wal.native:MmapBackend"]


@pytest.mark.parametrize("place", NATIVE, ids=label)
def test_threads_that_append_at_once_spoil_nothing(place: str, tmp_path: Path) -> None:
    backend: Any = load(place)
    options = LogOptions(segment_size=1 << 20)
    log = backend.open(tmp_path / "log", options)
    numbers: list[int] = []

    def work(mark: bytes) -> None:
        for index in range(30):
            numbers.append(log.append(mark * 100_000))
            numbers.append(log.append(mark))
            if index % 10 == 0:
                log.sync()

    threads = [threading.Thread(target=work, args=(bytes([65 + n]),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(numbers) == list(range(1, 181))
    found, records = read(backend, tmp_path / "log", options)
    assert (found.records, found.tail) == (180, "clean")
    assert {len(payload) for _, _, payload in records} == {1, 100_000}
    assert all(payload == payload[:1] * len(payload) for _, _, payload in records)


@pytest.mark.parametrize("place", NATIVE, ids=label)
def test_an_append_that_has_to_rotate_lets_no_other_in_before_it_has(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segments are asked by Python code how large a record may be: the interpreter may turn to
    another thread there, which must find the log at work."""
    backend: Any = load(place)
    options = LogOptions(segment_size=1 << 16)
    log = backend.open(tmp_path / "log", options)
    asked, allowed = SegmentSet.largest.fget, threading.Event()  # type: ignore[attr-defined]
    early: list[bool] = []

    def append() -> None:
        log.append(b"other")
        allowed.set()

    other = threading.Thread(target=append)

    def slowly(segments: SegmentSet) -> int:
        if not early:
            other.start()
            early.append(allowed.wait(0.05))  # what it would take is far less
        return int(asked(segments))

    log.append(b"a" * 50_000)
    monkeypatch.setattr(SegmentSet, "largest", property(slowly))
    rotated = log.append(b"b" * 50_000)
    other.join()
    log.close()
    assert early == [False]
    assert rotated == 2
    _, records = read(backend, tmp_path / "log", options)
    assert [payload[:1] for _, _, payload in records] == [b"a", b"b", b"o"]
