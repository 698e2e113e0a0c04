"""A disk that is one file of a FUSE file system, whose every write and flush is told in order.

Ours from /dev/fuse up: the part of the protocol (version 7, ``linux/fuse.h``) that a folder with
the one file ``disk`` needs. A request is ``fuse_in_header`` and its arguments, an answer
``fuse_out_header`` and its results; all numbers are little-endian.

    in:  length u32, operation u32, unique u64, node u64, uid u32, gid u32, pid u32, 4 bytes
    out: length u32, -errno i32, unique u64

The server must be a process of its own. It must touch nothing that stands on its disk, and nobody
else may hold its /dev/fuse: when the server dies, the kernel then ends what waits for it, instead
of letting it wait for ever.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
from collections.abc import Callable
from typing import Protocol

NAME = b"disk"
MAX_WRITE = 1 << 20  # bytes of one request
_ROOT, _FILE = 1, 2  # nodes
_BUFFER = MAX_WRITE + 4096  # a read of /dev/fuse must have room for the longest request

LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 1, 2, 3, 14, 15, 16, 17, 18, 20
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = (
    25, 26, 27, 28, 29, 36, 38, 42,
)  # fmt: skip
_UNANSWERED = (FORGET, INTERRUPT, BATCH_FORGET)

_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_INIT_IN = struct.Struct("<IIII")  # major, minor, readahead, flags
_INIT_OUT = struct.Struct("<IIIIHHIIHHII24x")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")  # node, generation, valid for s, s, ns, ns; then attributes
_ATTR_OUT = struct.Struct("<QII")  # valid for s, ns; then attributes
_OPEN_OUT = struct.Struct("<QIi")
_RANGE = struct.Struct("<QQIIQII")  # of a read or a write: handle, offset, length, ...
_WRITE_OUT = struct.Struct("<II")
_STATFS = struct.Struct("<QQQQQIIII24x")
_DIRENT = struct.Struct("<QQII")  # node, where the next one is, length of the name, type

_MAJOR, _MINOR = 7, 31
_ASYNC_READ, _BIG_WRITES, _ASYNC_DIO, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 15, 1 << 22
_DIRECT_IO = 1
"""Of an open file: the kernel keeps no pages of it. With a loop device that asks for direct I/O too
each request of the block layer is one request here and there is no second cache, whose pages would
have to be written while everything is being taken down. (Without either, writes come one by one
and flushes come all the same.)"""
_FOR_EVER = 1 << 30  # seconds: only the server changes anything


class Told(Protocol):
    """Whoever wants to know what is asked of the disk, before it is answered."""

    def wrote(self, offset: int, data: bytes) -> None: ...
    def flushed(self) -> None: ...


class Disk:
    """Answers requests; ``content`` is what the disk holds now."""

    def __init__(self, content: bytearray, told: Told) -> None:
        self.content = content
        self._told = told
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            INIT: self._init,
            LOOKUP: self._lookup,
            GETATTR: lambda node, body: _ATTR_OUT.pack(_FOR_EVER, 0, 0) + self._attributes(node),
            OPEN: lambda node, body: _OPEN_OUT.pack(0, _DIRECT_IO, 0),
            READ: self._read,
            WRITE: self._write,
            FSYNC: self._fsync,
            STATFS: self._statfs,
            OPENDIR: lambda node, body: _OPEN_OUT.pack(0, 0, 0),
            READDIR: self._readdir,
            **dict.fromkeys((FLUSH, RELEASE, RELEASEDIR, DESTROY), lambda node, body: b""),
        }

    def answer(self, request: bytes) -> bytes | None:
        """None: none is expected. What the disk cannot do is ENOSYS, which the kernel remembers."""
        _, operation, unique, node, *_ = _IN.unpack_from(request)
        if operation in _UNANSWERED:
            return None
        try:
            if operation not in self._answers:
                raise OSError(errno.ENOSYS, "not served")
            result = self._answers[operation](node, request[_IN.size :])
        except OSError as error:
            return _OUT.pack(_OUT.size, -(error.errno or errno.EIO), unique)
        return _OUT.pack(_OUT.size + len(result), 0, unique) + result

    def _init(self, node: int, body: bytes) -> bytes:
        major, minor, readahead, offered = _INIT_IN.unpack_from(body)
        if major != _MAJOR or minor < _MINOR:
            raise OSError(errno.EPROTO, f"FUSE {major}.{minor}")
        flags = offered & (_ASYNC_READ | _BIG_WRITES | _ASYNC_DIO | _MAX_PAGES)
        return _INIT_OUT.pack(
            _MAJOR, _MINOR, readahead, flags, 64, 48, MAX_WRITE, 1, MAX_WRITE // 4096, 0, 0, 0
        )

    def _lookup(self, node: int, body: bytes) -> bytes:
        if node != _ROOT or body.rstrip(b"\0") != NAME:
            raise OSError(errno.ENOENT, "no such name")
        return _ENTRY.pack(_FILE, 0, _FOR_EVER, _FOR_EVER, 0, 0) + self._attributes(_FILE)

    def _attributes(self, node: int) -> bytes:
        if node == _ROOT:
            mode, size = stat.S_IFDIR | 0o700, 0
        else:
            mode, size = stat.S_IFREG | 0o600, len(self.content)
        return _ATTR.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        _, offset, length, *_ = _RANGE.unpack_from(body)
        return bytes(self.content[offset : offset + length])

    def _write(self, node: int, body: bytes) -> bytes:
        _, offset, length, *_ = _RANGE.unpack_from(body)
        data = body[_RANGE.size : _RANGE.size + length]
        if offset + length > len(self.content):
            raise OSError(errno.ENOSPC, "beyond the end of the disk")
        self._told.wrote(offset, data)
        self.content[offset : offset + length] = data
        return _WRITE_OUT.pack(length, 0)

    def _fsync(self, node: int, body: bytes) -> bytes:
        if node == _FILE:
            self._told.flushed()
        return b""

    def _statfs(self, node: int, body: bytes) -> bytes:
        blocks = len(self.content) // 4096
        return _STATFS.pack(blocks, 0, 0, 2, 0, 4096, 255, 4096, 0)

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, length, *_ = _RANGE.unpack_from(body)
        made = b""
        for number, (inode, name, kind) in enumerate(
            ((_ROOT, b".", stat.S_IFDIR), (_ROOT, b"..", stat.S_IFDIR), (_FILE, NAME, stat.S_IFREG))
        ):
            entry = _DIRENT.pack(inode, number + 1, len(name), kind >> 12) + name
            entry += bytes(-len(entry) % 8)
            if number >= offset and len(made) + len(entry) <= length:
                made += entry
        return made


def serve(device: int, disk: Disk) -> None:
    """Until it is unmounted. ``device``: an open /dev/fuse, mounted already."""
    os.set_blocking(device, False)
    ready = select.poll()
    ready.register(device, select.POLLIN)
    try:
        while True:
            ready.poll()
            for request in flushes_first(_waiting(device)):
                if (answer := disk.answer(request)) is not None:
                    _reply(device, answer)
    except OSError as error:
        if error.errno != errno.ENODEV:  # unmounted
            raise


def flushes_first(requests: list[bytes]) -> list[bytes]:
    """A flush covers the writes that were answered before it was asked for, none of those that
    wait beside it."""
    return sorted(requests, key=lambda request: _IN.unpack_from(request)[1] != FSYNC)


def _waiting(device: int) -> list[bytes]:
    """All that is asked for now."""
    found: list[bytes] = []
    while True:
        try:
            found.append(os.read(device, _BUFFER))
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):  # the request was taken back
                raise


def _reply(device: int, answer: bytes) -> None:
    try:
        os.write(device, answer)
    except FileNotFoundError:  # who asked was killed
        return


def why_not() -> str | None:
    """Why no such disk can be made here; None when it can."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"it needs /dev/fuse: {error.strerror}"
    return None
