"""A real session, killed with SIGKILL: ``tests/real/kills.py`` does this at more points."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.real.kills import PROCESSES, killed, whole

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_session_killed_three_times_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    expected = whole(tmp_path)
    assert sum(len(found["ns"]) for _, found in expected) == PROCESSES
    assert killed(tmp_path, random.Random(1), kills=3) == expected
