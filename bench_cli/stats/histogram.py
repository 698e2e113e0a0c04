"""Times of many operations in little memory: a histogram whose buckets grow with the value.

Each power of two is cut into 128 buckets, so a bucket is at most 1/128 of its value wide and its
middle is at most 0.4 % off; below 256 ns every nanosecond has a bucket of its own. (The layout is
that of the HDR histogram by Gil Tene.) Histograms of several processes add up to exactly the one
that all their values would have given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = 7
_HALF = 1 << _BITS
LARGEST = (1 << 53) - 1
"""104 days in ns; up to here a float holds every whole number, which finding the bucket needs."""
_BUCKETS = ((53 - _BITS) << _BITS) + _HALF
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
BEYOND = 10
"""A percentile is told when at least this many operations lie beyond it: p99 needs 1,000, p99.9
10,000. With fewer it is one unlucky operation more or less."""


def _empty() -> NDArray[np.int64]:
    return np.zeros(_BUCKETS, dtype=np.int64)


@dataclass(slots=True)
class Histogram:
    """Counts per bucket of whole nanoseconds; ``smallest`` and ``largest`` are exact."""

    counts: NDArray[np.int64] = field(default_factory=_empty)
    smallest: int | None = None
    largest: int | None = None

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def add(self, values: Sequence[int]) -> None:
        """Values in ns; negative ones count as 0, those above LARGEST as that."""
        if not len(values):
            return
        held = np.clip(np.asarray(values, dtype=np.int64), 0, LARGEST)
        self.counts += np.bincount(_bucket_of(held), minlength=_BUCKETS)
        self._extend(int(held.min()), int(held.max()))

    def merge(self, other: Histogram) -> None:
        self.counts += other.counts
        if other.smallest is not None and other.largest is not None:
            self._extend(other.smallest, other.largest)

    def _extend(self, smallest: int, largest: int) -> None:
        self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
        self.largest = largest if self.largest is None else max(self.largest, largest)

    def quantile(self, share: float) -> float | None:
        """The value that ``share`` of all do not exceed, to 0.4 %; None when there is none."""
        total = self.total
        if not total or self.smallest is None or self.largest is None:
            return None
        rank = max(1, ceil(share * total - 1e-9))  # 0.9 * 10 is a little more than 9
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        low, width = _bounds(bucket)
        return float(min(max(low + (width - 1) / 2, self.smallest), self.largest))

    def as_json(self) -> dict[str, Any]:
        """Only buckets that are not empty: their numbers, and their counts."""
        used = np.flatnonzero(self.counts)
        return {
            "min": self.smallest,
            "max": self.largest,
            "buckets": used.tolist(),
            "counts": self.counts[used].tolist(),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Histogram:
        """Raises ValueError, TypeError or KeyError for what ``as_json`` cannot have made."""
        buckets = np.asarray(stored["buckets"], dtype=np.int64)
        counts = np.asarray(stored["counts"], dtype=np.int64)
        bad_bucket = buckets.size and (buckets.min() < 0 or buckets.max() >= _BUCKETS)
        if buckets.shape != counts.shape or bad_bucket or (counts.size and counts.min() < 0):
            raise ValueError("buckets and counts are not those of a histogram")
        found = cls(smallest=stored["min"], largest=stored["max"])
        np.add.at(found.counts, buckets, counts)
        return found


def _bucket_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The shift that leaves eight significant bits numbers the power of two, those bits the place
    in it."""
    lengths = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    shifts = np.maximum(lengths - (_BITS + 1), 0)
    found: NDArray[np.int64] = (shifts << _BITS) + (values >> shifts)
    return found


def _bounds(bucket: int) -> tuple[int, int]:
    """(lowest value, width) of a bucket."""
    shift = max(0, (bucket >> _BITS) - 1)
    return (bucket - (shift << _BITS)) << shift, 1 << shift


def summary(found: Histogram) -> dict[str, Any]:
    """For a row: count, min, max, and each percentile in ns or None with the reason why."""
    total = found.total
    told: dict[str, Any] = {"count": total, "min": found.smallest, "max": found.largest}
    reasons = {}
    for name, share in PERCENTILES.items():
        needed = round(BEYOND / (1 - share))
        told[name] = found.quantile(share) if total >= needed else None
        if total < needed:
            reasons[name] = f"n too small: {total:,} of {needed:,} operations"
    return {**told, "reasons": reasons}
