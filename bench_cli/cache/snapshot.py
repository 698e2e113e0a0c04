"""Checkpoints of a cache, for both twins: the dirty blocks and the size of every file.

The body of a snapshot file (``wal/snapshot.py`` holds the rest), little-endian:

    | block size u64 | file | ... | 0xFFFFFFFF u32 |

    file:   | name length u32 | name | size u64 | block | block | ... | 0xFFFFFFFFFFFFFFFF u64 |
    block:  | number u64 | generation u64 | extents u32 | extent | ... |
    extent: | start u32 | length u32 | bytes |

A snapshot names every file and every dirty block there is, also one that adds to another; that one
leaves out the bytes of blocks that are no newer than its base (extents 0xFFFFFFFF). A generation
never comes back, so a block of the same name, number and generation in the chain has these bytes.
Block numbers mean nothing without the block size: a cache with another one is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench_cli.interfaces import FileSystem, SnapshotInfo
from bench_cli.wal.snapshot import Body, Folder, Found, Kind, Snapshot, describe

KIND = Kind(b"BENCHCSN", "cache")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_BLOCK = struct.Struct("<QQI")
_EXTENT = struct.Struct("<II")
_NO_FILE = 0xFFFFFFFF
_NO_BLOCK = 0xFFFFFFFFFFFFFFFF
_IN_BASE = 0xFFFFFFFF

Extents = list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class SavedBlock:
    """``extents`` is None where the base has the bytes."""

    number: int
    generation: int
    extents: Extents | None


@dataclass(frozen=True, slots=True)
class SavedFile:
    """``blocks`` are the dirty ones; an iterator, so that one block at a time is copied."""

    name: str
    size: int
    blocks: Iterable[SavedBlock]


class Snapshots:
    """The snapshots behind one cache: ``chain`` is what the next one may add to."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._folder: Folder | None = None
        self._chain: tuple[Snapshot, ...] = ()

    def go_on(self, folder: Folder, chain: tuple[Snapshot, ...]) -> None:
        """After a recovery from ``chain``."""
        self._folder, self._chain = folder, chain

    def take(
        self,
        file_system: FileSystem,
        directory: Path,
        covered: int,
        incremental: bool,
        files: Callable[[int], Iterable[SavedFile]],
    ) -> SnapshotInfo:
        """``files(since)``: all of them, without the bytes of blocks of a generation up to
        ``since``. Durable and read back when it returns. Raises SnapshotFailed."""
        if self._folder is None:
            self._folder = Folder(file_system, directory, KIND)
        base = self._chain if incremental else ()
        if self._chain and not base:
            self._folder.prune(self._chain[0].number)
        since = base[-1].covered if base else 0
        snapshot = self._folder.write(
            covered, base, lambda: _encode(self._block_size, files(since))
        )
        self._chain = (*base, snapshot)
        return describe(self._chain)


def _encode(block_size: int, files: Iterable[SavedFile]) -> Iterator[bytes]:
    yield _U64.pack(block_size)
    for file in files:
        name = file.name.encode("utf-8", "surrogateescape")
        yield _U32.pack(len(name)) + name + _U64.pack(file.size)
        for block in file.blocks:
            if block.extents is None:
                yield _BLOCK.pack(block.number, block.generation, _IN_BASE)
                continue
            yield _BLOCK.pack(block.number, block.generation, len(block.extents))
            for start, data in block.extents:
                yield _EXTENT.pack(start, len(data))
                yield data
        yield _U64.pack(_NO_BLOCK)
    yield _U32.pack(_NO_FILE)


def load(
    folder: Folder,
    found: Found,
    block_size: int,
    adopt: Callable[[str, int], None],
    put: Callable[[str, SavedBlock], None],
) -> None:
    """Hand every file of the chain's end to ``adopt`` and every dirty block, its bytes from
    wherever in the chain they are, to ``put``. Raises ValueError for another block size,
    LogCorrupt for files whose checksums hold and that make no sense all the same, or OSError."""
    wanted: dict[tuple[str, int], int] = {}
    for snapshot in reversed(found.chain):
        newest = snapshot is found.chain[-1]
        with folder.body(snapshot) as body:
            written_with = _number(body, _U64)
            if written_with != block_size:
                raise ValueError(
                    f"{snapshot.path} holds blocks of {written_with} bytes, not {block_size}"
                )
            for name, size in _read_files(body):
                if newest:
                    adopt(name, size)
                _load_blocks(body, name, wanted, newest, put)
            if not wanted:
                return
            if not snapshot.base:
                raise body.damage(f"{len(wanted)} blocks that were to be here are not")


def _load_blocks(
    body: Body,
    name: str,
    wanted: dict[tuple[str, int], int],
    newest: bool,
    put: Callable[[str, SavedBlock], None],
) -> None:
    """The blocks of one file: the newest snapshot says which there are."""
    while (number := _number(body, _U64)) != _NO_BLOCK:
        generation, extents = _number(body, _U64), _number(body, _U32)
        if extents == _IN_BASE:
            if newest:
                wanted[name, number] = generation
        elif newest or wanted.get((name, number)) == generation:
            wanted.pop((name, number), None)
            put(name, SavedBlock(number, generation, _read_extents(body, extents)))
        else:
            for _ in range(extents):
                body.skip(_EXTENT.unpack(body.take(_EXTENT.size))[1])


def _number(body: Body, kind: struct.Struct) -> int:
    value: int = kind.unpack(body.take(kind.size))[0]
    return value


def _read_files(body: Body) -> Iterator[tuple[str, int]]:
    """(name, size); the blocks that follow are read before the next."""
    while (length := _number(body, _U32)) != _NO_FILE:
        name = body.take(length).decode("utf-8", "surrogateescape")
        yield name, _number(body, _U64)


def _read_extents(body: Body, count: int) -> Extents:
    extents: Extents = []
    for _ in range(count):
        start, length = _EXTENT.unpack(body.take(_EXTENT.size))
        extents.append((start, body.take(length)))
    return extents
