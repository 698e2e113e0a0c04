"""The pool contract's own tests, collected here over a pool they have never seen."""

from __future__ import annotations

import pytest

from bench_cli.interfaces import PoolBackend
from tests.contract.test_pool import *  # noqa: F403  # its tests and fixtures, but for the backend
from tests.foreign.tickets import TicketBackend


@pytest.fixture
def backend() -> PoolBackend:
    return TicketBackend()
