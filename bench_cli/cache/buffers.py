"""Block buffers of the Python twin, and the pool that keeps them."""

from __future__ import annotations

import contextlib
import mmap
from typing import cast

MADV_POPULATE_WRITE = 23  # Linux 5.14; not yet named by the mmap module


def map_buffer(size: int) -> memoryview:
    """A page-aligned buffer, huge pages where the system grants them, every page faulted in."""
    area = mmap.mmap(-1, size)
    with contextlib.suppress(OSError):  # a kernel without huge pages: ordinary ones do, slower
        area.madvise(mmap.MADV_HUGEPAGE)
    try:
        area.madvise(MADV_POPULATE_WRITE)
    except OSError:
        area[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)  # an older kernel: touch each page
    return memoryview(area)


class BufferPool:
    """Hands out buffers and takes them back. Whole-block buffers are kept for reuse, with
    whatever bytes they hold: coverage says which bytes of a block are real."""

    def __init__(self, block_size: int, pool_bytes: int) -> None:
        self._block_size = block_size
        self._free = [map_buffer(block_size) for _ in range(pool_bytes // block_size)]

    @property
    def count(self) -> int:
        return len(self._free)

    def take(self, capacity: int) -> memoryview:
        if capacity < self._block_size:
            return memoryview(bytearray(capacity))
        return self._free.pop() if self._free else map_buffer(capacity)

    def give(self, buffer: memoryview) -> None:
        if len(buffer) < self._block_size:
            buffer.release()
        else:
            self._free.append(buffer)

    def trim(self, keep: int) -> None:
        """Unmap buffers until at most ``keep`` are left."""
        while len(self._free) > keep:
            buffer = self._free.pop()
            area = cast(mmap.mmap, buffer.obj)
            buffer.release()
            area.close()
