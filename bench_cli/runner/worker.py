"""A fresh process that measures one cell: ``python -m bench_cli.runner.start``.

It reads one JSON job from standard input and writes one JSON answer to the standard output it
was started with; anything a backend prints goes to standard error. Limits that the cell refers
to are measured in the same process, so that a ratio never mixes two processes; after the cell,
so that their memory is not in its peak.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from bench_cli import registry
from bench_cli.errors import BenchError, Unsupported
from bench_cli.runner.measure import Sampling, measure

_PARENT_DEATH_SIGNAL = 1
_TIMER_SLACK = 29
"""Linux's PR_SET_PDEATHSIG and PR_SET_TIMERSLACK; the latter in nanoseconds."""
LIMIT_SAMPLES = 9
LIMIT_SAMPLE_NS = 3_000_000
"""Limits beside a row: many short samples, of which the median counts. A limit slowed by another
process would flatter the row, and a sample shorter than a time slice is either hit or not."""


@dataclass(slots=True)
class Job:
    """``limits``: id -> (workload, params) of limit cells to measure beside this one. ``latency``:
    operations whose times to tell one by one, 0 for none; ``rate_per_s``: how often they are
    meant to start, 0 for one after the other."""

    cell_id: str
    workload: str
    params: dict[str, Any]
    backend: str | None
    core: str | None
    samples: int
    min_sample_ns: int
    batches: int | None
    scratch: str
    allow_code: bool = False
    limits: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    latency: int = 0
    rate_per_s: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def answer(job: Job) -> dict[str, Any]:
    """The measurement, or the reason why there is none."""
    limits: dict[str, Any] = {}
    try:
        check_capabilities(job)
        workload = registry.workload_of(job.workload)
        gc.enable()  # everything is imported: from here on its runs are part of the cost
        found = measure(
            workload,
            job.params,
            backend=job.backend,
            core=job.core,
            scratch=Path(job.scratch) / "cell",
            resolve=lambda name: registry.resolve(name, job.core, allow_code=job.allow_code),
            sampling=Sampling(
                job.samples,
                job.min_sample_ns,
                job.batches,
                counting=job.samples > 0,
                latency=job.latency,
                rate_per_s=job.rate_per_s,
            ),
        )
        _measure_limits(job, limits)
    except Unsupported as error:
        return {"ok": False, "skipped": True, "reason": error.message, "limits": limits}
    except Exception as error:
        return {"ok": False, "reason": reason_of(error), "limits": limits}
    return {"ok": True, "cell": found.as_json(), "limits": limits}


def check_capabilities(job: Job) -> None:
    """A workload names what it needs; a backend that cannot do it is skipped, not failed."""
    if job.backend is None:
        return
    backend = registry.resolve(job.backend, job.core, allow_code=job.allow_code)
    missing = sorted(registry.workload_of(job.workload).requires - backend.capabilities)
    if missing:
        raise Unsupported(f"{job.backend} does not offer: {', '.join(missing)}")


def _measure_limits(job: Job, limits: dict[str, Any]) -> None:
    """A limit that cannot be measured here (no compiled module) is left out: the row runs all the
    same, and has no share of its limit."""
    for index, (limit_id, (name, params)) in enumerate(job.limits.items()):
        with contextlib.suppress(Unsupported):
            limits[limit_id] = measure(
                registry.workload_of(name),
                params,
                backend=None,
                core=None,
                scratch=Path(job.scratch) / f"limit-{index}",
                resolve=lambda name: registry.resolve(name, job.core, allow_code=job.allow_code),
                sampling=Sampling(
                    LIMIT_SAMPLES, min(LIMIT_SAMPLE_NS, job.min_sample_ns), counting=False
                ),
            ).as_json()


def reason_of(error: BaseException) -> str:
    """One line: what kind of failure, and what it said."""
    if isinstance(error, BenchError):
        return f"{error.slug}: {error.message}" + (f" ({error.remedy})" if error.remedy else "")
    if isinstance(error, MemoryError):
        return "out of memory: " + (str(error) or "an allocation was refused")
    if isinstance(error, OSError) and error.errno is not None:
        return f"system: {error.strerror} (errno {error.errno})"
    return f"{type(error).__name__}: {error}"


def main(source: TextIO, target: TextIO) -> None:
    raw = json.loads(source.read())
    raw["limits"] = {key: (name, params) for key, (name, params) in raw["limits"].items()}
    json.dump(answer(Job(**raw)), target, allow_nan=False)
    target.flush()


def settle_in() -> None:
    """End with the tool that started this process, also when that is killed and cannot end it;
    and wake from sleeps when asked to, not up to 50 us later (see prctl(2))."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    control = ctypes.CDLL(None).prctl
    control(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    control(_TIMER_SLACK, 1, 0, 0, 0)


def serve() -> None:
    """Answer the one job of this process."""
    settle_in()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.stdin, out)


if __name__ == "__main__":  # as tools that do not know ``start`` call it
    serve()
