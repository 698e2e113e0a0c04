"""Numbers as they stand in tables. Base units come in (ns, bytes); scaling happens here, once.

A column has one unit wherever its values allow it, so that the eye can compare down the column;
it is chosen from the smallest value, so that no value becomes 0.00.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench_cli.metrics import Kind, Metric, Unit

ABSENT = "N/A"
_TIMES = (("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9))
_RATES = (("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9))
_SIZES = (("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40))
_SLOWEST_IN_COLUMN = 1e6  # bytes per second; less would be 0.000 in a column of GB/s
_WIDEST = 3e4  # a column whose values span more than this has the unit in each cell


@dataclass(frozen=True, slots=True)
class Scaled:
    """A column's values as text, and the heading that says their unit."""

    heading: str
    cells: list[str]


def column(metric: Metric, values: Sequence[float | None]) -> Scaled:
    """All values of one metric, None for rows it does not apply to."""
    present = [abs(value) for value in values if value]
    if metric.unit is Unit.NANOSECONDS:
        return _timed(metric.heading, values, present)
    if metric.unit is Unit.BYTES_PER_SECOND:
        return _rated(metric.heading, values, present)
    if metric.unit is Unit.BYTES and metric.kind is Kind.NOISY:
        return Scaled(metric.heading, _texts(values, size))
    return Scaled(metric.heading, _texts(values, _PLAIN[metric.unit]))


def _timed(heading: str, values: Sequence[float | None], present: list[float]) -> Scaled:
    name, per, operation = heading.partition("/")
    if present and max(present) / min(present) > _WIDEST:
        return Scaled("time" + per + operation if name == "ns" else heading, _texts(values, time))
    unit, factor = _unit(_TIMES, min(present, default=1.0))
    title = f"{unit}{per}{operation}" if name == "ns" else f"{name} {unit}{per}{operation}"
    return Scaled(title, _texts(values, lambda v: significant(v / factor)))


def _rated(heading: str, values: Sequence[float | None], present: list[float]) -> Scaled:
    """In GB/s like the pages, also where that is 0.0162; a slow column in MB/s."""
    own = "" if "/s" in heading else heading
    if present and min(present) < _SLOWEST_IN_COLUMN < max(present):
        return Scaled(own or "bytes/s", _texts(values, rate))
    name, factor = _unit(_RATES[2:], max(present, default=1e9) * 10)
    return Scaled(f"{own} {name}".strip(), _texts(values, lambda v: significant(v / factor)))


def _texts(values: Sequence[float | None], form: Callable[[float], str]) -> list[str]:
    return [ABSENT if value is None else form(value) for value in values]


def _unit(units: Sequence[tuple[str, float]], value: float) -> tuple[str, float]:
    fitting = [unit for unit in units if abs(value) >= unit[1]]
    return fitting[-1] if fitting else units[0]


# --- single values ---------------------------------------------------------------------------


def significant(value: float) -> str:
    """Three digits or more, none after the point above 1,000: 0.0162, 7.25, 48.5, 485.4, 5,101."""
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 999.95:
        return f"{value:,.0f}"
    for bound, digits in ((9.995, 1), (0.9995, 2), (0.09995, 3), (0.009995, 4)):
        if size >= bound:
            return f"{value:.{digits}f}"
    return f"{value:.2g}"


def time(nanoseconds: float) -> str:
    """``485.4 ns``, ``1.25 ms``: with its own unit."""
    unit, factor = _unit(_TIMES, nanoseconds)
    return f"{significant(nanoseconds / factor)} {unit}"


def duration(seconds: float) -> str:
    """``12 s``, ``3 min 20 s``, ``1 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rate(bytes_per_second: float) -> str:
    """``15.80 GB/s``: decimal."""
    unit, factor = _unit(_RATES, bytes_per_second)
    return f"{significant(bytes_per_second / factor)} {unit}"


def size(count: float) -> str:
    """``1.50 GiB``: binary."""
    unit, factor = _unit(_SIZES, count)
    return f"{count / factor:.0f} {unit}" if count % factor == 0 else f"{count / factor:.2f} {unit}"


def count(value: float) -> str:
    """Whole numbers as such, others with two digits: 3,263,820 and 16.44; tiny ones are kept."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def percent(fraction: float) -> str:
    """``12 %``; below ten with one digit."""
    value = fraction * 100
    if abs(value) >= 9.95:
        return f"{value:,.0f} %"
    return f"{value:.1f} %"


def spread(fraction: float | None) -> str:
    """``±3.1 %`` between processes; a blank where one process says nothing about it."""
    return "" if fraction is None else f"±{percent(fraction)}"


def times(factor: float) -> str:
    """``2.8x``, ``29x``."""
    return f"{factor:,.0f}x" if factor >= 9.95 else f"{factor:.1f}x"


def value(metric: Metric, number: float) -> str:
    """One value of a metric with its unit, as in a sentence."""
    if metric.unit in _WITH_UNIT:
        return _WITH_UNIT[metric.unit](number)
    return _PLAIN[metric.unit](number)


_PLAIN: dict[Unit, Callable[[float], str]] = {
    Unit.NANOSECONDS: significant,
    Unit.BYTES: count,
    Unit.BYTES_PER_SECOND: significant,
    Unit.PER_SECOND: lambda number: f"{number:,.0f}" if number >= 100 else significant(number),
    Unit.COUNT: count,
    Unit.RATIO: percent,
}
_WITH_UNIT: dict[Unit, Callable[[float], str]] = {
    Unit.NANOSECONDS: time,
    Unit.BYTES: lambda number: f"{count(number)} B",
    Unit.BYTES_PER_SECOND: rate,
    Unit.PER_SECOND: lambda number: f"{_PLAIN[Unit.PER_SECOND](number)} /s",
}
