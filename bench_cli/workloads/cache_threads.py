"""Block cache rows with several threads at once."""

from __future__ import annotations

import threading
from itertools import repeat

from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import BodyInfo, Setting
from bench_cli.workloads import cache as rows
from bench_cli.workloads.base import expect, random_bytes
from bench_cli.workloads.cache import (
    BLOCK,
    NAME,
    AlternatingData,
    CacheBody,
    names_of,
    page_aligned,
    ring_offsets,
    volume_of,
)
from bench_cli.workloads.cache_copies import PIECE, whole_pieces

VECTOR = 64


class ThreadedBody(CacheBody):
    """``threads`` threads that start each batch together; the batch ends when all are done."""

    def __init__(self, setting: Setting, pool_bytes: int = 0) -> None:
        super().__init__(setting, pool_bytes)
        self.threads = int(setting.params["threads"])
        self._start = threading.Barrier(self.threads + 1)
        self._end = threading.Barrier(self.threads + 1)
        self._stop = False
        self.failures: list[BaseException] = []
        self._workers = [
            threading.Thread(target=self._serve, args=(number,), daemon=True)
            for number in range(self.threads)
        ]
        for worker in self._workers:
            worker.start()

    def work(self, number: int) -> None:
        """One thread's share of a batch."""
        raise VerificationFailed(f"{type(self).__name__} has no work")

    def _serve(self, number: int) -> None:
        while True:
            self._start.wait()
            if self._stop:
                return
            try:
                self.work(number)
            except Exception as error:  # re-raised by verify(), in the main thread
                self.failures.append(error)
            self._end.wait()

    def run(self) -> None:
        self._start.wait()
        self._end.wait()

    def verify(self) -> None:
        if self.failures:
            raise VerificationFailed(f"a thread failed: {self.failures[0]!r}")

    def close(self) -> None:
        self._stop = True
        self._start.wait()
        for worker in self._workers:
            worker.join()
        super().close()


class ConcurrentWriteBody(ThreadedBody):
    """Each thread writes around a ring of its own file (``disjoint``), or all of one file
    (``shared``); one call per write, or one vectored call per batch of 64."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        params = setting.params
        self.size = int(params["size"])
        ring, shared = int(params["ring"]), params["keys"] == "shared"
        offsets = ring_offsets(self.size, ring, volume_of(setting.core, ring))
        self.data = AlternatingData(self.size, setting.seed)
        self.names = [NAME if shared else name for name in names_of(self.threads)]
        self.offsets = offsets
        self.vectored = params["call"] == "vectored"
        self.vectors: list[list[list[tuple[str, int, bytes]]]] = []
        self.info = BodyInfo(len(offsets) * self.threads, self.size)

    def prepare(self) -> None:
        data, offsets = self.data.flip(), self.offsets
        self.vectors = [
            [
                [(name, offset, data) for offset in offsets[at : at + VECTOR]]
                for at in range(0, len(offsets), VECTOR)
            ]
            for name in self.names
            if self.vectored
        ]

    def work(self, number: int) -> None:
        if self.vectored:
            write_many = self.cache.write_many
            for vector in self.vectors[number]:
                write_many(vector)
            return
        write, name, data = self.cache.write, self.names[number], self.data.current
        for offset in self.offsets:
            write(name, offset, data)

    def verify(self) -> None:
        super().verify()
        for name in set(self.names):
            for offset in self.offsets[: rows.CHECKED_PIECES]:
                self.check_bytes(name, offset, self.data.current)


class ConcurrentReadBody(ThreadedBody):
    """Each thread reads around a ring of its own file into a buffer of its own; one call per read,
    or one vectored call per batch of 64."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        params = setting.params
        self.size = int(params["size"])
        ring = int(params["ring"])
        self.offsets = ring_offsets(self.size, ring, volume_of(setting.core, ring))
        self.data = random_bytes(self.size, setting.seed)
        self.names = names_of(self.threads)
        self.buffers = [page_aligned(self.size) for _ in self.names]
        for number, name in enumerate(self.names):
            for offset in dict.fromkeys(self.offsets):
                self.cache.write(name, offset, self.piece(number, offset))
        self.vectored = params["call"] == "vectored"
        self.vectors = [
            [
                [(name, offset, buffer) for offset in self.offsets[at : at + VECTOR]]
                for at in range(0, len(self.offsets), VECTOR)
            ]
            for name, buffer in zip(self.names, self.buffers, strict=True)
            if self.vectored
        ]
        self.read_bytes = [0] * self.threads
        self.info = BodyInfo(len(self.offsets) * self.threads, self.size)

    def piece(self, number: int, offset: int) -> bytes:
        """Every piece begins with its thread and offset, so that no read can pass for another."""
        head = number.to_bytes(2, "little") + offset.to_bytes(6, "little")
        return (head + self.data)[: self.size]

    def prepare(self) -> None:
        self.read_bytes = [0] * self.threads
        for buffer in self.buffers:
            buffer[:] = bytes(self.size)

    def work(self, number: int) -> None:
        if self.vectored:
            self.read_bytes[number] = sum(map(self.cache.read_many, self.vectors[number]))
            return
        name, buffer = repeat(self.names[number]), repeat(self.buffers[number])
        self.read_bytes[number] = sum(map(self.read_into, name, self.offsets, buffer))

    def verify(self) -> None:
        super().verify()
        each = len(self.offsets) * self.size
        expect("bytes read by each thread", self.read_bytes, [each] * self.threads)
        for number, buffer in enumerate(self.buffers):
            wanted = self.piece(number, self.offsets[-1])
            expect("the bytes read last are right", bytes(buffer) == wanted, True)


class ConcurrentCopyBody(ThreadedBody):
    """Distinct files copied in parallel, without a store; every thread its own."""

    COPIES = 8

    def __init__(self, setting: Setting) -> None:
        self.length = whole_pieces(setting)
        blocks = (self.length + BLOCK - 1) // BLOCK
        threads = int(setting.params["threads"])
        super().__init__(setting, pool_bytes=blocks * BLOCK * threads * self.COPIES)
        self.data = random_bytes(PIECE, setting.seed)
        self.offsets = ring_offsets(PIECE, self.length, 0)
        self.names = [[f"thread-{t}/file-{n}" for n in range(self.COPIES)] for t in range(threads)]
        self.info = BodyInfo(threads * self.COPIES, len(self.offsets) * PIECE)

    def prepare(self) -> None:
        for name, _ in self.cache.list_files():
            self.cache.remove(name)

    def work(self, number: int) -> None:
        write, data = self.cache.write, self.data
        for name in self.names[number]:
            for offset in self.offsets:
                write(name, offset, data)
            for _, block, generation in self.cache.dirty_blocks(name):
                self.cache.mark_uploaded(name, block, generation)

    def verify(self) -> None:
        super().verify()
        expect("dirty blocks left", self.cache.stats().dirty_blocks, 0)
        expect("files", len(self.cache.list_files()), self.threads * self.COPIES)
        for name in (names[-1] for names in self.names):
            self.check_bytes(name, self.offsets[-1], self.data)
