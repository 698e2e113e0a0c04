"""Sizes, times, rates and shares as people write them.

Sizes are whole bytes: ``32KiB``, ``32K`` (the same), ``32KB`` (32,000), ``512``. Times are whole
nanoseconds and always carry a unit, because a bare ``50`` could be anything: ``50ms``, ``5m``.
Numbers are read exactly (as fractions, never through a float) and bounded by 2^63 - 1, the
largest value every engine and every file format of this project can hold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction

from bench_cli.errors import UsageError
from bench_cli.metrics import Unit

LARGEST = 2**63 - 1
MAX_TEXT = 64
"""No quantity needs more characters; the bound keeps exact arithmetic cheap."""
MAX_EXPONENT = 30

BINARY = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
SIZES: dict[str, int] = {
    **BINARY,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
    "T": 1 << 40,
    "KB": 10**3,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
EXACT_TIMES = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
TIMES: dict[str, int] = {**EXACT_TIMES, "µs": 10**3, "μs": 10**3, "min": 60 * 10**9}
RATES: dict[str, int] = {
    f"{unit}/s": factor for unit, factor in SIZES.items() if unit not in "KMGT"
}
PER_SECOND: dict[str, int] = {"/s": 1, "ops/s": 1, "draws/s": 1, "k/s": 10**3, "M/s": 10**6}

_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*([A-Za-zµμ/%]*)")
_NOT_FINITE = re.compile(r"[+-]?\.?(nan|inf|infinity)\b.*", re.IGNORECASE)


class UnitError(UsageError):
    """A quantity that cannot be read. The message says why and names the closest valid unit."""

    slug = "unit"


def shorten(text: str, length: int = 40) -> str:
    """Quoted, escaped and cut, so that hostile text can stand in a message."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")


def suggest_unit(unit: str, units: Iterable[str]) -> str:
    """Which of ``units`` was probably meant; all of them when none is near."""
    known = list(units)
    folded = {name.lower(): name for name in reversed(known)}
    near = folded.get(unit.lower())
    if near is None:
        matches = difflib.get_close_matches(unit, known, n=1, cutoff=0.4)
        near = matches[0] if matches else None
    return f"did you mean {near}?" if near else "known units: " + ", ".join(known)


def split_quantity(text: str) -> tuple[Fraction, str]:
    """(number, unit) of ``text``; the unit may be empty. Raises UnitError."""
    stripped = text.strip()
    if not stripped:
        raise UnitError("a quantity is missing")
    if len(stripped) > MAX_TEXT:
        raise UnitError(f"{shorten(stripped)} is longer than {MAX_TEXT} characters")
    if _NOT_FINITE.fullmatch(stripped):
        raise UnitError(f"{shorten(stripped)} is not a finite number")
    if stripped.startswith("-"):
        raise UnitError(f"{shorten(stripped)} is negative")
    found = _QUANTITY.fullmatch(stripped)
    if found is None:
        raise UnitError(f"{shorten(stripped)} is not a number with a unit")
    return _exact(found[1]), found[2]


def _exact(digits: str) -> Fraction:
    exponent = re.search(r"[eE]([+-]?[0-9]+)$", digits)
    if exponent and abs(int(exponent[1])) > MAX_EXPONENT:
        raise UnitError(f"{shorten(digits)} is absurdly large or small")
    return Fraction(digits.replace(",", "").replace("_", ""))


def _scaled(text: str, units: Mapping[str, int], plain: int | None, what: str) -> Fraction:
    """The value in base units. ``plain`` is the factor of a number without a unit, None when
    it needs one."""
    number, unit = split_quantity(text)
    if not unit:
        if plain is None and number != 0:
            raise UnitError(f"{shorten(text)} needs a unit of {what}: {', '.join(units)}")
        return number * (plain or 1)
    if unit not in units:
        raise UnitError(f"{shorten(unit)} is not a unit of {what}; {suggest_unit(unit, units)}")
    return number * units[unit]


def _whole(value: Fraction, text: str, base: str) -> int:
    if value.denominator != 1:
        raise UnitError(f"{shorten(text)} is not a whole number{base}")
    return int(_bounded(value, text))


def _bounded(value: Fraction, text: str) -> Fraction:
    if value > LARGEST:
        raise UnitError(f"{shorten(text)} is absurdly large (more than 2^63 - 1)")
    return value


def parse_size(text: str) -> int:
    """Bytes. A number without a unit is in bytes."""
    return _whole(_scaled(text, SIZES, 1, "size"), text, " of bytes")


def parse_time(text: str) -> int:
    """Nanoseconds. Only zero may stand without a unit."""
    return _whole(_scaled(text, TIMES, None, "time"), text, " of nanoseconds")


def parse_count(text: str) -> int:
    """A whole number without a unit."""
    return _whole(_plain(text), text, "")


def _plain(text: str) -> Fraction:
    number, unit = split_quantity(text)
    if unit:
        raise UnitError(f"{shorten(text)} is a count and takes no unit")
    return number


def parse_rate(text: str) -> float:
    """Bytes per second; the unit is required (``3 GB/s``)."""
    return float(_bounded(_scaled(text, RATES, None, "rate"), text))


def parse_frequency(text: str) -> int:
    """Whole operations per second; only zero may stand without a unit (``1000/s``, ``5 k/s``)."""
    return _whole(_scaled(text, PER_SECOND, None, "frequency"), text, " per second")


def parse_share(text: str) -> float:
    """A share as a fraction: ``60%`` is 0.6, and so is ``0.6``."""
    return float(_bounded(_scaled(text, {"%": 1}, 100, "share") / 100, text))


def parse_quantity(text: str, unit: Unit) -> float:
    """A value of a metric in its base unit."""
    match unit:
        case Unit.NANOSECONDS:
            return float(_bounded(_scaled(text, TIMES, None, "time"), text))
        case Unit.BYTES:
            return float(_bounded(_scaled(text, SIZES, 1, "size"), text))
        case Unit.BYTES_PER_SECOND:
            return parse_rate(text)
        case Unit.PER_SECOND:
            return float(_bounded(_scaled(text, PER_SECOND, None, "frequency"), text))
        case Unit.RATIO:
            return parse_share(text)
        case Unit.COUNT:
            return float(_bounded(_plain(text), text))


def _format(value: int, units: Mapping[str, int]) -> str:
    """In the largest unit that divides ``value``; zero in the smallest."""
    name, factor = next(iter(units.items()))
    for unit, size in units.items():
        if value and value % size == 0:
            name, factor = unit, size
    return f"{value // factor}{name}"


def format_size(value: int) -> str:
    """Exact, in the largest binary unit that fits: ``32KiB``, ``4000B``."""
    return _format(value, BINARY)


def format_time(value: int) -> str:
    """Exact, in the largest unit that fits: ``50ms``, ``90s``."""
    return _format(value, EXACT_TIMES)


def rough_size(value: int) -> str:
    """For messages: one decimal in the nearest binary unit below (``1.5 GiB``)."""
    for unit, factor in reversed(BINARY.items()):
        if value >= factor:
            return f"{value / factor:.1f} {unit}" if factor > 1 else f"{value} B"
    return f"{value} B"
