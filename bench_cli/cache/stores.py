"""Block stores: where dirty blocks go. ``MemoryStore`` forgets with the process; in
``DirectoryStore`` a block that ``put`` returned for survives power loss."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_cli.errors import StoreError
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import Buffer, FileSystem

LONGEST = 200  # of an escaped name, in bytes; file systems take 255
_SAFE = re.compile(rb"[A-Za-z0-9_-]")
_BLOCK_FILE = re.compile(r"(\d+)\.blk")


def merge(old: bytes, extents: Iterable[tuple[int, Buffer]]) -> bytes:
    """``old`` with the extents laid over it, zeros where neither has bytes. One extent over
    everything, the usual block, is not copied when it is ``bytes``."""
    laid = list(extents)
    if len(laid) == 1 and laid[0][0] == 0 and memoryview(laid[0][1]).nbytes >= len(old):
        return bytes(laid[0][1])
    merged = bytearray(old)
    for start, data in laid:
        view = memoryview(data).cast("B")
        if len(merged) < start:
            merged.extend(bytes(start - len(merged)))
        merged[start : start + len(view)] = view
    return bytes(merged)


class MemoryStore:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, dict[int, bytes]] = {}

    def put(self, name: str, block: int, extents: Iterable[tuple[int, Buffer]]) -> None:
        with self._lock:
            blocks = self._files.setdefault(name, {})
            blocks[block] = merge(blocks.get(block, b""), extents)

    def get(self, name: str, block: int) -> bytes | None:
        return self._files.get(name, {}).get(block)

    def cut(self, name: str, block: int, length: int) -> None:
        with self._lock:
            blocks = self._files.get(name, {})
            kept = blocks.pop(block, b"")[:length]
            if kept:
                blocks[block] = kept

    def delete(self, name: str) -> None:
        with self._lock:
            self._files.pop(name, None)

    def blocks(self, name: str) -> Iterator[int]:
        with self._lock:
            return iter(sorted(self._files.get(name, {})))


def escape(name: str) -> str:
    """A file name for any name: letters, digits, ``_`` and ``-`` stand for themselves, every
    other byte is ``%`` and two hex digits, so ``..``, slashes and control characters are
    harmless. A name that becomes too long keeps its beginning and gets its SHA-256 after a ``~``,
    which no escaped name holds. The empty name is ``%``."""
    encoded = name.encode("utf-8", "surrogateescape")
    escaped = "".join(
        chr(byte) if _SAFE.match(bytes([byte])) else f"%{byte:02X}" for byte in encoded
    )
    if len(escaped) > LONGEST:
        return f"{escaped[:100]}~{hashlib.sha256(encoded).hexdigest()}"
    return escaped or "%"


class DirectoryStore:
    """One folder per file, one file per block. A block is replaced by writing aside, syncing,
    renaming and syncing the folder: it is the old or the new one, whole."""

    def __init__(self, root: Path, file_system: FileSystem | None = None) -> None:
        self._root = root
        self._file_system = file_system or SYSTEM
        self._locks = [threading.Lock() for _ in range(64)]  # one per block, roughly
        self._temporary = itertools.count(1)
        self._file_system.mkdir(root)

    def put(self, name: str, block: int, extents: Iterable[tuple[int, Buffer]]) -> None:
        with self._changing(name, block) as path:
            self._replace(path, merge(self._read(path) or b"", extents))

    def get(self, name: str, block: int) -> bytes | None:
        path = self._path(name, block)
        try:
            return self._read(path)
        except OSError as error:
            raise self._refused("read", path, error) from error

    def cut(self, name: str, block: int, length: int) -> None:
        with self._changing(name, block) as path:
            old = self._read(path)
            if old is not None and length:
                self._replace(path, old[:length])
            elif old is not None:
                self._file_system.unlink(path)
                self._file_system.sync_directory(path.parent)

    def delete(self, name: str) -> None:
        for block in self.blocks(name):
            self.cut(name, block, 0)

    def blocks(self, name: str) -> Iterator[int]:
        folder = self._root / escape(name)
        try:
            found = self._file_system.listdir(folder)
        except FileNotFoundError:
            found = []
        except OSError as error:
            raise self._refused("list", folder, error) from error
        return iter(sorted(int(m[1]) for m in map(_BLOCK_FILE.fullmatch, found) if m))

    def _path(self, name: str, block: int) -> Path:
        return self._root / escape(name) / f"{block}.blk"

    @contextmanager
    def _changing(self, name: str, block: int) -> Iterator[Path]:
        path = self._path(name, block)
        with self._locks[hash((name, block)) % len(self._locks)]:
            try:
                yield path
            except OSError as error:
                raise self._refused("change", path, error) from error

    def _refused(self, what: str, path: Path, error: OSError) -> StoreError:
        return StoreError(
            f"cannot {what} {path}: {error.strerror or error}",
            remedy="check the folder's free space and permissions",
        )

    def _read(self, path: Path) -> bytes | None:
        try:
            fd = self._file_system.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            parts: list[bytes] = []
            offset, size = 0, self._file_system.size(fd)
            while part := self._file_system.pread(fd, size - offset, offset):
                parts.append(part)
                offset += len(part)
            return b"".join(parts)
        finally:
            self._file_system.close(fd)

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{next(self._temporary)}.new")
        fd = self._create(temporary)
        try:
            try:
                self._write(fd, data)
            finally:
                self._file_system.close(fd)
            self._file_system.rename(temporary, path)
        except BaseException:
            self._file_system.unlink(temporary)
            raise
        self._file_system.sync_directory(path.parent)

    def _create(self, path: Path) -> int:
        """A new file, in a new folder if this is the file's first block."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            return self._file_system.open(path, flags)
        except FileNotFoundError:
            self._file_system.mkdir(path.parent)
            self._file_system.sync_directory(self._root)
            return self._file_system.open(path, flags)

    def _write(self, fd: int, data: bytes) -> None:
        view, offset = memoryview(data), 0
        while view:
            written = self._file_system.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
        self._file_system.sync(fd)


def open_store(kind: str, directory: Path) -> MemoryStore | DirectoryStore:
    """``interfaces.CacheBackend.store``. Raises ValueError for another kind."""
    if kind == "memory":
        return MemoryStore()
    if kind == "directory":
        return DirectoryStore(directory)
    raise ValueError(f"a block store is memory or directory, not {kind!r}")
