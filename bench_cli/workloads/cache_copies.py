"""Block cache rows about whole files: copied, flushed, recovered from a log."""

from __future__ import annotations

from collections.abc import Callable

from bench_cli.errors import Unsupported, UsageError
from bench_cli.interfaces import BlockStore, BodyInfo, Setting
from bench_cli.workloads import cache as rows
from bench_cli.workloads.base import KIB, expect, random_bytes
from bench_cli.workloads.cache import BLOCK, NAME, AlternatingData, CacheBody, ring_offsets
from bench_cli.workloads.wal import log_options

PIECE = 32 * KIB


class FileCopyBody(CacheBody):
    """A whole file: sequential 32 KiB writes, the flush of every dirty block to the block store,
    then marked uploaded. Blocks come from a pool that was faulted in before."""

    def __init__(self, setting: Setting) -> None:
        self.length = whole_pieces(setting)
        blocks = (self.length + BLOCK - 1) // BLOCK
        super().__init__(setting, pool_bytes=blocks * BLOCK if self.pooled(setting) else 0)
        kind = str(setting.params["store"])
        self.store = None if kind == "none" else self.backend.store(kind, setting.scratch / "store")
        self.flush = flusher(self, self.store)
        self.data = AlternatingData(PIECE, setting.seed)
        self.offsets = ring_offsets(PIECE, self.length, 0)
        self.info = BodyInfo(1, len(self.offsets) * PIECE)

    @staticmethod
    def pooled(setting: Setting) -> bool:
        return str(setting.params["state"]) == "pooled"

    def prepare(self) -> None:
        self.data.flip()
        if not self.pooled(self.setting):
            self.close()
            self.open_cache()
            return
        if self.cache.list_files():
            self.cache.remove(NAME)
        self.shorten_log()

    def content(self, length: int) -> bytes:
        """The first ``length`` bytes of any block: the same piece again and again."""
        return self.data.current * (length // PIECE)

    def run(self) -> None:
        write, name, data = self.cache.write, NAME, self.data.current
        for offset in self.offsets:
            write(name, offset, data)
        self.flush(name)

    def verify(self) -> None:
        expect("dirty blocks left", self.cache.stats().dirty_blocks, 0)
        if self.store is not None:
            for block in range((self.length + BLOCK - 1) // BLOCK):
                held = min(BLOCK, self.length - block * BLOCK)
                stored = (self.store.get(NAME, block) or b"")[:held]
                expect(f"block {block} is in the store", stored == self.content(held), True)
        for offset in self.offsets[:: max(1, len(self.offsets) // rows.CHECKED_PIECES)]:
            self.check_bytes(NAME, offset, self.data.current)


def whole_pieces(setting: Setting) -> int:
    """The file size, which must be what the row says: pieces are not cut."""
    length = int(setting.params["size"])
    if length % PIECE:
        raise UsageError(f"size {length} is not a whole number of {PIECE}-byte pieces")
    return length


def flusher(body: CacheBody, store: BlockStore | None) -> Callable[[str], None]:
    """A call that flushes one file's dirty blocks and marks them. Without a store it marks only:
    the row then measures the cache without object storage behind it."""

    def mark_all(name: str) -> None:
        for _, block, generation in body.cache.dirty_blocks(name):
            body.cache.mark_uploaded(name, block, generation)

    def flush(name: str) -> None:
        assert store is not None  # chosen below
        for _, block, _ in body.cache.dirty_blocks(name):
            generation, extents = body.cache.read_block(name, block)
            store.put(name, block, extents)
            body.cache.mark_uploaded(name, block, generation)

    return mark_all if store is None else flush


class RecoverBody(CacheBody):
    """A cache rebuilt from the log of a file that was written in 32 KiB pieces, until usable: the
    log is open for appending again. Blocks come from memory that was never touched."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if not self.logged:
            raise Unsupported(f"{setting.params['wal']} keeps nothing to recover from")
        self.length = whole_pieces(setting)
        self.data = random_bytes(PIECE, setting.seed)
        self.offsets = ring_offsets(PIECE, self.length, 0)
        for offset in self.offsets:
            self.write(NAME, offset, self.piece(offset))
        self.info = BodyInfo(len(self.offsets), PIECE)

    def piece(self, offset: int) -> bytes:
        """Every piece begins with its offset: none can stand for another."""
        return offset.to_bytes(8, "little") + self.data[8:]

    def prepare(self) -> None:
        """To let the last one go is no part of a recovery."""
        self.close()

    def run(self) -> None:
        self.cache, self.log, self.found = self.backend.recover(
            self.options,
            backend=self.log_backend,
            directory=self.place,
            log_options=log_options(self.setting.params),
        )

    def verify(self) -> None:
        expect("records recovered", self.found.records, len(self.offsets))
        expect("damages found", self.found.damages, ())
        expect("file size", self.cache.file_size(NAME), self.length)
        expect("dirty blocks", self.cache.stats().dirty_blocks, -(-self.length // BLOCK))
        for offset in self.offsets[:: max(1, len(self.offsets) // rows.CHECKED_PIECES)]:
            self.check_bytes(NAME, offset, self.piece(offset))
        self.check_bytes(NAME, self.offsets[-1], self.piece(self.offsets[-1]))
