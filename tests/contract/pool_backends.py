"""The pools that the contract file runs over. A pool from elsewhere joins by ``register``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import pytest

from bench_cli.interfaces import Capability, PoolBackend


@dataclass(frozen=True)
class PoolCase:
    """``target`` is ``module:Class``."""

    id: str
    target: str

    def load(self) -> PoolBackend:
        """Skips the test, with the reason, where the module cannot be imported."""
        module, _, name = self.target.partition(":")
        try:
            backend: PoolBackend = getattr(importlib.import_module(module), name)()
        except ImportError as error:
            pytest.skip(f"{self.id} is not built: {error}")
        return backend


PYTHON = PoolCase("python", "bench_cli.rewards.pool:Backend")
NATIVE = PoolCase("native", "bench_cli.rewards.native:Backend")
TWINS = (PYTHON, NATIVE)
POOLS: list[PoolCase] = [*TWINS]


def register(case: PoolCase) -> None:
    POOLS.append(case)


def need(backend: Any, *capabilities: Capability) -> None:
    """Skip what the backend does not claim to do."""
    for capability in capabilities:
        if capability not in backend.capabilities:
            pytest.skip(f"{backend.name} lacks the capability {capability.value}")
