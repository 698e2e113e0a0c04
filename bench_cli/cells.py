"""A cell is one point of a scenario's matrix: workload x backend x core x parameters.

Its id is stable: keys in brackets sorted by name, sizes in the largest exact binary unit,
parameters left at their default and not an axis omitted, so that adding a parameter with a
default never renames a row. ``wal.append[backend=wal.mmap,core=native,record=32KiB]``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """How often a cell runs. ``processes`` fresh workers, each one warm-up sample (discarded) and
    ``samples`` samples of at least ``min_sample_ns``; a worker that takes longer than
    ``timeout_ns`` is killed and its row fails."""

    processes: int = 3
    samples: int = 3
    min_sample_ns: int = 50_000_000
    timeout_ns: int = 120_000_000_000


@dataclass(frozen=True, slots=True)
class Cell:
    """``params`` holds every parameter of the workload, defaults filled in, in base units
    (bytes, ns). ``shown`` names the ones that stand in the id."""

    id: str
    scenario: str
    workload: str
    backend: str | None
    core: str | None
    params: Mapping[str, Any]
    shown: tuple[str, ...] = ()
    plan: PlanSettings = field(default_factory=PlanSettings)
    limits: tuple[str, ...] = ()
    """Ids of limit cells measured in the same processes as this one."""
    skip: str | None = None
    """Why this cell will not run (a capability or a core that is not there); None: it runs."""
