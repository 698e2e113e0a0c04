"""Clean blocks in the order of their last use.

A heap of (last use, block) that is put right only when it is read: a use only notes the time on
the block. An entry older than its block's last use goes back in with the right time; one of a
block that is dirty or gone falls out. The compiled twin keeps linked lists instead.
"""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar


class Used(Protocol):
    last_use: int
    queued: bool  # has an entry in the heap


T = TypeVar("T", bound=Used)


class Recency(Generic[T]):
    def __init__(self) -> None:
        self._now = 0
        self._clean: set[T] = set()
        self._heap: list[tuple[int, T]] = []

    def touch(self, block: T) -> None:
        """The block, clean or not, is used now."""
        self._now += 1
        block.last_use = self._now

    def add(self, block: T) -> None:
        """The block may go from now on; its place is that of its last use."""
        self._clean.add(block)
        if not block.queued:
            block.queued = True
            heapq.heappush(self._heap, (block.last_use, block))

    def discard(self, block: T) -> None:
        """The block is dirty or gone. Its entry stays until it is met, or until such entries are
        most of the heap."""
        self._clean.discard(block)
        if len(self._heap) > 2 * len(self._clean) + 64:
            self._rebuild()

    def oldest(self) -> T | None:
        while self._heap:
            noted, block = self._heap[0]
            if block not in self._clean:
                heapq.heappop(self._heap)
                block.queued = False
            elif noted < block.last_use:
                heapq.heapreplace(self._heap, (block.last_use, block))
            else:
                return block
        return None

    def _rebuild(self) -> None:
        for _, block in self._heap:
            block.queued = block in self._clean
        self._heap = [(block.last_use, block) for block in self._clean]
        heapq.heapify(self._heap)
