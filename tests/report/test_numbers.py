"""Numbers in tables: one unit per column, nothing rounded to zero, nothing made up."""

from __future__ import annotations

import pytest

from bench_cli.metrics import METRICS
from bench_cli.report import scale


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5101, "5,101"),
        (999.96, "1,000"),
        (485.4, "485.4"),
        (9.996, "10.0"),
        (7.254, "7.25"),
        (0.9996, "1.00"),
        (0.628, "0.628"),
        (0.0162, "0.0162"),
        (0.00000123, "1.2e-06"),
        (-48.51, "-48.5"),
        (1e18, "1,000,000,000,000,000,000"),
    ],
)
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert scale.significant(value) == text


def test_a_column_of_times_has_one_unit_from_its_smallest_value() -> None:
    scaled = scale.column(METRICS["ns_per_op"], [54_000.0, None, 276_000.0])
    assert (scaled.heading, scaled.cells) == ("us/op", ["54.0", "N/A", "276.0"])


def test_a_column_that_spans_decades_has_the_unit_in_each_cell() -> None:
    scaled = scale.column(METRICS["ns_per_op"], [14.0, 5_800_000.0])
    assert (scaled.heading, scaled.cells) == ("time/op", ["14.0 ns", "5.80 ms"])


def test_bytes_per_second_are_decimal_gigabytes_even_where_small() -> None:
    scaled = scale.column(METRICS["bytes_per_s"], [15.8e9, 0.0162e9])
    assert (scaled.heading, scaled.cells) == ("GB/s", ["15.8", "0.0162"])


def test_a_column_with_a_crawling_rate_has_the_unit_in_each_cell() -> None:
    scaled = scale.column(METRICS["bytes_per_s"], [15.8e9, 4310.0])
    assert (scaled.heading, scaled.cells) == ("bytes/s", ["15.8 GB/s", "4.31 kB/s"])


def test_slow_bytes_per_second_are_megabytes() -> None:
    assert scale.column(METRICS["bytes_per_s"], [2.5e6]).heading == "MB/s"


def test_exact_sizes_are_shown_to_the_byte_and_noisy_ones_scaled() -> None:
    assert scale.column(METRICS["wal_file_size"], [3263820.0]).cells == ["3,263,820"]
    assert scale.column(METRICS["peak_rss_bytes"], [41943040.0]).cells == ["40 MiB"]


def test_an_absent_value_is_never_a_zero() -> None:
    assert scale.column(METRICS["gc_count"], [None, 0.0]).cells == ["N/A", "0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (scale.percent(4.2667), "427 %"),
        (scale.percent(0.031), "3.1 %"),
        (scale.spread(None), ""),
        (scale.spread(0.16), "±16 %"),
        (scale.times(2.83), "2.8x"),
        (scale.times(29.3), "29x"),
        (scale.duration(12.2), "12 s"),
        (scale.duration(200), "3 min 20 s"),
        (scale.duration(3900), "1 h 5 min"),
        (scale.count(16.44), "16.44"),
        (scale.count(0.0004), "0.0004"),
        (scale.size(1536), "1.50 KiB"),
        (scale.value(METRICS["bytes_per_s"], 3e9), "3.00 GB/s"),
        (scale.value(METRICS["draws_per_s"], 196038.2), "196,038 /s"),
        (scale.value(METRICS["limit_share"], 0.66), "66 %"),
    ],
)
def test_single_values_carry_their_unit(text: str, expected: str) -> None:
    assert text == expected
