"""Recovery on several threads finds what recovery on one does, in every field and record."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.interfaces import LogBackend, LogOptions, Recovery
from tests.contract.log_backends import FORMATS, STORED, label, load, read
from tests.wal.test_twins import MEMORY

SEGMENT = 1 << 20 | 256 << 10
OPTIONS = LogOptions("binary", SEGMENT)
NATIVE = "bench_cli.wal.native:BasicBackend"
Records = list[tuple[int, int, bytes]]


def write(home: Path, options: LogOptions, seed: int, close: bool) -> None:
    """Several segments, of records of all sizes and batches; some hold frames of the very log, so
    that a guess where a frame begins may be wrong."""
    draw = random.Random(seed)
    log = load(NATIVE).open(home, options)
    written = 0
    while written < 3 * SEGMENT:
        size = draw.choice((0, 9, 100, 100, 4000, 33_000, 200_000))
        if draw.random() < 0.2:
            log.append_many([draw.randbytes(size % 5000)] * draw.randint(1, 40))
        elif draw.random() < 0.3:
            whole = max(home.iterdir()).read_bytes().rstrip(b"\0")
            log.append(whole[1024 : 1024 + 300_000])
        else:
            log.append(draw.randbytes(size), draw.randint(1, 9))
        if draw.random() < 0.2:
            log.sync()
        written = log.stats().bytes
    if close:
        log.close()
    else:
        shutil.copytree(home, home.with_name("open"))
        log.close()
        shutil.rmtree(home)
        home.with_name("open").rename(home)


@pytest.fixture(scope="module", params=[True, False], ids=["closed", "open"])
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    load(NATIVE)
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        place = Path(directory) / "log"
        write(place, OPTIONS, 7, request.param)
        yield place


def alike(home: Path, workers: int) -> tuple[Recovery, Records]:
    backend = load(NATIVE)
    alone = read(backend, home, OPTIONS)
    assert read(backend, home, replace(OPTIONS, workers=workers)) == alone
    assert backend.recover(home, replace(OPTIONS, workers=workers)) == alone[0]
    return alone


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_an_undamaged_log_is_read_alike(home: Path, workers: int) -> None:
    found, records = alike(home, workers)
    assert found.tail == "clean" or found.dropped_bytes == 0
    assert found.segments > 2 and len(records) == found.records > 100


@pytest.mark.parametrize("damaged", [False, True])
def test_a_log_of_records_longer_than_a_unit_is_read_alike(tmp_path: Path, damaged: bool) -> None:
    """Here the threads' work lies within frames, so the rest is read by one."""
    options = LogOptions("binary", 8 << 20)
    home = tmp_path / "log"
    log = load(NATIVE).open(home, options)
    for number in range(5):
        log.append(random.Random(number).randbytes(3 << 20 if number else 100))
    log.close()
    if damaged:
        last = max(home.iterdir())
        image = bytearray(last.read_bytes())
        image[2 << 20] ^= 1
        last.write_bytes(image)
    found, records = alike(home, 3)
    assert (found.tail == "clean", len(records) == 5) == (not damaged, not damaged)


HURT = st.tuples(
    st.sampled_from(["flip", "zero", "cut", "copy"]), st.integers(0, 5), st.floats(0, 1)
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(hurts=st.lists(HURT, min_size=1, max_size=3), workers=st.integers(2, 4))
def test_a_damaged_log_is_judged_alike(
    home: Path, hurts: list[tuple[str, int, float]], workers: int
) -> None:
    before = {path: path.read_bytes() for path in home.iterdir()}
    try:
        for kind, index, share in hurts:
            path = sorted(before)[index % len(before)]
            whole = bytearray(path.read_bytes())
            at = min(int(share * len(whole)), len(whole) - 1)
            if kind == "flip":
                whole[at] ^= 4
            elif kind == "zero":
                whole[at : at + 700] = bytes(len(whole[at : at + 700]))
            elif kind == "cut":
                del whole[max(1, at) :]
            else:
                part = whole[1024 : 1024 + 900]
                whole[at & ~7 : (at & ~7) + len(part)] = part
            path.write_bytes(whole)
        alike(home, workers)
    finally:
        for path, whole in before.items():
            path.write_bytes(whole)


def test_records_longer_than_any_unit_are_read_alike(tmp_path: Path) -> None:
    options = LogOptions("binary", 40 << 20)
    backend = load(NATIVE)
    log = backend.open(tmp_path / "log", options)
    payloads = [b"a", bytes(3 << 20), b"b" * (10 << 20), b"c", b"d" * (9 << 20), b""]
    for payload in payloads:
        log.append(payload)
    log.close()
    for workers in (1, 2, 4):
        found, records = read(backend, tmp_path / "log", replace(options, workers=workers))
        assert [payload for _, _, payload in records] == payloads
        assert found.tail == "clean"


def test_an_error_in_apply_ends_the_threads(home: Path) -> None:
    def apply(sequence: int, kind: int, payload: memoryview) -> None:
        if sequence == 40:
            raise KeyError(sequence)

    with pytest.raises(KeyError):
        load(NATIVE).recover(home, replace(OPTIONS, workers=3), apply)


def test_a_payload_that_is_kept_stays_as_it_was(home: Path) -> None:
    kept: list[memoryview] = []
    backend = load(NATIVE)
    backend.recover(home, replace(OPTIONS, workers=2), lambda at, kind, data: kept.append(data))
    assert [bytes(view) for view in kept] == [
        data for _, _, data in read(backend, home, OPTIONS)[1]
    ]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("place", STORED, ids=label)
def test_every_log_takes_the_option(place: str, format: str, tmp_path: Path) -> None:
    backend: LogBackend = load(place)
    options = LogOptions(format, 64 << 10, workers=3)
    log = backend.open(tmp_path / "log", options)
    for number in range(2000):
        log.append(b"%d" % number * 9)
    log.close()
    found, records = read(backend, tmp_path / "log", options)
    assert (found.tail, len(records)) == ("clean", 2000)
    log = backend.open(tmp_path / "log", options)
    assert log.append(b"on") == 2001
    log.close()
    with pytest.raises(ValueError, match="workers"):
        backend.recover(tmp_path / "log", replace(options, workers=0))
