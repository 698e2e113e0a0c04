"""Writers that are killed: what they write, and what is said of what they left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench_cli.faults import kills
from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import STORED, label, load

LIFE = 7


@pytest.fixture(params=[place for place in STORED if "native" in place], ids=label)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write_large(place: str, home: Path) -> tuple[LogOptions, int]:
    """A life of a large log, whole: its options, and how often it rotated."""
    options = LogOptions(segment_size=kills.LARGE)
    pipe = os.open(os.devnull, os.O_WRONLY)
    kills.write(load(place), home, options, LIFE, pipe, kills.TIMES)
    os.close(pipe)
    return options, len(list(home.glob("*.wal"))) - 1


def test_a_life_of_a_large_log_meets_segments_made_ahead(place: str, home: Path) -> None:
    options, rotations = write_large(place, home)
    assert rotations >= 2
    wrong, last = kills.judge(
        load(place), home, options, [(1, LIFE)], kills.RECORDS, killed=False, times=kills.TIMES
    )
    assert wrong is None
    assert last >= kills.RECORDS


def test_what_a_large_log_lost_is_noticed(place: str, home: Path) -> None:
    options, _ = write_large(place, home)
    last = load(place).recover(home, options).last_sequence
    max(home.glob("*.wal")).unlink()
    wrong, _ = kills.judge(
        load(place), home, options, [(1, LIFE)], last, killed=True, times=kills.TIMES
    )
    assert wrong is not None
    assert f"{last} was written" in wrong
