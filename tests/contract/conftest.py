"""Fixtures that several contracts share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli.interfaces import Capability, LogBackend, LogOptions
from tests.contract.committed_logs import SUBJECTS, GatedFiles
from tests.contract.log_backends import BACKENDS, FORMATS, label, load, need, small
from tests.contract.pool_backends import FILE_LOGS, POOLS
from tests.contract.pool_life import Life


@pytest.fixture(params=POOLS, ids=lambda case: case.id)
def pools(request: pytest.FixtureRequest) -> Any:
    """A pool backend that takes snapshots."""
    backend = request.param.load()
    need(backend, Capability.SNAPSHOT)
    return backend


@pytest.fixture(params=FILE_LOGS[1:3], ids=lambda case: case.id)
def logs(request: pytest.FixtureRequest) -> Any:
    return request.param.load()


@pytest.fixture
def life(pools: Any, logs: Any, tmp_path: Path) -> Life:
    return Life(pools, logs, tmp_path)


@pytest.fixture(params=SUBJECTS, ids=label)
def subject(request: pytest.FixtureRequest) -> str:
    """Which log stands under a flush policy."""
    return str(request.param)


@pytest.fixture
def files() -> GatedFiles:
    return GatedFiles()


@pytest.fixture(params=BACKENDS, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


@pytest.fixture(params=FORMATS, name="options")
def log_options(request: pytest.FixtureRequest, backend: LogBackend) -> LogOptions:
    if request.param != "binary":
        need(backend, Capability(request.param))
    return small(request.param)
