"""What every log that keeps file records promises of them, over every backend, both twins and all
formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli import payloads as encodings
from bench_cli.interfaces import Capability, LogBackend, LogOptions
from tests.contract.log_backends import need, read


def test_file_records_are_numbered_among_the_others(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.FILE_RECORDS)
    log = backend.open(home, options)
    assert log.append(b"x") == 1
    assert log.append_write("name", 0, memoryview(b"data")) == 2
    assert log.append_truncate("name", 0) == 3
    assert log.append_uploaded("name", 0, 1) == 4
    assert log.append_remove("name") == 5
    assert log.append(b"y") == 6
    assert (log.stats().last_sequence, log.stats().appends) == (6, 6)
    log.close()


def test_file_records_carry_names_of_every_kind(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need(backend, Capability.FILE_RECORDS, Capability.RECOVERY)
    names = ["plain", "with space", "ünï/\n\t", "\udcff\udc80", "", "n" * 1000]
    log = backend.open(home, options)
    for name in names:
        log.append_write(name, 1 << 40, bytearray(b"\xa9data"))
        log.append_remove(name)
        log.append_truncate(name, 12345)
        log.append_uploaded(name, 7, 9)
    log.close()
    records = read(backend, home, options)[1]
    assert [kind for _, kind, _ in records] == [2, 3, 4, 5] * len(names)
    encoded = [memoryview(payload) for _, _, payload in records]
    for index, name in enumerate(names):
        write, remove, truncate, uploaded = encoded[4 * index : 4 * index + 4]
        assert encodings.decode_write(write) == (name, 1 << 40, b"\xa9data")
        assert encodings.decode_remove(remove) == name
        assert encodings.decode_truncate(truncate) == (name, 12345)
        assert encodings.decode_uploaded(uploaded) == (name, 7, 9)


def need_live_files(backend: LogBackend) -> None:
    need(backend, Capability.FILE_RECORDS, Capability.RECOVERY)
    if not hasattr(backend, "live_files"):
        pytest.skip(f"{backend.name} leaves this to payloads.live_files")


def test_live_files_are_those_written_and_not_removed_since(
    backend: LogBackend, options: LogOptions, home: Path
) -> None:
    need_live_files(backend)
    log = backend.open(home, options)
    log.append(b"of another engine")
    log.append_write("a", 0, b"one")
    log.append_write("b\udcff", 1 << 40, b"two!")
    log.append_write("a", 10, b"three")
    log.append_remove("never written")
    log.append_remove("b\udcff")
    log.append_write("cut", 0, b"12345678")
    log.append_write("cut", 100, b"beyond")
    log.append_truncate("cut", 5)
    log.append_truncate("never written", 5)
    log.append_uploaded("a", 0, 2)
    log.append_write("b\udcff", 7, b"")
    log.close()
    found, files = backend.live_files(home, options)
    assert files == {
        "a": [(2, 0, 3), (4, 10, 5)],
        "cut": [(7, 0, 5)],
        "b\udcff": [(12, 7, 0)],
    }
    assert (found.records, found.tail) == (12, "clean")
    assert encodings.live_files(backend, home, options) == (found, files)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(2, b"short"), (2, bytes(8) + b"\xff\0\0\0" + b"name"), (4, b"short")],
)
def test_live_files_refuses_a_record_that_is_not_of_its_kind(
    backend: LogBackend, options: LogOptions, home: Path, kind: int, payload: bytes
) -> None:
    need_live_files(backend)
    log = backend.open(home, options)
    log.append(payload, kind)
    log.close()
    with pytest.raises(ValueError):
        backend.live_files(home, options)


@pytest.mark.parametrize("size", [4000, 65_540, 300_000])
def test_a_large_write_record_comes_back_as_it_was(
    backend: LogBackend, options: LogOptions, home: Path, size: int
) -> None:
    need(backend, Capability.FILE_RECORDS, Capability.RECOVERY)
    roomy = LogOptions(options.format, 4 << 20)
    data = (b"%d " % size * size)[:size]
    log = backend.open(home, roomy)
    log.append_write("name", 5, data)
    log.append(b"next")
    log.close()
    write, following = read(backend, home, roomy)[1]
    assert encodings.decode_write(memoryview(write[2])) == ("name", 5, data)
    assert following == (2, 1, b"next")


@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_offsets_and_sizes_outside_63_bits_are_value_errors(
    backend: LogBackend, options: LogOptions, home: Path, value: int
) -> None:
    need(backend, Capability.FILE_RECORDS)
    log = backend.open(home, options)
    with pytest.raises(ValueError):
        log.append_write("f", value, b"")
    with pytest.raises(ValueError):
        log.append_truncate("f", value)
    with pytest.raises(ValueError):
        log.append_uploaded("f", 0, value)
    assert log.append(b"x") == 1
    log.close()
