"""What all workloads share: laps to loop over, seeded data, a declared workload, small checks."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_cli.errors import VerificationFailed
from bench_cli.interfaces import Body, BodyInfo, Capability, Needs, Parameter, Setting

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def laps(count: int) -> Sequence[None]:
    """Something to loop over ``count`` times that costs as little as a loop can: no number is
    made per lap, and it can be walked again."""
    return (None,) * count


def random_bytes(length: int, seed: int) -> bytes:
    """Seeded data: zeros would flatter copies, checksums and file systems."""
    return random.Random(seed).randbytes(length)


def durable_copy(source: Path, target: Path) -> None:
    """A copy of a folder that is on the device, so that nobody waits for it later."""
    shutil.copytree(source, target)
    for path in (*target.rglob("*"), target):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def expect(what: str, found: object, wanted: object) -> None:
    """Verification: raise unless the work is exactly what it must be."""
    if found != wanted:
        raise VerificationFailed(f"{what}: found {found}, must be {wanted}")


class PlainBody:
    """A body with nothing to prepare, verify or report. Bodies override what they need."""

    info: BodyInfo

    def prepare(self) -> None:
        """Nothing to bring back."""

    def run(self) -> None:
        raise VerificationFailed(f"{type(self).__name__} has no operation")

    def verify(self) -> None:
        """Nothing to check."""

    def metrics(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        """Nothing to release."""


def no_needs(params: Mapping[str, Any]) -> Needs:
    return Needs(memory=64 * MIB)


def no_ceiling(params: Mapping[str, Any], backend: str | None) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Declared:
    """A workload as a value: the runner sees ``interfaces.Workload``."""

    name: str
    engine: str | None
    group: str
    help: str
    make: Callable[[Setting], Body]
    parameters: tuple[Parameter, ...] = ()
    requires: frozenset[Capability] = frozenset()
    needs_of: Callable[[Mapping[str, Any]], Needs] = field(default=no_needs)
    ceiling_of: Callable[[Mapping[str, Any], str | None], str | None] = field(default=no_ceiling)
    synced: bool = False

    def needs(self, params: Mapping[str, Any]) -> Needs:
        return self.needs_of(params)

    def ceiling(self, params: Mapping[str, Any], backend: str | None) -> str | None:
        return self.ceiling_of(params, backend)

    def build(self, setting: Setting) -> Body:
        return self.make(setting)


def size(name: str, default: int, help: str, least: int = 1, most: int = 64 * GIB) -> Parameter:
    return Parameter(name, "size", default, help, minimum=least, maximum=most)


def count(name: str, default: int, help: str, least: int = 1, most: int = 10**9) -> Parameter:
    return Parameter(name, "int", default, help, minimum=least, maximum=most)


def choice(name: str, default: str, help: str, *choices: str) -> Parameter:
    return Parameter(name, "choice", default, help, choices=choices)
