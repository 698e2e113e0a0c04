"""Settings of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.contract.log_backends import scratch

# the same examples every time, on any machine: a test must not fail by luck
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where a log may be made."""
    for directory in scratch(tmp_path):
        yield directory / "log"
