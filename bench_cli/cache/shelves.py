"""Blocks and their memory: limits, buffers, the books, and who may go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench_cli.cache import rules
from bench_cli.cache.buffers import BufferPool
from bench_cli.cache.coverage import Edges, runs
from bench_cli.cache.recency import Recency
from bench_cli.interfaces import CacheOptions

Piece = tuple[int, int, int]
"""(block number, start, end): the part of a range that lies in one block."""


class Block:
    __slots__ = ("buffer", "dirty", "edges", "file", "generation", "last_use", "number", "queued")

    def __init__(self, file: File, number: int, buffer: memoryview) -> None:
        self.file = file
        self.number = number
        self.buffer = buffer
        self.edges: Edges = []
        self.generation = 0
        self.dirty = False
        self.last_use = 0
        self.queued = False  # Recency's: has an entry in its heap

    def extents(self) -> list[tuple[int, bytes]]:
        """(start, bytes) of what is held, copied."""
        held = runs(self.edges, 0, len(self.buffer))
        return [(start, bytes(self.buffer[start:end])) for start, end in held]


class File:
    __slots__ = ("blocks", "name", "size")

    def __init__(self, name: str) -> None:
        rules.check_name(name)
        self.name = name
        self.size = 0
        self.blocks: dict[int, Block] = {}


class Shelves:
    """Every block of a cache. Sizes in bytes: ``allocated`` by all, ``pending`` by dirty ones."""

    def __init__(self, options: CacheOptions) -> None:
        self._block_size = options.block_size
        self._max_size, self._max_pending = options.max_size, options.max_pending
        self.pool = BufferPool(options.block_size, options.pool_bytes)
        self.recency: Recency[Block] = Recency()
        self.allocated = self.pending = self.blocks = self.dirty = self.evicted = 0

    def make_room(self, file: File, pieces: Sequence[Piece], *, dirty: bool) -> None:
        """Evict what must go so that ``pieces`` fit. Raises CacheFull, having evicted nothing,
        when they cannot. The blocks of ``pieces`` themselves are counted as used and stay."""
        growth = pending = spared = 0
        for number, _, end in pieces:
            block = file.blocks.get(number)
            held = len(block.buffer) if block else 0
            capacity = max(held, rules.capacity_for(end, self._block_size))
            growth += capacity - held
            if block and block.dirty:
                pending += capacity - held
            elif dirty:
                pending += capacity
            if block and not block.dirty:
                spared += held
        self._check_limits(growth, pending, spared)
        for number, _, _ in pieces:
            if number in file.blocks:
                self.recency.touch(file.blocks[number])
        while self._max_size and self.allocated + growth > self._max_size:
            self.evict_oldest()

    def _check_limits(self, growth: int, pending: int, spared: int) -> None:
        max_size, max_pending = self._max_size, self._max_pending
        evictable = self.allocated - self.pending - spared
        if max_size and self.allocated + growth - evictable > max_size:
            raise rules.full("max_size", self.allocated, growth, max_size)
        if max_pending and self.pending + pending > max_pending:
            raise rules.full("max_pending", self.pending, pending, max_pending)

    def take_buffers(self, file: File, pieces: Sequence[Piece]) -> list[memoryview | None]:
        """The buffers that ``pieces`` need beyond those their blocks have, before anything is
        changed. Pooled buffers go back to the system where together with what is in use they
        would be beyond ``max_size``."""
        taken: list[memoryview | None] = []
        for number, _, end in pieces:
            block = file.blocks.get(number)
            capacity = rules.capacity_for(end, self._block_size)
            grows = block is None or len(block.buffer) < capacity
            taken.append(self.pool.take(capacity) if grows else None)
        if self._max_size:
            new = sum(len(buffer) for buffer in taken if buffer)
            left = self._max_size - self.allocated - new
            self.pool.trim(min(self.pool.count, max(0, left // self._block_size)))
        return taken

    def give_back(self, buffers: Iterable[memoryview | None]) -> None:
        for buffer in filter(None, buffers):
            self.pool.give(buffer)

    def grow(self, file: File, number: int, buffer: memoryview | None) -> Block:
        """The block, made or moved into the larger ``buffer`` if there is one; counted as used."""
        block = file.blocks.get(number)
        if block is None:
            assert buffer is not None
            block = file.blocks[number] = Block(file, number, buffer)
            self.blocks += 1
            self.allocated += len(buffer)
            self.recency.touch(block)
            self.recency.add(block)
        elif buffer is not None:
            old = block.buffer
            buffer[: len(old)] = old
            block.buffer = buffer
            self.allocated += len(buffer) - len(old)
            self.pending += (len(buffer) - len(old)) * block.dirty
            self.pool.give(old)
        self.recency.touch(block)
        return block

    def set_dirty(self, block: Block) -> None:
        if not block.dirty:
            block.dirty = True
            self.dirty += 1
            self.pending += len(block.buffer)
            self.recency.discard(block)

    def set_clean(self, block: Block) -> None:
        if block.dirty:
            block.dirty = False
            self.dirty -= 1
            self.pending -= len(block.buffer)
            self.recency.add(block)

    def drop(self, block: Block) -> None:
        self.set_clean(block)
        self.recency.discard(block)
        del block.file.blocks[block.number]
        self.blocks -= 1
        self.allocated -= len(block.buffer)
        self.pool.give(block.buffer)

    def evict_oldest(self) -> bool:
        block = self.recency.oldest()
        if block is None:
            return False
        self.drop(block)
        self.evicted += 1
        return True
