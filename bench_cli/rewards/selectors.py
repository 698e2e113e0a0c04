"""Which item a random number means, and how an item leaves and returns.

Both selectors answer the same question, "the first item whose cumulative weight exceeds r", so
they give the same draws from the same numbers. They differ in cost: prefix sums find in
log2(items) steps and remove in O(items); a Fenwick tree does both in log2(items) steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy

from bench_cli.errors import UnknownName

WORD = 1 << 64
LOW_WORD = WORD - 1
BLOCK = 1024  # words taken from the generator at a time; the sequence does not depend on it


class BoundedGenerator:
    """Integers below a bound from numpy's PCG64, one 64-bit word per attempt."""

    def __init__(self, seed: int) -> None:
        self._bits = numpy.random.PCG64(seed)
        self._words: list[int] = []

    def below(self, bound: int) -> int:
        """Uniform in 0 .. bound - 1. The high word of word * bound, rejecting the few low words
        that would favour some results (Lemire, "Fast random integer generation in an interval",
        ACM TOMACS 29, 2019)."""
        while True:
            if not self._words:
                self._words = self._bits.random_raw(BLOCK).tolist()[::-1]
            product = self._words.pop() * bound
            low = product & LOW_WORD
            if low >= bound or low >= WORD % bound:  # the first, cheaper, suffices nearly always
                return product >> 64


class Selector(Protocol):
    total: int  # weight of the items still in

    def find(self, number: int) -> int:
        """The first item whose cumulative weight exceeds ``number`` (0 <= number < total)."""

    def remove(self, index: int) -> None:
        """Take an item that is in out."""

    def restore(self, index: int) -> None:
        """Put a removed item back in at its place."""


class PrefixSum:
    """Cumulative weights, searched by bisection."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._all = tuple(weights)
        self._weights = list(weights)
        self._sum_up()

    def _sum_up(self) -> None:
        self._cumulative = list(accumulate(self._weights))
        self.total = self._cumulative[-1]

    def find(self, number: int) -> int:
        return bisect_right(self._cumulative, number)

    def remove(self, index: int) -> None:
        self._weights[index] = 0
        self._sum_up()

    def restore(self, index: int) -> None:
        self._weights[index] = self._all[index]
        self._sum_up()


class Fenwick:
    """A binary indexed tree: node i holds the weight of the lowbit(i) items that end at item i,
    counted from 1 (Fenwick, "A new data structure for cumulative frequency tables", 1994)."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = tuple(weights)
        self._size = 1 << (len(weights) - 1).bit_length()  # padded, so the descent needs no bound
        self._steps = [1 << bit for bit in reversed(range(self._size.bit_length() - 1))]
        self._tree = [0] * (self._size + 1)
        self.total = 0
        for index in range(len(weights)):
            self.restore(index)

    def find(self, number: int) -> int:
        """Descend from the root: go right wherever all that lies left does not exceed."""
        tree, position = self._tree, 0
        for step in self._steps:
            left = tree[position + step]
            if left <= number:
                position += step
                number -= left
        return position

    def remove(self, index: int) -> None:
        self._add(index, -self._weights[index])

    def restore(self, index: int) -> None:
        self._add(index, self._weights[index])

    def _add(self, index: int, weight: int) -> None:
        self.total += weight
        node = index + 1
        while node <= self._size:
            self._tree[node] += weight
            node += node & -node


SELECTORS: dict[str, type[PrefixSum] | type[Fenwick]] = {
    "fenwick": Fenwick,
    "prefix_sum": PrefixSum,
}


def check_selector(name: str) -> str:
    """Raises UnknownName."""
    if name not in SELECTORS:
        raise UnknownName(
            f"no selector {name!r}", remedy=f"selectors are: {', '.join(sorted(SELECTORS))}"
        )
    return name
