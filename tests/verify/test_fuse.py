"""The requests and answers of our own FUSE disk, byte by byte; nothing is mounted."""

from __future__ import annotations

import errno
import stat
import struct

import pytest

from bench_cli.faults import fuse

SIZE = 8192


class Log:
    def __init__(self) -> None:
        self.told: list[object] = []

    def wrote(self, offset: int, data: bytes) -> None:
        self.told.append((offset, data))

    def flushed(self) -> None:
        self.told.append("flush")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def disk(log: Log) -> fuse.Disk:
    return fuse.Disk(bytearray(SIZE), log)


def request(operation: int, body: bytes = b"", node: int = 2) -> bytes:
    """As the kernel sends it (``struct fuse_in_header``)."""
    head = struct.pack("<IIQQIIIHH", 40 + len(body), operation, 77, node, 0, 0, 1, 0, 0)
    return head + body


def span(offset: int, length: int) -> bytes:
    """``struct fuse_read_in`` and ``struct fuse_write_in``."""
    return struct.pack("<QQIIQII", 0, offset, length, 0, 0, 0, 0)


def answered(disk: fuse.Disk, asked: bytes) -> tuple[int, bytes]:
    """(errno or 0, what comes with it)."""
    answer = disk.answer(asked)
    assert answer is not None
    length, error, unique = struct.unpack_from("<IiQ", answer)
    assert (length, unique) == (len(answer), 77)
    return -error, answer[16:]


def test_the_beginning_agrees_on_a_version_and_on_long_writes(disk: fuse.Disk) -> None:
    offered = struct.pack("<IIII", 7, 45, 131072, 0xFFFFFFFF) + bytes(48)
    error, body = answered(disk, request(fuse.INIT, offered, node=0))
    major, minor, readahead, flags = struct.unpack_from("<IIII", body)
    (longest,) = struct.unpack_from("<I", body, 20)
    assert (error, len(body)) == (0, 64)
    assert (major, minor, readahead, longest) == (7, 31, 131072, 1 << 20)
    assert not flags & 1 << 16  # the kernel must not collect writes


def test_another_major_version_is_refused(disk: fuse.Disk) -> None:
    error, _ = answered(disk, request(fuse.INIT, struct.pack("<IIII", 8, 0, 0, 0), node=0))
    assert error == errno.EPROTO


def test_the_folder_has_the_disk_and_nothing_else(disk: fuse.Disk) -> None:
    error, body = answered(disk, request(fuse.LOOKUP, b"disk\0", node=1))
    assert (error, len(body)) == (0, 128)
    assert struct.unpack_from("<Q", body) == (2,)
    assert struct.unpack_from("<QQ", body, 40) == (2, SIZE)
    assert answered(disk, request(fuse.LOOKUP, b"disc\0", node=1))[0] == errno.ENOENT


@pytest.mark.parametrize(("node", "kind"), [(1, stat.S_IFDIR), (2, stat.S_IFREG)])
def test_attributes_tell_what_a_node_is(disk: fuse.Disk, node: int, kind: int) -> None:
    error, body = answered(disk, request(fuse.GETATTR, bytes(16), node))
    (mode,) = struct.unpack_from("<I", body, 16 + 60)
    assert (error, len(body), stat.S_IFMT(mode)) == (0, 104, kind)


def test_the_file_is_opened_without_a_cache(disk: fuse.Disk) -> None:
    _, body = answered(disk, request(fuse.OPEN, bytes(8)))
    assert struct.unpack("<QIi", body) == (0, 1, 0)


def test_what_was_written_is_read_and_told_in_order(disk: fuse.Disk, log: Log) -> None:
    written = request(fuse.WRITE, span(512, 4) + b"abcd")
    assert answered(disk, written) == (0, struct.pack("<II", 4, 0))
    assert answered(disk, request(fuse.FSYNC, bytes(16))) == (0, b"")
    assert answered(disk, request(fuse.WRITE, span(0, 2) + b"ef"))[0] == 0
    assert answered(disk, request(fuse.READ, span(0, 516))) == (0, b"ef" + bytes(510) + b"abcd")
    assert log.told == [(512, b"abcd"), "flush", (0, b"ef")]


def test_closing_the_file_is_no_flush(disk: fuse.Disk, log: Log) -> None:
    assert answered(disk, request(fuse.FLUSH, bytes(24))) == (0, b"")
    assert answered(disk, request(fuse.RELEASE, bytes(24))) == (0, b"")
    assert log.told == []


def test_nothing_is_written_beyond_the_end(disk: fuse.Disk, log: Log) -> None:
    assert answered(disk, request(fuse.WRITE, span(SIZE - 1, 2) + b"ab"))[0] == errno.ENOSPC
    assert log.told == []
    assert len(disk.content) == SIZE


def test_what_is_not_served_is_said_to_be_unknown(disk: fuse.Disk) -> None:
    fallocate = 43
    assert answered(disk, request(fallocate, bytes(32)))[0] == errno.ENOSYS


@pytest.mark.parametrize("operation", [fuse.FORGET, fuse.BATCH_FORGET, fuse.INTERRUPT])
def test_some_requests_have_no_answer(disk: fuse.Disk, operation: int) -> None:
    assert disk.answer(request(operation, bytes(16))) is None


def names(body: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(body):
        _, _, length, _ = struct.unpack_from("<QQII", body, at)
        found.append(body[at + 24 : at + 24 + length])
        at += (24 + length + 7) // 8 * 8
    return found


def test_the_folder_is_listed_from_any_entry_on(disk: fuse.Disk) -> None:
    whole = answered(disk, request(fuse.READDIR, span(0, 4096), node=1))[1]
    rest = answered(disk, request(fuse.READDIR, span(2, 4096), node=1))[1]
    short = answered(disk, request(fuse.READDIR, span(0, 40), node=1))[1]
    assert names(whole) == [b".", b"..", b"disk"]
    assert names(rest) == [b"disk"]
    assert names(short) == [b"."]


def test_the_file_system_has_the_size_of_the_disk(disk: fuse.Disk) -> None:
    error, body = answered(disk, request(fuse.STATFS, node=1))
    assert (error, len(body)) == (0, 80)
    assert struct.unpack_from("<Q", body) == (SIZE // 4096,)


def test_a_flush_does_not_cover_the_writes_that_wait_beside_it() -> None:
    first, second = (request(fuse.WRITE, span(at, 1) + b"x") for at in (0, 512))
    flush = request(fuse.FSYNC, bytes(16))
    assert fuse.flushes_first([first, flush, second]) == [flush, first, second]
