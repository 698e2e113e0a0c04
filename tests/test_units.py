"""Quantities and row ids: what is read, what is refused and with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_cli.cells import BadReference, make_id, parse_reference
from bench_cli.metrics import Unit
from bench_cli.units import (
    LARGEST,
    UnitError,
    format_size,
    format_time,
    parse_count,
    parse_quantity,
    parse_rate,
    parse_share,
    parse_size,
    parse_time,
    rough_size,
)

sizes = st.integers(min_value=0, max_value=LARGEST)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("0", 0),
        ("512B", 512),
        ("4K", 4096),
        ("4KiB", 4096),
        ("4 KiB", 4096),
        ("4KB", 4000),
        ("4kB", 4000),
        ("1MB", 1_000_000),
        ("1.5MiB", 1_572_864),
        ("0.1GB", 100_000_000),
        ("1e3", 1000),
        ("1_000", 1000),
        ("32,768", 32768),
        ("4G", 4 << 30),
        ("1TiB", 1 << 40),
        (str(LARGEST), LARGEST),
    ],
)
def test_sizes_are_read_exactly(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50ms", 50_000_000),
        ("5m", 300_000_000_000),
        ("2min", 120_000_000_000),
        ("1s", 1_000_000_000),
        ("10us", 10_000),
        ("10 µs", 10_000),
        ("0.5us", 500),
        ("7ns", 7),
        ("1h", 3_600_000_000_000),
        ("0", 0),
    ],
)
def test_times_are_read_exactly(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nan", "not a finite number"),
        (".inf", "not a finite number"),
        ("-Infinity", "not a finite number"),
        ("-4K", "negative"),
        ("4kib", "did you mean KiB?"),
        ("4Kib", "did you mean KiB?"),
        ("4kb", "did you mean KB?"),
        ("4X", "known units: B, KiB"),
        ("4 ms", "'ms' is not a unit of size"),
        ("0.3B", "not a whole number of bytes"),
        ("9223372036854775808", "absurdly large"),
        ("9TB9", "not a number with a unit"),
        ("1e999", "absurdly large or small"),
        ("1e99999999", "not a number with a unit"),
        ("1,00", "not a number with a unit"),
        ("٣", "not a number with a unit"),
        ("", "missing"),
        ("  ", "missing"),
        ("9" * 100, "longer than 64 characters"),
        ("KiB", "not a number with a unit"),
    ],
)
def test_a_bad_size_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size(text)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("50", "needs a unit of time: ns, us, ms, s"),
        ("50sec", "did you mean s"),
        ("5M", "did you mean m?"),
        ("5MS", "did you mean ms?"),
        ("0.5ns", "not a whole number of nanoseconds"),
        ("300000h", None),
        ("3000000h", "absurdly large"),
    ],
)
def test_a_bad_time_is_refused_with_its_reason(text: str, reason: str | None) -> None:
    if reason is None:
        assert parse_time(text) > 0
        return
    with pytest.raises(UnitError) as caught:
        parse_time(text)
    assert reason in caught.value.message


def test_counts_take_no_unit() -> None:
    assert parse_count("1e7") == 10_000_000
    with pytest.raises(UnitError, match="takes no unit"):
        parse_count("10K")
    with pytest.raises(UnitError, match="not a whole number"):
        parse_count("1.5")


def test_rates_and_shares_are_in_base_units() -> None:
    assert parse_rate("3 GB/s") == 3e9
    assert parse_rate("2MiB/s") == 2 * 1024 * 1024
    assert parse_share("60%") == 0.6
    assert parse_share("0.6") == 0.6
    with pytest.raises(UnitError, match="needs a unit of rate"):
        parse_rate("3")
    with pytest.raises(UnitError, match=r"did you mean GB/s\?"):
        parse_rate("3 gb/s")


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        (Unit.NANOSECONDS, "0.5ns", 0.5),
        (Unit.BYTES, "16.44", 16.44),
        (Unit.BYTES_PER_SECOND, "1GB/s", 1e9),
        (Unit.PER_SECOND, "2M/s", 2e6),
        (Unit.PER_SECOND, "5,699,800 draws/s", 5_699_800.0),
        (Unit.RATIO, "85%", 0.85),
        (Unit.COUNT, "0", 0.0),
    ],
)
def test_a_metric_is_read_in_its_own_unit(unit: Unit, text: str, expected: float) -> None:
    assert parse_quantity(text, unit) == expected


@given(sizes)
def test_every_size_survives_formatting(value: int) -> None:
    assert parse_size(format_size(value)) == value


@given(sizes)
def test_every_time_survives_formatting(value: int) -> None:
    assert parse_time(format_time(value)) == value


@given(st.text(max_size=80))
def test_no_text_makes_a_parser_fail_in_another_way(text: str) -> None:
    for parse in (parse_size, parse_time, parse_count, parse_rate, parse_share):
        try:
            parse(text)
        except UnitError as error:
            assert error.message


def test_sizes_are_shown_in_the_largest_exact_binary_unit() -> None:
    assert [format_size(n) for n in (0, 512, 1024, 1536, 4000, 32768, 1 << 20, 3 << 40)] == [
        "0B", "512B", "1KiB", "1536B", "4000B", "32KiB", "1MiB", "3TiB",
    ]  # fmt: skip


def test_messages_show_sizes_roughly() -> None:
    assert [rough_size(n) for n in (0, 12, 1536, 3 << 30)] == ["0 B", "12 B", "1.5 KiB", "3.0 GiB"]


KINDS = {"record": "size", "every": "time", "batch": "int"}


def test_an_id_sorts_its_keys_and_shows_exact_units() -> None:
    shown = {"record": 32768, "core": "native", "backend": "wal.mmap", "batch": 1, "every": 10**6}
    assert make_id("wal.append", shown, KINDS) == (
        "wal.append[backend=wal.mmap,batch=1,core=native,every=1ms,record=32KiB]"
    )


def test_an_id_without_anything_to_show_has_no_brackets() -> None:
    assert make_id("limits.call", {}, {}) == "limits.call"
    assert parse_reference("limits.call").id == "limits.call"
    assert parse_reference(" limits.call[ ] ").id == "limits.call"


@pytest.mark.parametrize(
    "text",
    [
        "wal.append[record=32KiB,backend=wal.mmap]",
        " wal.append [ record = 32K , backend = wal.mmap ] ",
        "wal.append[backend=wal.mmap,record=32768B]",
        "wal.append[backend=wal.mmap,record=0.03125M]",
    ],
)
def test_references_to_one_row_have_one_id(text: str) -> None:
    assert parse_reference(text).id == "wal.append[backend=wal.mmap,record=32KiB]"


def test_a_rate_in_a_reference_is_read_in_any_unit() -> None:
    assert parse_reference("wal.sync[rate=10 k/s]").id == "wal.sync[rate=10000/s]"
    assert (
        parse_reference("wal.sync[rate=10000/s]").key == parse_reference("wal.sync[rate=10k/s]").key
    )


def test_a_bare_number_is_read_by_its_kind_and_equal_without() -> None:
    canonical = parse_reference("wal.append[record=32KiB,every=1ms]")
    assert parse_reference("wal.append[record=32768,every=1000us]", KINDS).id == canonical.id
    assert parse_reference("wal.append[record=32768,every=1000000]").key == canonical.key


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("append", "not the name of a workload"),
        ("wal.append[record=1", "lacks its closing bracket"),
        ("wal.append[record]", "'record' is not key=value"),
        ("wal.append[record=1,record=2]", "record is given twice"),
        ("wal.append[backend=wal.*]", "no wildcards"),
        ("wal.append[record=4kib]", "did you mean KiB?"),
        ("wal.append[record=]", "missing"),
        ("wal.append[a=1]b]", "no wildcards"),
        ("w" * 2000, "longer than 1000"),
    ],
)
def test_a_bad_reference_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(BadReference) as caught:
        parse_reference(text, KINDS)
    assert reason in caught.value.message


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), sizes, max_size=5),
    st.sampled_from(["size", "time", "int"]),
)
def test_every_id_parses_to_itself(values: dict[str, int], kind: str) -> None:
    kinds = dict.fromkeys(values, kind)
    text = make_id("wal.append", values, kinds)
    assert parse_reference(text, kinds).id == text
    assert parse_reference(text).id == text
    shuffled = "wal.append[" + " , ".join(reversed(text[11:-1].split(","))) + "]"
    assert parse_reference(shuffled if values else text).id == text
