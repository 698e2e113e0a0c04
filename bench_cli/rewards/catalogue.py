"""What a pool may consist of. Both twins accept and refuse the same catalogues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_cli.errors import CatalogueError
from bench_cli.interfaces import Item

LIMIT = 1 << 63
"""Weights sum to less than this: a bound that fits a signed word and leaves Lemire's method a
rejection rate of at most one half. Stock stays below it as well, so 2^64 - 1 can mean endless."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A checked catalogue, one entry per item and in its order."""

    names: tuple[str, ...]
    weights: tuple[int, ...]
    stock: tuple[int | None, ...]


def check_catalogue(items: Sequence[Item]) -> Catalogue:
    """Raises CatalogueError, with the offending values."""
    if not items:
        raise CatalogueError("the catalogue is empty", remedy="give the pool at least one item")
    for position, item in enumerate(items):
        _check_name(position, item.name)
        _check_weight(item.name, item.weight)
        _check_stock(item.name, item.stock)
    _check_unique(items)
    total = sum(item.weight for item in items)
    if total >= LIMIT:
        raise CatalogueError(f"the weights sum to {total}; the sum must stay below {LIMIT}")
    return Catalogue(
        names=tuple(item.name for item in items),
        weights=tuple(item.weight for item in items),
        stock=tuple(item.stock for item in items),
    )


def _is_integer(value: object) -> bool:
    """True and False are integers to Python and slips to a catalogue."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_name(position: int, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise CatalogueError(f"item {position}: a name must be non-empty text, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise CatalogueError(f"item {position}: {name!r} cannot be written as UTF-8") from error


def _check_weight(name: str, weight: object) -> None:
    if not _is_integer(weight):
        raise CatalogueError(f"item {name!r}: the weight must be an integer, not {weight!r}")
    assert isinstance(weight, int)  # for the type checker; _is_integer has just said so
    if weight <= 0:
        raise CatalogueError(f"item {name!r}: the weight must be positive, not {weight}")


def _check_stock(name: str, stock: object) -> None:
    if stock is None:
        return
    if not _is_integer(stock):
        raise CatalogueError(f"item {name!r}: stock must be an integer or None, not {stock!r}")
    assert isinstance(stock, int)  # as above
    if not 0 <= stock < LIMIT:
        raise CatalogueError(f"item {name!r}: stock {stock} is not between 0 and {LIMIT - 1}")


def _check_unique(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise CatalogueError(f"the name {item.name!r} stands twice in the catalogue")
        seen.add(item.name)
