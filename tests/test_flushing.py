"""Flush policies as text, and the levels they are declared to keep."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_cli.cells import BadReference, parse_reference
from bench_cli.errors import UsageError
from bench_cli.evidence import settings_of
from bench_cli.flushing import (
    FLUSH_PATTERN,
    FlushError,
    check_policy,
    flushed,
    format_flush,
    parse_flush,
)
from bench_cli.interfaces import Durability, FlushPolicy

TEXTS = {
    "never": FlushPolicy("never"),
    "async": FlushPolicy("async"),
    "record": FlushPolicy("record"),
    "group": FlushPolicy("group"),
    "group:64": FlushPolicy("group", max_batch=64),
    "group:200us": FlushPolicy("group", max_wait_ns=200_000),
    "group:64:200us": FlushPolicy("group", max_batch=64, max_wait_ns=200_000),
    "1records": FlushPolicy("records", 1),
    "1000records": FlushPolicy("records", 1000),
    "1MiB": FlushPolicy("bytes", 1 << 20),
    "512B": FlushPolicy("bytes", 512),
    "10ms": FlushPolicy("time", 10_000_000),
}
WAYS = {
    "1000 records": "1000records",
    "1,000 records": "1000records",
    " 1 record ": "1records",
    "1 MiB": "1MiB",
    "1024 KiB": "1MiB",
    "1 MB": "1000000B",
    "10 ms": "10ms",
    "10000us": "10ms",
    "group 64 200us": "group:64:200us",
    "group  64": "group:64",
    "group 200 us": "group:200us",
    "group 64 1 ms": "group:64:1ms",
}
MISTAKES = {
    "": "a flush policy is missing",
    "sometimes": "'sometimes' is not a flush policy",
    "100": "needs a unit",
    "10 parsecs": "needs a unit",
    "0 records": "must be at least 1",
    "0ms": "must be at least 1",
    "0B": "must be at least 1",
    "1.5 records": "not a whole number",
    "-1 records": "not a flush policy",
    "nan ms": "not a flush policy",
    "99999999999999999999 records": "absurdly large",
    "group 64 200us 3": "more than a number and a time",
    "group 64 200": "needs a unit",
    "group x": "not a number with a unit",
    "never 3": "not a flush policy",
    "\x1b[31m": "not a flush policy",
}


@pytest.mark.parametrize("text", TEXTS)
def test_each_policy_has_one_text(text: str) -> None:
    assert parse_flush(text) == TEXTS[text]
    assert format_flush(TEXTS[text]) == text
    assert re.fullmatch(r"[A-Za-z0-9_.:+-]+", text)  # a word of an id
    check_policy(TEXTS[text])


@pytest.mark.parametrize("text", WAYS)
def test_a_policy_may_be_written_in_several_ways(text: str) -> None:
    assert format_flush(parse_flush(text)) == WAYS[text]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_says_what_to_type(text: str) -> None:
    with pytest.raises(FlushError, match=re.escape(MISTAKES[text])) as failed:
        parse_flush(text)
    assert isinstance(failed.value, UsageError)
    assert "1000 records, 1MiB or 10ms" in (failed.value.remedy or "")
    assert "\x1b" not in failed.value.message


@pytest.mark.parametrize("text", [*TEXTS, *WAYS])
def test_the_published_pattern_takes_every_policy(text: str) -> None:
    assert re.search(FLUSH_PATTERN, text)


@given(st.text(max_size=30))
def test_any_text_is_a_policy_or_a_mistake(text: str) -> None:
    try:
        policy = parse_flush(text)
    except FlushError:
        return
    assert parse_flush(format_flush(policy)) == policy


@pytest.mark.parametrize(
    "policy",
    [
        FlushPolicy("often"),
        FlushPolicy("records"),
        FlushPolicy("never", 3),
        FlushPolicy("time", -5),
        FlushPolicy("record", max_batch=4),
        FlushPolicy("group", 3),
    ],
)
def test_a_policy_that_no_text_means_is_refused(policy: FlushPolicy) -> None:
    with pytest.raises(ValueError, match="no flush policy"):
        check_policy(policy)


def test_a_policy_declares_what_a_log_keeps_under_it() -> None:
    log = Durability("D1", None, "I1", "C2")
    labels = {text: flushed(log, text).label() for text in TEXTS}
    assert labels["never"] == labels["async"] == "D1 I1 C2"
    assert labels["record"] == labels["group"] == labels["group:64:200us"] == "D3 I1 C2"
    assert labels["10ms"] == "D2(10 ms) I1 C2"
    assert labels["1MiB"] == "D2(1 MiB) I1 C2"
    assert labels["1000records"] == "D2(1000 records) I1 C2"
    assert flushed(log, None) == log
    for other in (Durability("D0"), Durability("D3", None, "I1", "C0")):
        assert flushed(other, "group") == other


def test_a_proof_without_a_policy_does_not_speak_for_a_row_that_has_one() -> None:
    assert settings_of({"flush": "never"}) == settings_of({}) == {"never"}
    assert settings_of({"flush": "group:64"}) == {"never", "flush-group"}
    assert settings_of({"flush": "10ms"}) == {"never", "flush-time"}


def test_a_policy_in_an_id_may_be_written_in_several_ways() -> None:
    wanted = "wal.commit[flush=1000records]"
    assert parse_reference("wal.commit[flush=1000 records]", {"flush": "flush"}).id == wanted
    assert parse_reference(wanted).id == wanted
    with pytest.raises(BadReference, match="not a flush policy"):
        parse_reference("wal.commit[flush=often]", {"flush": "flush"})
