"""Arguments that are not what they say, and threads at the worst moment: the compiled log keeps
inside its memory, and what it stores is what was handed in."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bench_cli.errors import LogClosed, RecordTooLarge
from bench_cli.interfaces import FlushPolicy, LogBackend, LogOptions
from bench_cli.wal import format as fmt
from bench_cli.wal.ahead import LEAST
from bench_cli.wal.segment import SegmentSet
from tests.contract.committed_logs import ManualClock, open_committed
from tests.contract.log_backends import FORMATS, STORED, label, load, read

NATIVE = [place for place in STORED if "native" in place]


class Lying:
    """A sequence that says another length than it has."""

    def __init__(self, said: int, held: int) -> None:
        self.said, self.held = said, held

    def __len__(self) -> int:
        return self.said

    def __getitem__(self, index: int) -> bytes:
        raise IndexError(index)

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"%d" % index for index in range(self.held)])


@pytest.fixture(params=STORED, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


@pytest.fixture(params=NATIVE, ids=label)
def native(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_batch_has_the_records_it_holds_not_those_it_promises(
    backend: LogBackend, log_format: str, tmp_path: Path
) -> None:
    options = LogOptions(format=log_format, segment_size=1 << 20)
    log: Any = backend.open(tmp_path / "log", options)
    with pytest.raises(RecordTooLarge):
        log.append_many(Lying(1, 70_000))
    assert log.append_many(Lying(2, 3)) == 3
    assert log.append(b"next") == 4
    log.close()
    records = read(backend, tmp_path / "log", options)[1]
    assert [(sequence, bytes(payload)) for sequence, _, payload in records] == [
        (1, b"0"),
        (2, b"1"),
        (3, b"2"),
        (4, b"next"),
    ]


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_list_that_another_thread_fills_during_a_rotation_is_logged_as_handed_in(
    native: LogBackend, log_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LogOptions(format=log_format, segment_size=64 << 10)
    log = native.open(tmp_path / "log", options)
    payloads: list[Any] = [b"x" * 1000] * 10
    switch = SegmentSet.switch  # the part of a rotation that every log takes

    def switch_meanwhile(self: SegmentSet, *arguments: Any) -> Any:
        payloads.extend([b"y" * 10_000] * 100)
        return switch(self, *arguments)

    while log.stats().rotations == 0:
        if log.stats().file_size > 50_000:
            monkeypatch.setattr(SegmentSet, "switch", switch_meanwhile)
        last = log.append_many(payloads)
    log.close()
    records = read(native, tmp_path / "log", options)[1]
    assert len(payloads) == 110
    assert len(records) == last
    assert {bytes(payload) for _, _, payload in records} == {b"x" * 1000}


class Meddler:
    """Garbage that changes a list when it is collected."""

    def __init__(self, payloads: list[Any]) -> None:
        self.itself, self.payloads = self, payloads

    def __del__(self) -> None:
        self.payloads.extend([b"y" * 10_000] * 100)


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_list_that_the_collector_changes_in_the_midst_is_logged_whole_or_not(
    native: LogBackend, log_format: str, tmp_path: Path
) -> None:
    """Making a list may set the collector off, and that runs code of anybody's."""
    log = native.open(tmp_path / "log", LogOptions(format=log_format, segment_size=4 << 20))
    payloads: list[Any] = [b"x" * 1000] * 10
    size = 0
    while log.stats().file_size + size <= (4 << 20) - 128:  # the next one rotates
        before = log.stats().file_size
        log.append_many(payloads)
        size = log.stats().file_size - before
    thresholds = gc.get_threshold()
    kept = [[index] for index in range(200)]  # so that a further list takes memory of its own
    Meddler(payloads)
    gc.set_threshold(1)
    try:
        last = log.append_many(payloads)
    finally:
        gc.set_threshold(*thresholds)
    log.close()
    assert len(kept) == 200
    found, records = read(native, tmp_path / "log", LogOptions(log_format, 4 << 20))
    assert (found.records, found.tail) == (last, "clean")
    assert last % 10 == 0
    assert {bytes(payload[:1]) for _, _, payload in records} <= {b"x", b"y"}


def test_figures_are_told_when_nobody_is_at_work(
    native: LogBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = native.open(tmp_path / "log", LogOptions(segment_size=64 << 10))
    told: list[Any] = []
    asking = Thread(target=lambda: told.append(log.stats()))
    switch = SegmentSet.switch

    def switch_meanwhile(self: SegmentSet, *arguments: Any) -> Any:
        asking.start()
        for _ in range(1000):  # all the turns it takes to be told by a log that nobody works on
            time.sleep(0)
        early.append(bool(told))
        return switch(self, *arguments)

    early: list[bool] = []
    monkeypatch.setattr(SegmentSet, "switch", switch_meanwhile)
    while not early:
        log.append(b"x" * 10_000)
    asking.join()
    assert early == [False]
    assert told[0].rotations == 1
    log.close()


def test_a_log_closed_while_a_batch_is_converted_takes_nothing(
    native: LogBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = native.open(tmp_path / "log", LogOptions(segment_size=1 << 20))
    as_bytes = fmt.as_bytes

    def close_and_convert(data: Any) -> bytes:
        monkeypatch.setattr(fmt, "as_bytes", as_bytes)
        log.close()
        return as_bytes(data)

    monkeypatch.setattr(fmt, "as_bytes", close_and_convert)
    with pytest.raises(LogClosed):
        log.append_many([bytearray(b"x")])


def test_a_log_is_closed_after_the_append_that_prepares_a_segment(
    native: LogBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = LogOptions(segment_size=LEAST)
    log = native.open(tmp_path / "log", options)
    closing = Thread(target=log.close)
    monkeypatch.setattr(SegmentSet, "prepares", True)

    def prepare(self: SegmentSet) -> None:
        closing.start()
        for _ in range(1000):  # all the turns it takes to close a log that nobody works on
            time.sleep(0)

    monkeypatch.setattr(SegmentSet, "prepare", prepare)
    last = 0
    while not closing.ident:
        last = log.append(b"x" * 60_000)
    closing.join()
    with pytest.raises(LogClosed):
        log.append(b"x")
    assert read(native, tmp_path / "log", options)[0].records == last


@pytest.mark.parametrize("place", [place for place in STORED if "Basic" in place], ids=label)
def test_the_longest_interval_between_syncs_does_not_pass_at_once(
    place: str, tmp_path: Path
) -> None:
    policy = FlushPolicy("time", (1 << 63) - 1)
    log: Any = open_committed(place, tmp_path / "log", policy, clock=ManualClock())
    log.append(b"x")
    log.tick()
    assert log.stats().durable_sequence == 0
    log.close()
