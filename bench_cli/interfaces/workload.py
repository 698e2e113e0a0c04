"""What is timed, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bench_cli.interfaces.engine import Capability


@dataclass(frozen=True, slots=True)
class Needs:
    """What a row will allocate at most, in bytes; refused beforehand if there is less."""

    memory: int = 0
    disk: int = 0


@dataclass(frozen=True, slots=True)
class BodyInfo:
    """What one batch of a body is. ``ops`` operations per call of ``run``; ``payload`` bytes per
    operation for bytes_per_s (0: not a throughput row)."""

    ops: int
    payload: int = 0
    unit: str = "ops"  # "ops" | "draws"
    loop: Iterable[Any] | None = None
    """What the timed loop iterates over; the runner times an empty loop over it and subtracts
    that. None: nothing to subtract."""
    batches: int = 0
    """0: a sample is as many batches as fill it, each with its own ``prepare``. n: exactly n
    batches make one sample, prepared once; the slowest of them is reported (sustained rows)."""
    now: Callable[[], int] | None = None
    """A clock of the body's own, in ns, for work that takes no real time. None: the real clock."""
    sleep: Callable[[int], None] | None = None
    """Lets that clock of its own pass by so many ns; without it such a body cannot be paced."""
    threads: int = 1  # how many do steps at once (``SteppedBody``)


class Body(Protocol):
    """One cell, set up in a worker process. The runner calls ``prepare``, ``run``, ``verify`` in
    turn; only ``run`` is timed, and it holds the operation and its loop, nothing else. ``run``
    may be timed several times per sample, with ``prepare`` before each."""

    info: BodyInfo

    def prepare(self) -> None:
        """Bring the state back so that ``run`` can do its ``ops`` operations."""

    def run(self) -> None: ...
    def verify(self) -> None:
        """Check the work of the last ``run``. Raises VerificationFailed."""

    def metrics(self) -> dict[str, float]:
        """Metrics only this body knows, after ``verify`` (``wal_file_size`` ...)."""

    def close(self) -> None: ...


@runtime_checkable
class SteppedBody(Body, Protocol):
    """A body that can also run one operation (one lap of its loop) at a time, so that the time
    of each can be told: ``prepare``, up to ``steps`` steps, and ``verify_steps`` in turn."""

    steps: int

    def stepper(self) -> Callable[[], object]:
        """Called after ``prepare``, once per thread; each call of the result is a step."""

    def verify_steps(self, count: int) -> None:
        """Check the ``count`` steps of all threads since ``prepare``. Raises VerificationFailed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a workload as scenario files may set it. ``kind``: "int" | "size" |
    "time" | "rate" | "share" | "choice" | "flush" | "backend". ``minimum`` and ``maximum`` bound
    numbers; ``choices`` lists words (for "backend": the engine whose backends may be named, or
    "none")."""

    name: str
    kind: str
    default: Any
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Engines:
    """How a workload reaches engines: by name, resolved for the row's core."""

    resolve: Callable[[str], Any]
    """``resolve("wal.mmap")`` returns the backend object for the row's core."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a body is built from. ``params`` holds every parameter of the workload, defaults
    filled in. ``scratch`` is an empty directory of this process alone. ``share``: how long a
    sample is meant to be, as a share of the usual length, at most 1."""

    params: Mapping[str, Any]
    backend: str | None
    core: str | None
    seed: int
    scratch: Path
    engines: Engines
    share: float = 1.0

    def batch(self, usual: int, at_least: int) -> int:
        """Operations of a batch: ``usual`` of them in a sample of the usual length, their share
        in a shorter one, which would otherwise consist of little but preparation and checks."""
        return max(min(usual, at_least), int(usual * self.share))


class Workload(Protocol):
    """What can be timed. ``name`` is as in scenario files; ``engine`` says which backends may
    stand in its rows (None for limits, which have no backend and no core)."""

    name: str
    engine: str | None
    group: str  # the heading its rows stand under
    parameters: tuple[Parameter, ...]
    requires: frozenset[Capability]
    synced: bool
    """Each operation ends with a sync of the log, whatever the row's flush policy."""

    def needs(self, params: Mapping[str, Any]) -> Needs: ...
    def ceiling(self, params: Mapping[str, Any], backend: str | None) -> str | None:
        """The machine's limit for this row, as a requirement expression over limit rows
        (``sum(limits.memcpy[ring=4MiB,size=32KiB], limits.checksum[size=32KiB])``); None when
        there is none."""

    def build(self, setting: Setting) -> Body: ...


class Reporter(Protocol):
    """Watches a run. The runner calls it; it never decides anything."""

    def started(self, cells: int, processes: int, estimate_s: float) -> None:
        """``processes`` 0: as many as fit in ``estimate_s``."""

    def process_done(self, cell_id: str, ok: bool, reason: str | None) -> None: ...
    def finished(self) -> None: ...
