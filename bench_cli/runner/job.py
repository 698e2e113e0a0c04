"""From a cell to the answer of a fresh process: what runs, sessions and searches have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench_cli.cells import Cell
from bench_cli.errors import OutputError
from bench_cli.runner.processes import Scratch, failure
from bench_cli.runner.worker import Job

Answer = dict[str, Any]
Runner = Callable[[Job, int], Answer]
"""``runner(job, timeout_ns)``: the answer of the process that did the job."""


def open_scratch(root: Path) -> Scratch:
    """Raises OutputError."""
    try:
        return Scratch(root)
    except OSError as error:
        raise OutputError(
            f"cannot make a scratch folder under {root}: {error.strerror}",
            remedy="free space there or make it writable (`make clean` empties _tmp/)",
        ) from error


def job_of(
    cell: Cell,
    limit_cells: Mapping[str, Cell] | None,
    place: Path,
    *,
    batches: int | None = None,
    allow_code: bool = False,
) -> Job:
    """Timed samples and counts as the cell's plan says, and its limits beside it (None: without
    them); no latencies. ``batches`` as an earlier process of the row settled them."""
    return Job(
        cell_id=cell.id,
        workload=cell.workload,
        params=dict(cell.params),
        backend=cell.backend,
        core=cell.core,
        samples=cell.plan.samples,
        min_sample_ns=cell.plan.min_sample_ns,
        batches=batches,
        scratch=str(place),
        allow_code=allow_code,
        limits={
            name: (limit_cells[name].workload, dict(limit_cells[name].params))
            for name in cell.limits
        }
        if limit_cells is not None
        else {},
    )


def ask(
    runner: Runner, scratch: Scratch, number: int, job: Callable[[Path], Job], timeout_ns: int
) -> Answer:
    """Run a job in a folder of its own, named by ``number`` and removed afterwards."""
    try:
        place = scratch.fresh(f"{number:05d}")
    except OSError as error:
        return failure(f"no scratch folder: {error.strerror}")
    try:
        return runner(job(place), timeout_ns)
    finally:
        scratch.drop(place)
