"""Which bytes of a block are held, exact to the byte.

A coverage is a sorted list of edges: bytes [edges[0], edges[1]) are held, [edges[1], edges[2])
are not, and so on. Its length is even; touching ranges are one. A block written front to back
has two edges, whatever the number of writes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Edges = list[int]


def cover(edges: Edges, start: int, end: int) -> None:
    """Add [start, end). Every edge inside goes; a new one stands where the outside is not held."""
    first, last = bisect_left(edges, start), bisect_right(edges, end)
    edges[first:last] = [start] * (first % 2 == 0) + [end] * (last % 2 == 0)


def cut(edges: Edges, length: int) -> None:
    """Forget every byte from ``length`` on."""
    first = bisect_left(edges, length)
    edges[first:] = [length] * (first % 2)


def is_covered(edges: Edges, start: int, end: int) -> bool:
    """Is all of [start, end) held? It must not be empty."""
    after = bisect_right(edges, start)
    return after % 2 == 1 and edges[after] >= end


def runs(edges: Edges, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The held parts of [start, end), ascending."""
    after = bisect_right(edges, start)
    for at in range(after - after % 2, len(edges), 2):
        if edges[at] >= end:
            return
        yield max(start, edges[at]), min(end, edges[at + 1])


def gaps(edges: Edges, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of [start, end) that are not held, ascending."""
    for held_start, held_end in runs(edges, start, end):
        if start < held_start:
            yield start, held_start
        start = held_end
    if start < end:
        yield start, end
