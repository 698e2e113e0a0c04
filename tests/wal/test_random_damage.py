"""Random damage to a log of several segments: both twins say the same about it, invent nothing,
and never take a log for whole that lost a promised record."""

from __future__ import annotations

import itertools
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import Records, crashed, load, read

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SEGMENT = 4096
SYNCED = 150  # records promised by a later one
PLACES = ("bench_cli.wal.log:BasicBackend", "bench_cli.wal.native:BasicBackend")


@cache
def written(format: str) -> tuple[dict[str, bytes], Records]:
    """The files of an unclosed log, and its records."""
    salts = itertools.count(1)
    backend: Any = load(PLACES[0], salts=lambda: next(salts))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        log = backend.open(Path(directory) / "log", LogOptions(format, SEGMENT))
        for index in range(SYNCED):
            log.append(b"record %d" % index * (1 + index % 5), 1 + index % 9)
        log.sync()
        for index in range(10):
            log.append_many([b"batch %d" % index, b"", b"x" * index])
        killed = crashed(Path(directory) / "log")
        log.close()
        records = read(backend, killed, LogOptions(format, SEGMENT))[1]
        assert len(records) == SYNCED + 30
        return {path.name: path.read_bytes() for path in killed.iterdir()}, records


def last_name(format: str) -> str:
    return max(written(format)[0])


PLACE = st.tuples(st.integers(0, 9), st.integers(0, SEGMENT - 1))
DAMAGE = st.one_of(
    st.tuples(st.just("bytes"), PLACE, st.binary(min_size=1, max_size=12)),
    st.tuples(st.just("zeros"), PLACE, st.sampled_from([8, 64, 512, 4096])),
    st.tuples(st.just("copy"), PLACE, PLACE, st.sampled_from([24, 40, 512])),
    st.tuples(st.just("cut"), PLACE),
    st.tuples(st.just("lost"), st.integers(0, 9)),
)


def damaged(files: dict[str, bytes], damage: tuple[Any, ...]) -> None:
    names = sorted(files)
    if not names:
        return
    what, place, *rest = damage
    if what == "lost":
        del files[names[place % len(names)]]
        return
    name, at = names[place[0] % len(names)], place[1]
    whole = files[name]
    if what == "cut":
        files[name] = whole[:at]
        return
    if what == "bytes":
        patch = rest[0]
    elif what == "zeros":
        patch = bytes(rest[0])
    else:
        source = files[names[rest[0][0] % len(names)]]
        patch = source[rest[0][1] : rest[0][1] + rest[1]]
    files[name] = (whole[:at] + patch + whole[at + len(patch) :])[: max(len(whole), at)]


@pytest.mark.parametrize("format", ["binary", "text", "jsonl"])
@settings(max_examples=250, deadline=None, database=None, derandomize=True)
@given(damages=st.lists(DAMAGE, min_size=1, max_size=3))
def test_twins_agree_on_any_damage_and_invent_nothing(
    format: str, damages: list[tuple[Any, ...]]
) -> None:
    files, records = written(format)
    files = dict(files)
    for damage in damages:
        damaged(files, damage)
    options = LogOptions(format, SEGMENT)
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        for name, content in files.items():
            Path(directory, name).write_bytes(content)
        results = [read(load(place), Path(directory), options) for place in PLACES]
    assert results[0] == results[1]
    found, kept = results[0]
    assert kept == records[: len(kept)]
    assert found.records == len(kept)
    if found.tail == "clean" and files:
        assert found.dropped_bytes == found.discarded_records == 0
    if files.get(last_name(format)) == written(format)[0][last_name(format)]:
        assert len(kept) >= SYNCED or found.tail == "corrupt"  # its records carry the promise
