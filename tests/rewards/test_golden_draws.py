"""Fixed sequences: a change in any of them breaks everyone's reproducible runs."""

from __future__ import annotations

import numpy
import pytest

from bench_cli.interfaces import Item
from tests.contract.pool_backends import TWINS, Case

MIXED = (
    Item("gold", 1, 2),
    Item("silver", 4, 6),
    Item("bronze", 10),
    Item("tin", (1 << 40) + 7, 9),
    Item("lead", 1 << 41, 5),
)
MIXED_DRAWS = [
    *(3, 4, 4, 4, 3, 4, 4, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 1),
    *(1, 2, 2, 1, 2, 1, 1, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 0, 2),
]

REJECTING = (Item("big", (1 << 62) + 1), Item("huge", (1 << 61) + 3))
"""Every fourth random number is rejected under this total."""
REJECTING_DRAWS = [
    *(0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    *(0, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0),
]


@pytest.mark.parametrize("selector", ["fenwick", "prefix_sum"])
@pytest.mark.parametrize("case", TWINS, ids=lambda case: case.id)
@pytest.mark.parametrize(
    ("items", "seed", "draws"),
    [(MIXED, 20260101, MIXED_DRAWS), (REJECTING, 7, REJECTING_DRAWS)],
    ids=["mixed", "rejecting"],
)
def test_a_seed_gives_the_draws_it_always_gave(
    items: tuple[Item, ...], seed: int, draws: list[int], case: Case, selector: str
) -> None:
    backend = case.load()
    single = backend.open(items, seed=seed, selector=selector)
    assert [single.names.index(single.draw()) for _ in draws] == draws
    batch = backend.open(items, seed=seed, selector=selector)
    assert list(batch.draw_many(len(draws))[1]) == draws


def test_the_golden_draws_follow_from_the_method() -> None:
    """Recomputed from the generator's words with nothing but integer arithmetic."""
    words = iter(int(word) for word in numpy.random.PCG64(7).random_raw(100))
    total = sum(item.weight for item in REJECTING)
    draws = []
    while len(draws) < len(REJECTING_DRAWS):
        number, low = divmod(next(words) * total, 1 << 64)
        if low >= (1 << 64) % total:
            draws.append(0 if number < REJECTING[0].weight else 1)
    assert draws == REJECTING_DRAWS
