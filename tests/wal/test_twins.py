"""Both twins side by side against a list: the same calls give the same results, the same error
types and fields, and the same bytes on disk; and each recovers what the other wrote."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.errors import EngineError, LogCorrupt
from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import crashed, load, read

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
PAYLOAD = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.integers(400, 3000).map(lambda size: bytes(size % 251 for size in range(size))),
    st.just(bytes(5000)),  # beyond a segment of 4 KiB
)
NAME = st.one_of(
    st.text(max_size=20),
    st.integers(255, 257).map(lambda length: "n" * length),
    st.just("n" * 65_536),
    st.just("\udcc3"),
)
KIND = st.sampled_from([1, 6, 7, 99, 254, 0, 255])
CALL = st.one_of(
    st.tuples(st.just("append"), PAYLOAD, KIND),
    st.tuples(st.just("append"), PAYLOAD.map(bytearray), KIND),
    st.tuples(st.just("append_many"), st.lists(PAYLOAD, max_size=6), KIND),
    st.tuples(st.just("append_write"), NAME, st.integers(-1, 2**64), st.binary(max_size=9)),
    st.tuples(st.just("append_remove"), NAME),
    st.tuples(st.just("append_truncate"), NAME, st.integers(0, 2**63)),
    st.tuples(st.just("append_uploaded"), NAME, st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("sync")),
    st.tuples(st.just("reset")),
    st.tuples(st.just("truncate_front"), st.integers(0, 30)),
    st.tuples(st.just("close")),
    st.tuples(st.just("reopen")),
)


class Twin:
    """One twin under test, with salts that count, and a clock that does so when it is read."""

    def now_ns(self) -> int:
        self.now += 1
        return self.now

    def wall_ns(self) -> int:
        return 0

    def __init__(self, place: str, directory: Path, options: LogOptions) -> None:
        salts, self.now = itertools.count(1), 0
        self.backend: Any = load(place, salts=lambda: next(salts))
        self.directory, self.options = directory, replace(options, clock=self)
        self.log = self.backend.open(directory, options)

    def call(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """What came of it, in a form that compares."""
        try:
            if name == "reopen":
                self.log.close()
                self.log = self.backend.open(self.directory, self.options)
                return ("opened", self.log.stats())
            return ("returned", getattr(self.log, name)(*arguments))
        except (EngineError, ValueError) as error:
            fields = {k: v for k, v in vars(error).items() if k not in ("message", "remedy")}
            kind = ValueError if isinstance(error, ValueError) else type(error)
            return ("raised", kind, fields)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.directory.iterdir())}


def follow(
    model: list[bytes], name: str, arguments: tuple[Any, ...], outcome: Any, last: int
) -> None:
    """What the list holds after a call that returned; ``last`` is its last number."""
    if outcome[0] != "returned":
        return
    if name == "append":
        model.append(bytes(arguments[0]))
    elif name == "append_many":
        model.extend(bytes(payload) for payload in arguments[0])
    elif name.startswith("append_"):
        model.append(b"a file record")
    elif name == "reset":
        model.clear()
    elif name == "truncate_front":
        del model[: len(model) - (last + 1 - outcome[1])]


def matches(records: list[tuple[int, int, bytes]], model: list[bytes]) -> bool:
    files = (2, 3, 4, 5)
    found = [b"a file record" if kind in files else payload for _, kind, payload in records]
    return found == model


@pytest.mark.parametrize("format", ["binary", "text", "jsonl"])
@pytest.mark.parametrize("storage", ["Basic", "Mmap"])
@settings(max_examples=120, deadline=None, database=None, derandomize=True)
@given(calls=st.lists(CALL, max_size=25), cut=st.integers(0, 4096), after=st.integers(0, 9))
def test_twins_agree_call_for_call_and_byte_for_byte(
    storage: str, format: str, calls: list[tuple[Any, ...]], cut: int, after: int
) -> None:
    options = LogOptions(format, 4096, rotate_after_ns=after)
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        places = (f"bench_cli.wal.{module}:{storage}Backend" for module in ("log", "native"))
        twins = [
            Twin(place, Path(directory) / str(index), options) for index, place in enumerate(places)
        ]
        model: list[bytes] = []
        for name, *arguments in calls:
            outcomes = [twin.call(name, tuple(arguments)) for twin in twins]
            assert outcomes[0] == outcomes[1], name
            assert twins[0].now == twins[1].now
            last = twins[0].log.stats().last_sequence
            follow(model, name, tuple(arguments), outcomes[0], last)
        assert twins[0].log.stats() == twins[1].log.stats()
        assert twins[0].files() == twins[1].files()
        killed = crashed(twins[0].directory)
        check_recovery(twins, killed, lambda records: matches(records, model))
        last = max(killed.iterdir())
        last.write_bytes(last.read_bytes()[:cut])
        check_recovery(
            twins, killed, lambda records: matches(records, model[: len(records)]), reopen=True
        )
        for twin in twins:
            twin.log.close()


def live(twin: Twin, directory: Path) -> object:
    try:
        return twin.backend.live_files(directory, twin.options)
    except ValueError:
        return ValueError


def check_recovery(
    twins: list[Twin],
    directory: Path,
    right: Callable[[list[tuple[int, int, bytes]]], bool],
    reopen: bool = False,
) -> None:
    """Both twins find the same, it is right, and a log can go on from it unless it is corrupt."""
    results = [read(twin.backend, directory, twin.options) for twin in twins]
    assert results[0] == results[1]
    assert live(twins[0], directory) == live(twins[1], directory)
    found, records = results[0]
    assert right(records)
    if not reopen:
        return
    backend = twins[1].backend
    if found.tail == "corrupt":
        with pytest.raises(LogCorrupt):
            backend.open(directory, twins[1].options)
        return
    log = backend.open(directory, twins[1].options)
    log.append(b"goes on")
    log.close()
    again, more = read(twins[0].backend, directory, twins[0].options)
    assert [payload for _, _, payload in more] == [p for _, _, p in records] + [b"goes on"]
    assert again.tail == "clean"
