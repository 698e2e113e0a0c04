"""The noise of this machine's cells, kept under ``results/noise/``, one file per machine.

A machine is told by what moves timings: processor, kernel, file system, version of Python. No
name of it is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench_cli import results
from bench_cli.errors import OutputError, ResultFileError
from bench_cli.strict_json import JsonProblem, Shape, build, dumps, parse

_MACHINE = ("cpu_model", "cpus", "kernel", "virtualisation", "filesystem", "python", "gil")
_LARGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Floor:
    """How much a cell differs from itself, as a fraction, over that many pairs."""

    share: float
    pairs: int
    measured: str  # ISO 8601, UTC


@dataclass(slots=True)
class _Stored:
    machine: dict[str, Any]
    floors: dict[str, Floor] = field(default_factory=dict)
    schema: int = 1


def path_of(environment: Mapping[str, Any], results_dir: Path) -> Path:
    """Where the floors of the machine that an environment describes are kept."""
    told = dumps([environment.get(name) for name in _MACHINE])
    return results_dir / "noise" / f"{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"


def read(path: Path) -> dict[str, Floor]:
    """By the id of the cell; empty where nothing was measured. Raises ResultFileError."""
    try:
        with path.open("rb") as file:
            found = build(_Stored, parse(file.read(_LARGEST).decode("utf-8")), Shape("noise"))
    except FileNotFoundError:
        return {}
    except (JsonProblem, OSError, ValueError) as error:
        raise ResultFileError(
            f"{path}: {error}", remedy="remove it, and measure again with `bench noise`"
        ) from None
    return found.floors


def add(path: Path, environment: Mapping[str, Any], new: Mapping[str, Floor]) -> None:
    """Keep new floors; a cell measured again replaces its earlier one. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {path.parent}: {error.strerror}") from error
    machine = {name: environment.get(name) for name in _MACHINE}
    cells = ",".join(
        f"\n{dumps(cell)}: {dumps(asdict(one))}" for cell, one in {**read(path), **new}.items()
    )
    text = f'{{\n"schema": 1,\n"machine": {dumps(machine)},\n"floors": {{{cells}}}\n}}\n'
    results.write_atomically(path, text.encode())
