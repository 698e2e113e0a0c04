"""What a list of per-process values says: its middle and how far the processes disagree.

Processes, not samples, are the independent observations: samples of one process share its memory
layout and its luck, so all spreads here take one value per process.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def spread(values: Sequence[float]) -> float | None:
    """Half the range between processes as a fraction of their median: "±x %".

    With the three to five processes of an ordinary run a standard deviation would pretend to know
    more than the extremes already say. None for fewer than two values or a median of zero.
    """
    if len(values) < 2:
        return None
    middle = median(values)
    if middle == 0:
        return None
    return (max(values) - min(values)) / 2 / abs(middle)


def centre(values: Sequence[float]) -> float | None:
    """The median; None for no values."""
    return median(values) if values else None
