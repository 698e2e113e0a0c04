"""The pools that the contract file runs over. A pool from elsewhere joins by ``register``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Case:
    """A backend. ``target`` is ``module:Class``."""

    id: str
    target: str

    def load(self) -> Any:
        """Skips the test, with the reason, where the module cannot be imported."""
        module, _, name = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), name)()
        except ImportError as error:
            pytest.skip(f"{self.id} is not built: {error}")


PYTHON = Case("python", "bench_cli.rewards.pool:Backend")
NATIVE = Case("native", "bench_cli.rewards.native:Backend")
TWINS = (PYTHON, NATIVE)
POOLS: list[Case] = [*TWINS]
FILE_LOGS = (
    Case("basic-python", "bench_cli.wal.log:BasicBackend"),
    Case("mmap-python", "bench_cli.wal.log:MmapBackend"),
    Case("basic-native", "bench_cli.wal.native:BasicBackend"),
    Case("mmap-native", "bench_cli.wal.native:MmapBackend"),
)


def register(case: Case) -> None:
    POOLS.append(case)
