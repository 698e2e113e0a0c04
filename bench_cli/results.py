"""The result of a run: in memory, and as JSON under ``results/``.

Schema history, one line per version:
  1  first version
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1


@dataclass(slots=True)
class Samples:
    """Every raw value, one inner list per process. ``time_ns``: overhead-corrected time of each
    sample; ``ops``: operations per sample (the same in all processes of a row)."""

    time_ns: list[list[float]] = field(default_factory=list)
    ops: int = 0
    payload: int = 0  # bytes per operation
    unit: str = "ops"  # "ops" | "draws"


@dataclass(slots=True)
class Row:
    """One cell's result. ``status``: "ok" | "failed" | "skipped", with ``reason`` where not ok.
    ``metrics`` are keyed by the ids of ``metrics.py`` (medians over processes). ``per_process``
    holds, for each noisy metric, one value per process. ``limits`` holds, per limit row measured
    in the same processes, its ns/op, one value per process; ``ceiling`` is the expression that
    ``limit_share`` was computed from."""

    id: str
    scenario: str
    workload: str
    group: str
    backend: str | None
    core: str | None
    params: dict[str, Any]
    status: str
    reason: str | None = None
    durability: dict[str, Any] | None = None
    samples: Samples = field(default_factory=Samples)
    metrics: dict[str, float] = field(default_factory=dict)
    per_process: dict[str, list[float]] = field(default_factory=dict)
    limits: dict[str, list[float]] = field(default_factory=dict)
    ceiling: str | None = None
    latency: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RequirementOutcome:
    """One requirement of a scenario file, judged. ``status``: "met" | "missed" | "unjudged" (with
    ``reason``). ``value`` and ``bound`` in the metric's base unit; ``margin`` is how far the value
    is on the good side as a fraction of the bound (negative: missed by that much)."""

    scenario: str
    row: str
    metric: str
    relation: str  # "at_least" | "at_most"
    expression: str
    status: str
    value: float | None = None
    bound: float | None = None
    margin: float | None = None
    reason: str | None = None


@dataclass(slots=True)
class RunResult:
    environment: dict[str, Any]
    scenario_files: list[dict[str, Any]]  # {"path": ..., "sha256": ...}
    results: list[Row]
    requirements: list[RequirementOutcome] = field(default_factory=list)
    schema: int = SCHEMA
    created: str = ""  # ISO 8601, UTC
    interrupted: bool = False
    settings: dict[str, Any] = field(default_factory=dict)  # seed, quick, core ...
