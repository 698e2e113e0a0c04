"""What both twins must agree on: limits of sizes and offsets, buffer sizes, the refusals."""

from __future__ import annotations

from operator import index

from bench_cli.errors import CacheError, CacheFull, FileNotCached
from bench_cli.interfaces import CacheOptions

MAX_OFFSET = (1 << 63) - 1  # what a file offset of the operating system can be
PAGE = 4096
MAX_BLOCK = 1 << 30  # offsets inside a block are 32 bits wide in the compiled twin
MAX_BLOCKS_PER_CHUNK = 1 << 16  # the compiled twin keeps a table of them per chunk

SMALL_BUFFERS = (4 << 10, 64 << 10)
"""A block begins in the smallest of these that holds its last byte, and moves to the next, then
to a whole block, as it grows: a small file does not cost a whole block."""


def check_options(options: CacheOptions) -> None:
    """Raises ValueError."""
    for name in ("block_size", "chunk_size"):
        size = getattr(options, name)
        if size < PAGE or size & (size - 1):
            raise ValueError(f"{name} must be a power of two of at least {PAGE}, not {size}")
    if options.block_size > min(options.chunk_size, MAX_BLOCK):
        raise ValueError(
            f"block_size {options.block_size} is beyond chunk_size {options.chunk_size} "
            f"or {MAX_BLOCK}"
        )
    if options.chunk_size // options.block_size > MAX_BLOCKS_PER_CHUNK:
        raise ValueError(
            f"a chunk of {options.chunk_size} bytes would hold more than {MAX_BLOCKS_PER_CHUNK} "
            f"blocks of {options.block_size}"
        )
    for name in ("max_size", "max_pending", "pool_bytes", "wait_ns"):
        if getattr(options, name) < 0:
            raise ValueError(f"{name} must not be negative: {getattr(options, name)}")


def check_range(offset: int, length: int) -> None:
    """Raises ValueError unless 0 <= offset <= offset + length <= MAX_OFFSET, TypeError for what
    is no whole number."""
    index(offset)
    if offset < 0 or length < 0 or offset + length > MAX_OFFSET:
        raise ValueError(f"bytes {offset} + {length} are not within 0..{MAX_OFFSET}")


def check_name(name: str) -> None:
    """Raises TypeError, or UnicodeEncodeError (a ValueError) for a name that no log could hold.
    Bytes of a file name that are not UTF-8 travel as surrogate escapes."""
    if not isinstance(name, str):
        raise TypeError(f"a file name is a str, not {type(name).__name__}")
    name.encode("utf-8", "surrogateescape")


def capacity_for(end: int, block_size: int) -> int:
    """The buffer that a block with bytes up to ``end`` takes."""
    for capacity in SMALL_BUFFERS:
        if end <= capacity < block_size:
            return capacity
    return block_size


def full(which: str, used: int, needed: int, limit: int) -> CacheFull:
    return CacheFull(
        f"{needed} bytes more on top of {used} do not fit below {which} = {limit}",
        which=which,
        used=used,
        needed=needed,
        limit=limit,
    )


def not_cached(name: str, block: int | None = None) -> FileNotCached:
    place = f"file {name!r}" if block is None else f"block {block} of file {name!r}"
    return FileNotCached(f"the cache does not hold {place}")


def closed() -> CacheError:
    return CacheError("the cache is closed")
