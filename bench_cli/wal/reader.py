"""Reading a segment front to back with bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable

from bench_cli.interfaces import FileSystem

WINDOW = 64 << 10
_ZEROS = bytes(WINDOW)
_RUNS = [bytes(WINDOW >> shift) for shift in range(1, 17)]  # of zeros, each half as long
_LINE_END = re.compile(b"[\n\0]")
_NOT_ZERO = re.compile(b"[^\0]")


class Unreadable(Exception):
    """The system could not read a file of the log; the text says why."""


class Reader:
    """The bytes ``0..limit`` of a file through one window, which grows only for a frame larger
    than it. ``data_end`` is the end of the last byte seen that is not zero."""

    def __init__(self, fs: FileSystem, fd: int, limit: int) -> None:
        self._pread: Callable[[int, int, int], bytes] = fs.pread
        self.fd = fd
        self.limit = limit
        self.data_end = 0
        self._start = 0
        self._window = b""
        self._filled = 0  # behind it only zeros stand in the window
        self._view = memoryview(b"")
        self._held = 0  # bytes in the window

    def at(self, offset: int, length: int) -> memoryview:
        """``length`` bytes from ``offset``, fewer where the file ends. Raises Unreadable."""
        begin = offset - self._start
        if begin >= 0 and begin + length <= self._held and offset + length <= self.limit:
            return self._view[begin : begin + length]
        length = max(0, min(length, self.limit - offset))
        if begin < 0 or begin + length > self._held:
            self._load(offset, max(length, WINDOW))
            begin = 0
        return self._view[begin : begin + length]

    def window(self, offset: int) -> tuple[bytes, int]:
        """(bytes, index of ``offset`` in them): what is at hand, at least one byte if there is
        one below the limit."""
        if not 0 <= offset - self._start < self._held:
            self._load(offset, WINDOW)
        return self._window, offset - self._start

    def line_end(self, offset: int) -> int:
        """Where the line that starts at ``offset`` ends: the offset of its newline, or -1 when a
        zero byte or the end of the file comes first."""
        length = WINDOW
        while offset < self.limit:
            window, begin = self.window(offset)
            match = _LINE_END.search(window, begin)
            if match:
                return self._start + match.start() if match[0] == b"\n" else -1
            if self._start + len(window) >= self.limit:
                return -1
            length *= 2  # doubling keeps a line of any length linear
            self._load(offset, length)
        return -1

    def next_line(self, offset: int) -> int:
        """Where the next line starts: after the newline or the zeros that end the one around
        ``offset``; the limit if there is none."""
        while offset < self.limit:
            window, begin = self.window(offset)
            match = _LINE_END.search(window, begin)
            if match:
                return self.skip_zeros(self._start + match.start() + 1)
            offset = self._start + len(window)
        return self.limit

    def skip_zeros(self, offset: int) -> int:
        """The first offset from ``offset`` on with a byte that is not zero, or the limit."""
        while offset < self.limit:
            window, begin = self.window(offset)
            if offset < self._filled:
                match = _NOT_ZERO.search(window, begin)
                assert match is not None
                return self._start + match.start()
            offset = self._start + len(window)
        return self.limit

    def filled(self, offset: int) -> int:
        """Where the zeros at the end of the bytes at hand begin, ``offset`` among them."""
        self.window(offset)
        return self._filled

    def _load(self, offset: int, length: int) -> None:
        length = min(length, self.limit - offset)
        parts: list[bytes] = []
        got = 0
        while got < length:
            try:
                part = self._pread(self.fd, length - got, offset + got)
            except OSError as error:
                raise Unreadable(f"{error.strerror} at {offset + got}") from error
            if not part:  # the file became shorter than it was
                self.limit = offset + got
                break
            parts.append(part)
            got += len(part)
        self._window = window = parts[0] if len(parts) == 1 else b"".join(parts)
        self._view = memoryview(window)
        self._held = len(window)
        self._start = offset
        self._filled = offset + _data_end(window)
        if self._filled > offset:
            self.data_end = max(self.data_end, self._filled)


def _data_end(window: bytes) -> int:
    """Where the zeros at the end begin. Runs of them are compared at once, the longest first:
    ``rstrip`` looks at each byte."""
    end = len(window)
    while end >= WINDOW and window.endswith(_ZEROS, 0, end):
        end -= WINDOW
    for run in _RUNS:
        if window.endswith(run, 0, end):
            end -= len(run)
    return end
