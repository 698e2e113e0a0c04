"""Carries dirty blocks to the store and marks what arrived.

One upload: copy the block, put it, read it back and compare, mark it by the generation that was
copied. A write in between makes the mark fail and the block stays dirty. A failed put leaves it
dirty too; it is tried again after a growing pause, and after the last attempt it is reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench_cli.errors import FileNotCached, StoreError
from bench_cli.interfaces import BlockCache, BlockStore, DirtyBlock

FIRST_PAUSE_NS = 10_000_000
LONGEST_PAUSE_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class UploadFailure:
    """A block that no attempt could store; it is still dirty."""

    block: DirtyBlock
    attempts: int
    error: StoreError


@dataclass(frozen=True, slots=True)
class UploadReport:
    uploaded: int = 0  # blocks that are clean now
    stale: int = 0  # uploads of blocks that were written or removed meanwhile
    retries: int = 0
    failures: tuple[UploadFailure, ...] = ()


class UploadFailed(StoreError):
    """Some blocks could not be stored and are still dirty. ``report`` says which."""

    slug = "upload-failed"

    def __init__(self, report: UploadReport) -> None:
        first = report.failures[0]
        super().__init__(
            f"{len(report.failures)} blocks could not be uploaded; block {first.block.block} of "
            f"{first.block.name!r} failed {first.attempts} times: {first.error.message}",
            remedy="the blocks are still dirty: mend the store and upload again",
        )
        self.report = report


class _Gate:
    """One upload of a block at a time: of two, the older copy could reach the store last. A
    removal or truncation has the file for itself."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._uploading: set[tuple[str, int]] = set()
        self._closed: set[str] = set()

    @contextmanager
    def upload(self, name: str, block: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(
                lambda: name not in self._closed and (name, block) not in self._uploading
            )
            self._uploading.add((name, block))
        try:
            yield
        finally:
            with self._changed:
                self._uploading.discard((name, block))
                self._changed.notify_all()

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: name not in self._closed)
            self._closed.add(name)
            self._changed.wait_for(lambda: all(busy != name for busy, _ in self._uploading))
        try:
            yield
        finally:
            with self._changed:
                self._closed.discard(name)
                self._changed.notify_all()


class Uploader:
    """All uploads to a store go through one of these. ``attempts`` bounds the puts of one block,
    ``sleep`` takes nanoseconds."""

    def __init__(
        self,
        cache: BlockCache,
        store: BlockStore,
        *,
        block_size: int = 4 << 20,
        workers: int = 1,
        attempts: int = 5,
        sleep: Callable[[int], None] = lambda pause_ns: time.sleep(pause_ns / 1e9),
    ) -> None:
        if workers < 1 or attempts < 1:
            raise ValueError(f"{workers} workers, {attempts} attempts: at least one of each")
        self._cache, self._store = cache, store
        self._block_size = block_size
        self._workers, self._attempts = workers, attempts
        self._sleep = sleep
        self._gate = _Gate()

    def drain(self) -> UploadReport:
        """Upload until nothing is dirty. Raises UploadFailed when a pass ends with failures: the
        other blocks have been uploaded."""
        total = UploadReport()
        while True:
            report = self.upload_once()
            total = UploadReport(
                total.uploaded + report.uploaded,
                total.stale + report.stale,
                total.retries + report.retries,
                report.failures,
            )
            if total.failures:
                raise UploadFailed(total)
            if not self._cache.stats().dirty_blocks:
                return total

    def run(self, stop: threading.Event, poll_ns: int = 1_000_000) -> UploadReport:
        """Upload beside a writer until ``stop`` is set, then drain. Raises UploadFailed."""
        uploaded = stale = retries = 0
        while True:
            stopping = stop.is_set()
            report = self.drain() if stopping else self.upload_once()
            uploaded, stale = uploaded + report.uploaded, stale + report.stale
            retries += report.retries
            total = UploadReport(uploaded, stale, retries, report.failures)
            if total.failures:
                raise UploadFailed(total)
            if stopping:
                return total
            if not report.uploaded:
                self._sleep(poll_ns)

    def upload_once(self) -> UploadReport:
        """One pass over what is dirty now, the blocks written longest ago first: the one being
        written just now had better wait."""
        listed = sorted(self._cache.dirty_blocks(), key=lambda dirty: dirty.generation)
        waiting = iter(listed)  # a list's iterator hands each block to one thread
        results: list[UploadReport] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                while not errors and (dirty := next(waiting, None)):
                    results.append(self._upload(dirty))
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=work, name=f"uploader-{n}")
            for n in range(1, min(self._workers, len(listed)))
        ]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return UploadReport(
            uploaded=sum(result.uploaded for result in results),
            stale=sum(result.stale for result in results),
            retries=sum(result.retries for result in results),
            failures=tuple(failure for result in results for failure in result.failures),
        )

    def remove(self, name: str) -> None:
        """Remove a file from the cache and the store, with no upload in between."""
        with self._gate.alone(name):
            self._cache.remove(name)
            self._store.delete(name)

    def truncate(self, name: str, size: int) -> None:
        """Truncate a file in the cache and the store, with no upload in between."""
        boundary, length = divmod(size, self._block_size)
        with self._gate.alone(name):
            self._cache.truncate(name, size)
            for block in list(self._store.blocks(name)):
                if block >= boundary:
                    self._store.cut(name, block, length if block == boundary else 0)

    def _upload(self, dirty: DirtyBlock) -> UploadReport:
        pause, attempt = FIRST_PAUSE_NS, 1
        while True:
            try:
                marked = self._attempt(dirty)
                return UploadReport(uploaded=marked, stale=not marked, retries=attempt - 1)
            except StoreError as error:
                if attempt == self._attempts:
                    failure = UploadFailure(dirty, attempt, error)
                    return UploadReport(retries=attempt - 1, failures=(failure,))
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_NS)
            attempt += 1

    def _attempt(self, dirty: DirtyBlock) -> bool:
        """Is the block clean now?"""
        with self._gate.upload(dirty.name, dirty.block):
            try:
                generation, extents = self._cache.read_block(dirty.name, dirty.block)
            except FileNotCached:
                return False  # removed, or uploaded and evicted, since it was listed
            self._store.put(dirty.name, dirty.block, extents)
            self._verify(dirty, extents)
            return self._cache.mark_uploaded(dirty.name, dirty.block, generation)

    def _verify(self, dirty: DirtyBlock, extents: list[tuple[int, bytes]]) -> None:
        stored = self._store.get(dirty.name, dirty.block) or b""
        for start, data in extents:
            if stored[start : start + len(data)] != data:
                raise StoreError(
                    f"block {dirty.block} of {dirty.name!r} reads back differently from byte "
                    f"{start} on",
                    remedy="the store loses or changes bytes: check its device",
                )
