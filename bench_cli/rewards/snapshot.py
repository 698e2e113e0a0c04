"""Snapshots of a pool, for both twins: what is left of each item, and the next draw's id.

The body of a snapshot file (``wal/snapshot.py`` holds the rest), little-endian:

    | catalogue sha256 32 | items u32 | entries u32 | next id u64 | left u64 ... | index u32 ... |

A full one has an entry per item, in order, and no indices; one that adds to another has those
items whose stock is not what it was there. ``left`` counts reserved items as left, as nothing of
them is logged; stock without end is 2^64 - 1. The digest is of names, weights and stock at the
start: what is left means nothing to another catalogue.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy
from numpy.typing import NDArray

from bench_cli.errors import CatalogueError
from bench_cli.filesystem import SYSTEM
from bench_cli.interfaces import FileSystem, Recovery, SnapshotInfo
from bench_cli.rewards.catalogue import Catalogue
from bench_cli.wal.snapshot import (
    Body,
    Folder,
    Found,
    Kind,
    Snapshot,
    check_reach,
    describe,
    read_by,
    unreached,
)

KIND = Kind(b"BENCHRSN", "rewards")
ENDLESS = (1 << 64) - 1
_HEAD = struct.Struct("<32sIIQ")

Stock = NDArray[numpy.uint64]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A pool's state at one moment. ``left`` has an entry of type "Q" per item."""

    covered: int
    next_id: int
    left: array[int]


class Freezable(Protocol):
    """What a snapshot needs of a pool beyond its public face."""

    def freeze(self) -> Frozen:
        """Log what is unlogged, sync the log, and copy the state, all at one moment. Raises
        Unsupported without a log, and what ``sync`` raises."""

    def forget(self, covered: int) -> None:
        """The records up to ``covered`` are safe in a snapshot."""


class Snapshots:
    """The snapshots behind one pool: those a recovery found, and the one the next adds to."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()  # one snapshot at a time; draws do not wait for it
        self._folder: Folder | None = None
        self._found = Found()
        self._chain: tuple[Snapshot, ...] = ()
        self._left: Stock = numpy.empty(0, numpy.uint64)  # as of the end of the chain

    # --- taking ------------------------------------------------------------------------------

    def take(
        self, pool: Freezable, directory: Path, incremental: bool, file_system: FileSystem | None
    ) -> SnapshotInfo:
        """``interfaces.SnapshotPool.snapshot``."""
        with self._lock:
            folder = self._enter(directory, file_system)
            base = self._chain if incremental else ()
            if self._chain and not base:
                folder.prune(self._chain[0].number)
            frozen = pool.freeze()
            left = numpy.frombuffer(frozen.left, numpy.uint64)
            snapshot = folder.write(
                frozen.covered, base, lambda: self._encode(frozen.next_id, left, bool(base))
            )
            self._chain, self._left = (*base, snapshot), left
            pool.forget(frozen.covered)
            return describe(self._chain)

    def _enter(self, directory: Path, file_system: FileSystem | None) -> Folder:
        """A chain goes on in the folder it began in."""
        folder = self._folder
        if folder is None or folder.directory != directory:
            self._folder = folder = Folder(file_system or SYSTEM, directory, KIND)
            self._chain = ()
        folder.fs = file_system or folder.fs
        return folder

    def _encode(self, next_id: int, left: Stock, added: bool) -> Iterable[bytes]:
        changed = numpy.flatnonzero(left != self._left) if added else None
        entries = left if changed is None else left[changed]
        yield _HEAD.pack(self.digest, len(left), len(entries), next_id)
        yield entries.astype("<u8").tobytes()
        if changed is not None:
            yield changed.astype("<u4").tobytes()

    @cached_property
    def digest(self) -> bytes:
        return digest(self._catalogue)

    # --- recovering --------------------------------------------------------------------------

    def load(self, directory: Path, file_system: FileSystem | None) -> Frozen | None:
        """The state of the newest usable chain, None where there is none. Raises CatalogueError
        for one of another catalogue."""
        self._folder = Folder(file_system or SYSTEM, directory, KIND)
        self._found = self._folder.newest()
        self._chain = self._found.chain
        if not self._chain:
            return None
        left: Stock = numpy.empty(0, numpy.uint64)
        next_id = 0
        for snapshot in self._chain:
            with self._folder.body(snapshot) as body:
                next_id, left = self._decode(snapshot, body, left)
        self._left = left
        return Frozen(self._found.covered, next_id, array("Q", left.tobytes()))

    def _decode(self, snapshot: Snapshot, body: Body, left: Stock) -> tuple[int, Stock]:
        digest, items, entries, next_id = _HEAD.unpack(body.take(_HEAD.size))
        if digest != self.digest:
            raise self._other_catalogue(snapshot, digest, items)
        names = len(self._catalogue.names)
        whole = not snapshot.base
        if items != names or entries > items or (whole and entries != items):
            raise body.damage(f"{entries} entries of {items} items, and the catalogue has {names}")
        values = numpy.frombuffer(body.take(8 * entries), "<u8").astype(numpy.uint64)
        if whole:
            left = values
        else:
            index = numpy.frombuffer(body.take(4 * entries), "<u4")
            if entries and int(index.max()) >= items:
                raise body.damage(f"an entry of item {int(index.max())} of {items}")
            left = left.copy()
            left[index] = values
        if body.left or not next_id or not self._within_stock(left):
            raise body.damage("its numbers cannot be those of a pool")
        return next_id, left

    def _within_stock(self, left: Stock) -> bool:
        start = stock_array(self._catalogue.stock)
        endless = start == numpy.uint64(ENDLESS)
        return bool((left <= start).all() and (left[endless] == start[endless]).all())

    def _other_catalogue(self, snapshot: Snapshot, found: bytes, items: int) -> CatalogueError:
        mine = len(self._catalogue.names)
        return CatalogueError(
            f"{snapshot.path} is of a catalogue of {items} items with the digest "
            f"{found.hex()[:16]}; the one given has {mine} items and {self.digest.hex()[:16]}",
            remedy="recover with the names, weights and stock the pool was opened with",
        )

    def refuse_gap(self, begins: int) -> None:
        """The log goes on with record ``begins``, later than it should. Raises SnapshotUnusable
        (nothing outside a recovery, where records may come from anywhere)."""
        if self._folder is not None:
            raise unreached(self._folder.directory, self._found, begins)

    def complete(self, recovery: Recovery) -> Recovery:
        """After the replay: the log's recovery, with what the snapshots have to tell. Raises
        SnapshotUnusable."""
        assert self._folder is not None
        check_reach(self._folder.directory, self._found, recovery)
        return replace(recovery, snapshots=read_by(self._found))


def stock_array(stock: Sequence[int | None]) -> Stock:
    return numpy.array([ENDLESS if left is None else left for left in stock], numpy.uint64)


def digest(catalogue: Catalogue) -> bytes:
    """SHA-256 of the weights, the stock and the lengths of the names, 8 bytes each, and the names
    as UTF-8."""
    names = [name.encode() for name in catalogue.names]
    hashed = hashlib.sha256()
    hashed.update(numpy.array(catalogue.weights, "<u8").tobytes())
    hashed.update(stock_array(catalogue.stock).astype("<u8").tobytes())
    hashed.update(numpy.array([len(name) for name in names], "<u8").tobytes())
    hashed.update(b"".join(names))
    return hashed.digest()
