"""Any sequence of operations: both twins side by side against a plain model of bytes.

The model keeps, per file, its bytes and which of them count as dirty or as stored; the store is
a real ``MemoryStore`` fed by what the twins hand out for upload. After every step the twins agree
in every answer; what is read is what the model says wherever the cache or the store holds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bench_cli.cache.stores import MemoryStore
from bench_cli.errors import BenchError
from bench_cli.filesystem import SystemFileSystem
from bench_cli.interfaces import BlockCache, CacheBackend, CacheOptions, LogOptions
from tests.cache.fake_log import FakeLog, FakeLogBackend
from tests.contract.cache_backends import TWINS, load

BLOCK = 4096
SPAN = 5 * BLOCK
NAMES = st.sampled_from(["a", "b", "c"])
OFFSETS = st.integers(0, SPAN) | st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
LENGTHS = st.integers(0, 300) | st.sampled_from([1, BLOCK, BLOCK + 1, 2 * BLOCK, 9000])


class MemoryFiles(SystemFileSystem):
    """Snapshots of a checkpoint, without a disk: the calls that ``snapshot.py`` makes."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.opened: list[str] = []

    def open(self, path: Path, flags: int, mode: int = 0o644) -> int:
        if flags & 0o100:  # O_CREAT
            self.files[path.name] = bytearray()
        if path.name not in self.files:
            raise FileNotFoundError(path)
        self.opened.append(path.name)
        return len(self.opened) - 1

    def close(self, fd: int) -> None:
        pass

    def size(self, fd: int) -> int:
        return len(self.files[self.opened[fd]])

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return bytes(self.files[self.opened[fd]][offset : offset + length])

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        part = bytes(data[: 1 + len(data) // 2])  # short writes
        content = self.files[self.opened[fd]]
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(part)] = part
        return len(part)

    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass

    def rename(self, source: Path, target: Path) -> None:
        self.files[target.name] = self.files.pop(source.name)

    def listdir(self, path: Path) -> list[str]:
        return list(self.files)

    def unlink(self, path: Path) -> None:
        del self.files[path.name]


class Twin:
    """One twin on its own log and snapshot file."""

    def __init__(self, backend: CacheBackend, options: CacheOptions) -> None:
        self.backend, self.options = backend, options
        self.logs = FakeLogBackend()
        self.log: FakeLog = self.logs.log
        self.files = MemoryFiles()
        self.cache: BlockCache = backend.open(
            options, log=self.log, directory=Path("log"), file_system=self.files
        )

    def crash(self) -> None:
        self.cache.close()
        self.cache, _, _ = self.backend.recover(
            self.options,
            backend=self.logs,
            directory=Path("log"),
            log_options=LogOptions(file_system=self.files),
        )


class Model:
    """A file's bytes, and for each whether the cache must hold it (dirty) or the store does."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset + len(data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Model] = {}
        self.store = MemoryStore()
        self.written = 0

    @initialize(
        max_size=st.sampled_from([0, 0, 6 * BLOCK]),
        max_pending=st.sampled_from([0, 4 * BLOCK]),
        pool=st.sampled_from([0, 2 * BLOCK]),
        large=st.booleans(),
    )
    def open(self, max_size: int, max_pending: int, pool: int, large: bool) -> None:
        """Blocks of 4 KiB never grow; those of 16 KiB do."""
        block = 4 * BLOCK if large else BLOCK
        options = CacheOptions(
            block_size=block,
            chunk_size=2 * block,
            max_size=max_size,
            max_pending=max_pending,
            pool_bytes=pool,
        )
        self.block = block
        self.twins = [Twin(load(module), options) for module in TWINS]

    def both(self, method: str, *arguments: Any) -> Any:
        """Call both twins; they agree in the result, or in the error's type and fields."""
        outcomes = []
        for twin in self.twins:
            try:
                outcomes.append(("returned", getattr(twin.cache, method)(*arguments)))
            except BenchError as error:
                fields = {k: v for k, v in vars(error).items() if k not in ("message", "remedy")}
                outcomes.append((type(error), fields))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def fresh_bytes(self, length: int) -> bytes:
        """Never the same twice, never zero."""
        self.written += 1
        return bytes((self.written * 37 + n) % 255 + 1 for n in range(min(length, 512))) * (
            length // 512 + 1
        )

    @rule(name=NAMES, offset=OFFSETS, length=LENGTHS, vectored=st.booleans())
    def write_once(self, name: str, offset: int, length: int, vectored: bool) -> None:
        self.write(name, offset, length, vectored)

    def write(self, name: str, offset: int, length: int, vectored: bool) -> None:
        data = self.fresh_bytes(length)[:length]
        request = (name, offset, data)
        outcome, _ = (
            self.both("write_many", [request]) if vectored else self.both("write", *request)
        )
        if outcome == "returned" and length:
            self.model.setdefault(name, Model()).write(offset, data)

    @rule(
        name=NAMES,
        offsets=st.lists(OFFSETS, min_size=1, max_size=6),
        length=st.sampled_from([1, 10, BLOCK, 2 * BLOCK]),
    )
    def write_here_and_there(self, name: str, offsets: list[int], length: int) -> None:
        for offset in offsets:
            self.write(name, offset, length, False)

    @precondition(lambda self: self.model)
    @rule()
    def upload_everything(self) -> None:
        for name, block, generation in self.both("dirty_blocks")[1]:
            self.store.put(name, block, self.both("read_block", name, block)[1][1])
            assert self.both("mark_uploaded", name, block, generation)[1] is True

    @precondition(lambda self: self.model)
    @rule(name=NAMES, size=st.integers(0, SPAN))
    def truncate(self, name: str, size: int) -> None:
        outcome, _ = self.both("truncate", name, size)
        assert (outcome == "returned") == (name in self.model)
        if name in self.model:
            self.model[name].truncate(size)
            boundary, length = divmod(size, self.block)
            for block in list(self.store.blocks(name)):
                if block >= boundary:
                    self.store.cut(name, block, length if block == boundary else 0)

    @precondition(lambda self: self.model)
    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        outcome, _ = self.both("remove", name)
        assert (outcome == "returned") == (name in self.model)
        self.model.pop(name, None)
        self.store.delete(name)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def upload(self, data: st.DataObject) -> None:
        _, dirty = self.both("dirty_blocks")
        if dirty:
            name, block, generation = data.draw(st.sampled_from(dirty))
            _, (read_generation, extents) = self.both("read_block", name, block)
            assert read_generation == generation
            self.store.put(name, block, extents)
            assert self.both("mark_uploaded", name, block, generation) == ("returned", True)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), back=st.integers(1, 3))
    def mark_with_an_old_generation(self, data: st.DataObject, back: int) -> None:
        _, dirty = self.both("dirty_blocks")
        if dirty:
            name, block, generation = data.draw(st.sampled_from(dirty))
            assert self.both("mark_uploaded", name, block, generation - back)[1] is False

    @precondition(lambda self: self.model)
    @rule(name=NAMES, data=st.data())
    def fill(self, name: str, data: st.DataObject) -> None:
        blocks = list(self.store.blocks(name))
        if blocks and name in self.model:
            block = data.draw(st.sampled_from(blocks))
            stored = self.store.get(name, block)
            self.both("fill", name, block * self.block, stored)

    @precondition(lambda self: self.model)
    @rule()
    def evict_one(self) -> None:
        self.both("evict_one")

    @precondition(lambda self: self.model)
    @rule()
    def evict_all_and_trim(self) -> None:
        self.both("evict_all")
        self.both("trim")

    @rule(name=NAMES, offset=OFFSETS, length=LENGTHS)
    def read(self, name: str, offset: int, length: int) -> None:
        """A byte that is held is the model's; one that is not reads zero."""
        buffers = [bytearray(b"\xff" * length) for _ in self.twins]
        if name not in self.model:
            return
        below = [
            twin.cache.read_into(name, offset, buffer)
            for twin, buffer in zip(self.twins, buffers, strict=True)
        ]
        assert below[0] == below[1] == max(0, min(length, len(self.model[name].data) - offset))
        assert buffers[0] == buffers[1]
        _, covered = self.both("is_range_covered", name, offset, length)
        if covered:
            assert buffers[0] == self.model[name].data[offset : offset + length]

    @precondition(lambda self: self.model)
    @rule()
    def everything_is_in_the_cache_or_in_the_store(self) -> None:
        """Each byte of the model: held, or in the store (where the cache holds nothing), or never
        written, hence zero in both."""
        for name, model in self.model.items():
            together = bytearray(len(model.data))
            for block in self.store.blocks(name):
                stored = self.store.get(name, block) or b""
                together[block * self.block : block * self.block + len(stored)] = stored
            del together[len(model.data) :]
            for offset in range(0, len(model.data), self.block):
                outcome, held = self.both("read_block", name, offset // self.block)
                for start, data in held[1] if outcome == "returned" else ():
                    together[offset + start : offset + start + len(data)] = data
            assert together == model.data

    @precondition(lambda self: self.model)
    @rule(incremental=st.booleans())
    def checkpoint(self, incremental: bool) -> None:
        outcomes = [twin.cache.checkpoint(incremental=incremental) for twin in self.twins]
        assert outcomes[0] == outcomes[1]
        python, native = (twin.files.files for twin in self.twins)
        assert python == native

    @precondition(lambda self: self.model)
    @rule()
    def crash_and_recover(self) -> None:
        """What was dirty is dirty again, but for a block whose bytes the store has all: clean
        bytes are not in a checkpoint, and a truncation may leave nothing else of a block."""
        _, before = self.both("dirty_blocks")
        held = {one: self.both("read_block", one.name, one.block)[1][1] for one in before}
        for twin in self.twins:
            twin.crash()
        _, after = self.both("dirty_blocks")
        assert set(after) <= set(before)
        for lost in set(before) - set(after):
            stored = self.store.get(lost.name, lost.block) or b""
            for start, data in held[lost]:
                assert stored[start : start + len(data)] == data

    @invariant()
    def the_twins_agree(self) -> None:
        if not hasattr(self, "twins"):
            return
        self.both("dirty_blocks")
        _, files = self.both("list_files")
        assert files == sorted((name, len(model.data)) for name, model in self.model.items())
        _, stats = self.both("stats")
        options = self.twins[0].options
        assert not options.max_size or stats.allocated <= options.max_size
        assert not options.max_pending or stats.pending <= options.max_pending
        assert 0 <= stats.pending <= stats.allocated
        for name, size in files:
            for block in range(-(-size // self.block)):
                self.both("read_block", name, block)
        python, native = (twin.log.records for twin in self.twins)
        assert python == native

    def teardown(self) -> None:
        for twin in getattr(self, "twins", ()):
            twin.cache.close()


def test_any_sequence_of_operations_keeps_every_byte() -> None:
    pytest.importorskip("bench_cli.cache.native")
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
