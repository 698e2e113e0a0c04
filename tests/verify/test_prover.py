"""The prover finds what is wrong, and nothing in what is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli.faults import damage, failing
from bench_cli.faults.bugs import BUGS, SOUND, Bug
from bench_cli.faults.crashes import Crashes, Tally, record
from bench_cli.faults.history import POLICIES, steps
from bench_cli.faults.prove import Effort, Subject, prove
from bench_cli.faults.selftest import caught
from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import FORMATS, STORED, label, load, scratch

QUICK = Effort(images=1, kills=6, records=6, pairs=50)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_mistake_is_caught(bug: Bug) -> None:
    assert caught(bug) is not None


@pytest.mark.parametrize("bug", SOUND[:1], ids=lambda bug: bug.name)
def test_nothing_is_found_in_the_log_as_it_is(bug: Bug) -> None:
    assert caught(bug) is None


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("place", STORED, ids=label)
def test_every_recorded_crash_is_recovered(place: str, format: str) -> None:
    backend, tally = load(place), Tally()
    for seed, policy in enumerate(POLICIES):
        options = LogOptions(format, 4096)
        disk, history = record(backend, options, steps(seed, 30, policy))
        Crashes(backend, options, disk, history, tally, policy, seed, again=40).check(150)
        assert history.complaints == []
    assert tally.failures == []
    assert tally.images > 200
    assert tally.lives > 2


@pytest.mark.parametrize("place", STORED, ids=label)
def test_every_failed_call_is_survived(place: str) -> None:
    tally = Tally()
    assert failing.check(load(place), LogOptions("binary", 4096), tally, seed=3) > 50
    assert tally.failures == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("place", STORED[2:], ids=label)
def test_no_damage_to_a_log_of_several_segments_passes_in_silence(place: str, format: str) -> None:
    tally, options = Tally(), LogOptions(format, 4096)
    counts = damage.check(load(place), options, tally, seed=1, records=130, pairs=50, step=97)
    assert tally.failures == []
    assert counts.cuts > 50


def test_the_same_seed_records_and_builds_the_same() -> None:
    backend = load("bench_cli.wal.log:BasicBackend", salts=lambda: 7)
    counts = []
    for _ in range(2):
        options, tally = LogOptions("binary", 4096), Tally()
        disk, history = record(backend, options, steps(5, 12, "every-8", reset=False))
        Crashes(backend, options, disk, history, tally, "", 5, again=0).check(300)
        counts.append((tally.images, [op.kind for op in disk.ops if op.file == 0]))
    assert counts[0] == counts[1]


def proven(name: str, tmp_path: Path) -> tuple[set[str], bool]:
    """(layers with failures, black box) of a log of ``liars``."""
    for directory in scratch(tmp_path):
        subject = Subject(f"tests.verify.liars:{name}", None, "binary", allow_code=True)
        proof = prove(subject, QUICK, directory, lambda count: None)
        return {failure.layer for failure in proof.failures}, proof.black_box
    raise AssertionError("no place to work in")


def test_a_log_without_injection_is_killed_and_damaged_only(tmp_path: Path) -> None:
    assert proven("Closed", tmp_path) == (set(), True)


def test_a_log_that_acknowledges_what_it_only_buffers_is_caught_by_a_kill(tmp_path: Path) -> None:
    assert proven("Buffering", tmp_path) == ({"C", "E"}, True)


def test_a_log_that_keeps_silent_about_damage_is_caught(tmp_path: Path) -> None:
    assert proven("Unchecking", tmp_path) == ({"E"}, True)
