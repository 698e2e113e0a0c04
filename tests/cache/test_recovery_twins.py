"""Both twins recover the same cache from the same files, whatever the log went through: any
operations, checkpoints, a crash, damage, limits that are tighter than before. The compiled twin
reads its own logs in one pass, into its blocks; with the other logs it is tested elsewhere."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_cli.errors import BenchError, CacheFull, LogLocked
from bench_cli.faults.failing import Once
from bench_cli.faults.recorder import HOME, Recorder
from bench_cli.interfaces import BlockCache, CacheOptions, LogOptions, Recovery
from tests.contract.cache_backends import KIB, TWINS, load, read, small
from tests.contract.log_backends import crashed
from tests.contract.log_backends import load as load_log

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
LOGS = {  # by cache twin
    TWINS[0]: "bench_cli.wal.log:BasicBackend",
    TWINS[1]: "bench_cli.wal.native:BasicBackend",
}
BLOCK = 32 * KIB
NAMES = ("a", "b", "\udcff", "n" * 300)
SPAN = 3 * BLOCK

NAME = st.sampled_from(NAMES)
OFFSET = st.integers(0, SPAN) | st.sampled_from([0, 5000, 10_000, BLOCK - 5000, BLOCK, 2 * BLOCK])
LENGTH = st.sampled_from([0, 1, 100, 4096, 5000, 5000, 5000, 9000, BLOCK, BLOCK + 5000])
OPERATION = st.one_of(
    st.tuples(st.just("write"), NAME, OFFSET, LENGTH),
    st.tuples(st.just("append"), NAME, st.integers(1, 5), LENGTH),
    st.tuples(st.just("append"), NAME, st.integers(1, 5), LENGTH),
    st.tuples(st.just("fill"), NAME, OFFSET, LENGTH),
    st.tuples(st.just("truncate"), NAME, OFFSET),
    st.tuples(st.just("remove"), NAME),
    st.tuples(st.just("upload"), st.integers(0, 5)),
    st.tuples(st.just("evict")),
    st.tuples(st.just("other"), st.sampled_from([1, 6, 99])),
    st.tuples(st.just("checkpoint"), st.booleans()),
)
DAMAGE = st.tuples(
    st.integers(0, 9),  # which file
    st.floats(0, 1),  # where
    st.binary(min_size=1, max_size=9) | st.sampled_from([bytes(64), b"cut"]),
)
LIMITS = st.sampled_from(
    [{}, {}, {"max_size": 2 * BLOCK}, {"max_pending": 3 * BLOCK}, {"max_size": 4 * BLOCK}]
)


def options(**limits: int) -> CacheOptions:
    return CacheOptions(block_size=BLOCK, chunk_size=4 * BLOCK, **limits)


def perform(cache: BlockCache, log: Any, operation: tuple[Any, ...], seed: int) -> None:
    what, *rest = operation
    random_bytes = random.Random(seed).randbytes
    try:
        if what == "write":
            cache.write(rest[0], rest[1], random_bytes(rest[2]))
        elif what == "append":
            held = dict(cache.list_files()).get(rest[0], 0)
            for number in range(rest[1]):
                cache.write(rest[0], held + number * rest[2], random_bytes(rest[2]))
        elif what == "fill":
            cache.fill(rest[0], rest[1], random_bytes(rest[2]))
        elif what == "upload":
            for dirty in cache.dirty_blocks()[: rest[0]]:
                cache.mark_uploaded(*dirty)
        elif what == "evict":
            cache.evict_one()
        elif what == "other":
            log.append(random_bytes(9), rest[0])
        elif what == "checkpoint":
            cache.checkpoint(incremental=rest[0])
        else:
            getattr(cache, what)(*rest)
    except BenchError:
        pass  # a file that is not there


def written(
    directory: Path, log_options: LogOptions, operations: list[tuple[Any, ...]], closed: bool
) -> Path:
    """What is left on disk of a cache that did this; the log is closed, or its process was
    killed."""
    log = load_log(LOGS[TWINS[0]]).open(directory, log_options)
    cache = load(TWINS[0]).open(options(), log=log, directory=directory)
    for seed, operation in enumerate(operations):
        perform(cache, log, operation, seed)
    if not closed:
        directory = crashed(directory)
    cache.close()
    log.close()
    return directory


def damage(directory: Path, which: int, where: float, patch: bytes) -> None:
    files = sorted(directory.iterdir())
    path = files[which % len(files)]
    whole = path.read_bytes()
    at = int(where * max(0, len(whole.rstrip(b"\0")) - 1))
    path.write_bytes(
        whole[:at] if patch == b"cut" else whole[:at] + patch + whole[at + len(patch) :]
    )


def outcome(
    twin: str, kept: Path, log_options: LogOptions, limits: dict[str, int]
) -> tuple[Any, ...]:
    """All there is to see of a recovery, or the error. It always happens in the same folder, as
    messages name it."""
    place = kept.parent / "recovered"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(kept, place)
    try:
        cache, log, found = load(twin).recover(
            options(**limits),
            backend=load_log(LOGS[twin]),
            directory=place,
            log_options=log_options,
        )
    except BenchError as error:
        return type(error), str(error), vars(error)
    try:
        return seen(cache, log, found)
    finally:
        cache.close()
        log.close()


def seen(cache: BlockCache, log: Any, found: Recovery) -> tuple[Any, ...]:
    files, dirty, stats = cache.list_files(), cache.dirty_blocks(), cache.stats()
    blocks = [cache.read_block(name, block) for name, block, _ in dirty]
    covered = [
        [cache.is_range_covered(name, at, 100) for at in range(0, SPAN, 500)] for name, _ in files
    ]
    order = []
    while cache.evict_one():
        order.append([(name, cache.is_range_covered(name, 0, 1)) for name, _ in files])
    full = None
    try:
        cache.write("a", 0, b"after")
    except CacheFull as error:
        full = vars(error)
    after = cache.dirty_blocks("a"), log.stats().last_sequence, full
    return found, files, dirty, stats, blocks, covered, order, after


@pytest.mark.parametrize("format", ["binary", "text", "jsonl"])
@settings(max_examples=80, deadline=None, database=None, derandomize=True)
@given(
    operations=st.lists(OPERATION, max_size=25),
    damages=st.just([]) | st.lists(DAMAGE, max_size=2),
    closed=st.booleans(),
    limits=LIMITS,
)
def test_both_twins_recover_the_same_from_any_log(
    format: str,
    operations: list[tuple[Any, ...]],
    damages: list[tuple[int, float, bytes]],
    closed: bool,
    limits: dict[str, int],
) -> None:
    log_options = LogOptions(format=format, segment_size=128 * KIB)
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        kept = written(Path(directory) / "log", log_options, operations, closed)
        for one in damages:
            damage(kept, *one)
        expected = outcome(TWINS[0], kept, log_options, limits)
        assert outcome(TWINS[1], kept, log_options, limits) == expected


@pytest.mark.parametrize("twin", TWINS)
def test_bytes_of_a_damaged_record_show_nowhere(tmp_path: Path, twin: str) -> None:
    """The compiled twin copies them while it makes their checksum: to where nothing is held."""
    log_options = LogOptions(segment_size=128 * KIB)
    operations = [("write", "a", number * 5000, 5000) for number in (0, 1, 2)]
    kept = written(tmp_path / "log", log_options, operations, closed=False)
    [segment] = kept.glob("*.wal")
    image = bytearray(segment.read_bytes())
    image[image.index(random.Random(2).randbytes(5000)) + 4999] ^= 1
    segment.write_bytes(image)
    cache, log, found = load(twin).recover(
        options(), backend=load_log(LOGS[twin]), directory=kept, log_options=log_options
    )
    assert found.records == 2
    assert [len(data) for _, data in cache.read_block("a", 0)[1]] == [10_000]
    cache.write("a", 14_999, b"x")
    assert read(cache, "a", 10_000, 5000) == bytes(4999) + b"x"
    cache.close()
    log.close()


@pytest.mark.parametrize("twin", TWINS)
def test_newer_bytes_are_not_touched_by_a_damaged_record(tmp_path: Path, twin: str) -> None:
    log_options = LogOptions(segment_size=128 * KIB)
    operations = [("write", "a", 0, 9000), ("write", "a", 4000, 9000)]
    kept = written(tmp_path / "log", log_options, operations, closed=False)
    [segment] = kept.glob("*.wal")
    image = bytearray(segment.read_bytes())
    image[image.index(random.Random(1).randbytes(9000)) + 8999] ^= 1
    segment.write_bytes(image)
    cache, log, _ = load(twin).recover(
        options(), backend=load_log(LOGS[twin]), directory=kept, log_options=log_options
    )
    assert read(cache, "a", 0, 9001) == random.Random(0).randbytes(9000) + b"\0"
    cache.close()
    log.close()


@pytest.mark.parametrize("twin", TWINS)
def test_a_log_that_is_in_use_is_not_recovered_from(tmp_path: Path, twin: str) -> None:
    backend = load_log(LOGS[twin])
    log = backend.open(tmp_path, LogOptions())
    with pytest.raises(LogLocked):
        load(twin).recover(small(), backend=backend, directory=tmp_path, log_options=LogOptions())
    log.close()


@pytest.mark.parametrize("twin", TWINS)
def test_what_does_not_fit_the_cache_is_told_before_the_lock(tmp_path: Path, twin: str) -> None:
    backend, log_options = load_log(LOGS[twin]), LogOptions(segment_size=128 * KIB)
    log = backend.open(tmp_path, log_options)
    cache = load(twin).open(small(), log=log)
    cache.write("a", 0, bytes(8 * KIB))
    with pytest.raises(CacheFull):
        load(twin).recover(
            small(max_pending=4 * KIB),
            backend=backend,
            directory=tmp_path,
            log_options=log_options,
        )
    cache.close()
    log.close()


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("length", [256 * KIB - 100, 256 * KIB, 300 * KIB, 1024 * KIB])
def test_records_beyond_a_window_are_recovered(tmp_path: Path, twin: str, length: int) -> None:
    log_options = LogOptions(segment_size=2048 * KIB)
    operations = [("append", name, 1, size) for size in (5000, length, 7) for name in "ab"]
    kept = written(tmp_path / "log", log_options, operations, closed=True)
    cache, log, found = load(twin).recover(
        options(), backend=load_log(LOGS[twin]), directory=kept, log_options=log_options
    )
    assert found.records == 6
    for first, name in enumerate("ab"):
        parts = [random.Random(first + 2 * n).randbytes(s) for n, s in enumerate((5000, length, 7))]
        assert read(cache, name, 0, length + 5007) == b"".join(parts)
    cache.close()
    log.close()


@pytest.mark.parametrize("twin", TWINS)
def test_an_error_in_the_midst_of_a_recovery_loses_nothing_in_silence(twin: str) -> None:
    """A log that could not be read for a moment is whole again when it is opened."""
    backend, disk = load_log(LOGS[twin]), Recorder()
    log_options = LogOptions(segment_size=16 * KIB)
    log = backend.open(HOME, replace(log_options, file_system=disk))
    cache = load(twin).open(small(), log=log)
    for name in "abcdefgh":
        cache.write(name, 0, bytes(4 * KIB))
    cache.close()
    log.close()
    calls = Once(0, 0)
    assert recovered_over(twin, Recorder(disk.contents(), calls)) == 8
    found = {
        recovered_over(twin, Recorder(disk.contents(), Once(at, errno.EIO)))
        for at in range(1, len(calls.calls) + 1)
    }
    assert found == {0, 8}


def recovered_over(twin: str, disk: Recorder) -> int:
    """Files that are found; none where the recovery refuses."""
    try:
        cache, log, _ = load(twin).recover(
            small(),
            backend=load_log(LOGS[twin]),
            directory=HOME,
            log_options=LogOptions(segment_size=16 * KIB, file_system=disk),
        )
    except (BenchError, OSError):
        return 0
    found = len(cache.list_files())
    cache.close()
    with suppress(BenchError):
        log.close()
    return found
