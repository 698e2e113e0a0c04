"""What every write-ahead log promises (``interfaces.WriteAheadLog``), over every backend, both
twins and both formats. A test needs of a backend only what it says it can do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bench_cli.errors import LogClosed, LogLocked, RecordTooLarge
from bench_cli.interfaces import Capability, LogBackend, LogOptions, RecordKind
from tests.contract.log_backends import (
    FORMATS,
    OURS,
    SEGMENT,
    crashed,
    fill,
    need,
    need_ours,
    read,
    small,
)

AWKWARD = [
    b"",
    b"\0",
    b" ",
    b"a line\nand another\r\n\ttabbed \\ backslash",
    bytes(range(256)),
    "DRAW 17 gold%20coin ünïcode \u2028 \x85 \U0001f600".encode(),
    b"\xc3",
    b"\xa9\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80",
    b"\\x41 \\n \\q",
    b"x" * 5000,
]


def test_sequence_numbers_start_at_one_and_have_no_gaps(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log = backend.open(home, options)
    assert [log.append(b"x") for _ in range(3)] == [1, 2, 3]
    assert log.append_many([b"a", b"b", b"c"]) == 6
    assert log.append(b"") == 7
    assert log.stats().last_sequence == 7
    assert log.stats().appends == 7
    log.close()


def test_every_payload_comes_back_as_it_was(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    log = backend.open(home, options)
    for payload in AWKWARD:
        log.append(payload)
    found, records = read(backend, crashed(home), options)
    assert records == [(n + 1, 1, payload) for n, payload in enumerate(AWKWARD)]
    assert (found.records, found.first_sequence, found.last_sequence) == (10, 1, 10)
    assert found.tail == "clean"
    log.close()
    assert read(backend, home, options)[1] == records


def test_any_buffer_can_be_appended(backend: LogBackend, options: LogOptions, home: Path) -> None:
    need(backend, Capability.RECOVERY)
    log = backend.open(home, options)
    log.append(bytearray(b"array"))
    log.append(memoryview(b"0123456789")[2:5])
    log.append_many([b"one", bytearray(b"two"), memoryview(b"three")])
    log.close()
    payloads = [record[2] for record in read(backend, home, options)[1]]
    assert payloads == [b"array", b"234", b"one", b"two", b"three"]


def test_large_records_come_back_as_they_were(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    roomy = LogOptions(options.format, 4 << 20)
    sizes = [4031, 4032, 4033, *range(65_500, 65_560, 3), 262_144, 1 << 20]
    payloads = [(b"%d " % size * size)[:size] for size in sizes]
    log = backend.open(home, roomy)
    for payload in payloads:
        log.append(payload)
    log.append_many(payloads[-2:])
    log.append(b"small again")
    log.close()
    records = read(backend, home, roomy)[1]
    expected = [*payloads, *payloads[-2:], b"small again"]
    assert [payload for _, _, payload in records] == expected


@pytest.mark.parametrize("bad", ["text", 5, None])
def test_what_is_no_buffer_is_refused_and_takes_no_number(
    backend: LogBackend, options: LogOptions, home: Path, bad: object
) -> None:
    need_ours(backend)
    log = backend.open(home, options)
    with pytest.raises(TypeError):
        log.append(bad)  # type: ignore[arg-type]  # refused
    assert log.append(b"good") == 1
    log.close()


@pytest.mark.parametrize("kind", [-1, 0, 255, 256, 70_000])
def test_a_kind_outside_the_byte_is_refused(
    backend: LogBackend, options: LogOptions, home: Path, kind: int
) -> None:
    need_ours(backend)
    log = backend.open(home, options)
    with pytest.raises(ValueError, match="kind"):
        log.append(b"x", kind)
    with pytest.raises(ValueError, match="kind"):
        log.append_many([b"x"], kind)
    assert log.append(b"x", 254) == 1
    log.close()


def test_an_empty_batch_is_a_value_error(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log = backend.open(home, options)
    with pytest.raises(ValueError, match="empty"):
        log.append_many([])
    assert log.append(b"x") == 1
    log.close()


def test_a_batch_holds_at_most_65535_records(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need_ours(backend)
    log = backend.open(home, LogOptions(options.format, 1 << 20))
    with pytest.raises(RecordTooLarge) as refused:
        log.append_many([b""] * 65_536)
    assert (refused.value.size, refused.value.limit) == (65_536, 65_535)
    assert log.append_many([b""] * 65_535) == 65_535
    log.close()


def test_a_batch_is_recovered_whole_or_not_at_all(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.BATCH, Capability.RECOVERY)
    if backend.durability({}).integrity != "I1":
        pytest.skip(f"{backend.name} does not promise a consistent prefix")
    log = backend.open(home, options)
    log.append(b"before")
    start = log.stats().file_size
    batch = [b"first", b"", b"tab\there", b"last"]
    log.append_many(batch, RecordKind.DRAW)
    end = log.stats().file_size
    killed = crashed(home)
    log.close()
    segment = max(killed.iterdir())
    whole = segment.read_bytes()
    expected = [(1, 1, b"before")] + [(n + 2, 6, item) for n, item in enumerate(batch)]
    for length in range(start, end):
        segment.write_bytes(whole[:length])
        records = read(backend, killed, options)[1]
        assert records in (expected, expected[:1])
    segment.write_bytes(whole[:end])
    assert read(backend, killed, options)[1] == expected


def test_a_record_larger_than_a_segment_is_refused_and_changes_nothing(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.ROTATION)
    log = backend.open(home, options)
    log.append(b"small")
    before = log.stats()
    with pytest.raises(RecordTooLarge) as refused:
        log.append(bytes(SEGMENT))
    assert refused.value.size > refused.value.limit > SEGMENT // 2
    with pytest.raises(RecordTooLarge):
        log.append_many([b"x" * SEGMENT] * 3)
    assert log.stats() == before
    assert log.append(b"goes on") == 2
    log.close()
    assert len(read(backend, home, options)[1]) == 2


def test_a_log_rotates_and_keeps_every_record(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.ROTATION, Capability.RECOVERY)
    log = backend.open(home, options)
    payloads = fill(log, 1000)
    stats = log.stats()
    assert stats.rotations == stats.segments - 1 > 2
    assert stats.syncs == stats.durable_sequence == 0  # only a sync promises anything
    found, records = read(backend, crashed(home), options)
    assert [payload for _, _, payload in records] == payloads
    assert found.segments == stats.segments
    log.sync()
    assert (log.stats().syncs, log.stats().durable_sequence) == (1, 1000)
    log.close()


def test_sync_makes_everything_before_it_durable(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.SYNC)
    log = backend.open(home, options)
    fill(log, 5)
    assert log.stats().durable_sequence == 0
    log.sync()
    log.append(b"later")
    stats = log.stats()
    assert (stats.durable_sequence, stats.last_sequence, stats.syncs) == (5, 6, 1)
    log.close()


def test_a_closed_log_ends_clean_and_goes_on_in_sequence(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    expected: list[bytes] = []
    for start in range(1, 40, 10):
        log = backend.open(home, options)
        assert log.stats().last_sequence == start - 1
        expected += fill(log, 10)
        log.close()
        found, records = read(backend, home, options)
        assert [payload for _, _, payload in records] == expected
        assert [number for number, _, _ in records] == list(range(1, start + 10))
        assert (found.tail, found.dropped_bytes, found.damages) == ("clean", 0, ())


def test_an_unclosed_log_goes_on_after_its_last_record(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    log = backend.open(home, options)
    payloads = fill(log, 700)
    killed = crashed(home)
    log.close()
    log = backend.open(killed, options)
    if backend.name in OURS:
        assert log.stats().durable_sequence == 700  # opening syncs what it found
    assert log.append(b"next") == 701
    log.close()
    assert [payload for _, _, payload in read(backend, killed, options)[1]] == [*payloads, b"next"]


def test_recovering_changes_nothing(backend: LogBackend, options: LogOptions, home: Path) -> None:
    need(backend, Capability.RECOVERY)
    log = backend.open(home, options)
    fill(log, 700)
    killed = crashed(home)
    log.close()
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    first = read(backend, killed, options)
    assert read(backend, killed, options) == first
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before


def test_no_log_recovers_as_an_empty_one(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    found, records = read(backend, home, options)
    assert (found.records, found.first_sequence, found.last_sequence) == (0, 0, 0)
    assert (found.tail, records) == ("clean", [])


def test_an_error_in_apply_reaches_the_caller(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    log = backend.open(home, options)
    fill(log, 3)
    log.close()

    def refuse(sequence: int, kind: int, payload: memoryview) -> None:
        raise OSError(5, f"at {sequence}")

    with pytest.raises(OSError, match="at 1"):
        backend.recover(home, options, refuse)


def test_a_second_opener_is_refused_until_the_first_closes(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.LOCK)
    log = backend.open(home, options)
    with pytest.raises(LogLocked):
        backend.open(home, options)
    log.append(b"still works")
    log.close()
    backend.open(home, options).close()


def test_reset_forgets_the_records_and_keeps_the_numbers(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RESET, Capability.RECOVERY)
    log = backend.open(home, options)
    last = 0
    for _ in range(3):
        fill(log, 500)
        last = log.stats().last_sequence
        log.reset()
        found, records = read(backend, crashed(home), options)
        assert (records, found.tail) == ([], "clean")
        assert found.last_sequence in ((last,) if backend.name in OURS else (0, last))
        assert log.stats().segments == 1
        assert log.append(b"after") == last + 1
        assert read(backend, crashed(home), options)[1] == [(last + 1, 1, b"after")]
    log.close()
    log = backend.open(home, options)
    assert log.append(b"reopened") == last + 2
    log.close()


def test_close_is_idempotent_and_ends_all_use(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log = backend.open(home, options)
    log.append(b"x")
    log.close()
    log.close()
    uses: list[Callable[[], object]] = [
        lambda: log.append(b"y"),
        lambda: log.append_many([b"y"]),
        log.sync,
        log.reset,
    ]
    if Capability.FILE_RECORDS in backend.capabilities:
        uses.append(lambda: log.append_write("f", 0, b""))
        uses.append(lambda: log.append_remove("f"))
    for use in uses:
        with pytest.raises(LogClosed):
            use()


def test_the_counters_say_what_happened(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.RECOVERY)
    log = backend.open(home, options)
    start = log.stats()
    assert (start.appends, start.bytes, start.writes, start.segments) == (0, 0, 0, 1)
    log.append(bytes(12))
    after = log.stats()
    assert after.bytes == after.file_size - start.file_size
    if backend.name in OURS and options.format == "binary":
        assert after.bytes == 40  # 24 header, 12 payload, 4 checksum
    log.append_many([b"x"] * 100)
    stats = log.stats()
    assert stats.appends == 101
    if backend.name == "wal.basic":
        assert stats.writes == 2
    if backend.name == "wal.mmap":
        assert stats.writes == 0
    assert stats.allocated >= (SEGMENT if backend.name in OURS else stats.file_size)
    log.close()


def test_a_log_of_the_other_format_is_not_taken_for_an_empty_one(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.TEXT, Capability.RECOVERY)
    log = backend.open(home, options)
    fill(log, 3)
    log.close()
    for other in FORMATS:
        if other != options.format:
            found, records = read(backend, home, small(other))
            assert (found.tail, records) == ("corrupt", [])


@pytest.mark.parametrize("wrong", [LogOptions(format="xml"), LogOptions(segment_size=100)])
def test_options_out_of_range_are_value_errors(
    backend: LogBackend, home: Path, wrong: LogOptions
) -> None:
    need_ours(backend)
    with pytest.raises(ValueError):
        backend.open(home, wrong)
    assert not home.exists()


def test_a_log_may_move_between_threads(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    log = backend.open(home, options)
    threads = [threading.Thread(target=fill, args=(log, 50)) for _ in range(4)]
    for thread in threads:
        thread.start()
        thread.join()
    log.sync()
    assert log.stats().last_sequence == 200
    log.close()
