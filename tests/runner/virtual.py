"""A worker that answers from the virtual clock at once, in place of a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_cli import registry
from bench_cli.peers.synthetic import Backend
from bench_cli.runner import sides
from bench_cli.runner.job import Runner
from bench_cli.runner.worker import Job
from bench_cli.workloads.synthetic import NOISE, OPS


def answer(job: Job, timeout_ns: int) -> dict[str, Any]:
    """What ``synthetic.op`` measures, without its loop."""
    backend = registry.resolve(str(job.backend), "python")
    assert isinstance(backend, Backend)
    number = int(Path(job.scratch).name)
    noise = {name: job.params[name] for name in NOISE}
    machine = backend.open(job.params["cost"], noise, number=number, seed=job.params["seed"])
    times = []
    for _ in range(job.samples):
        began = machine.now()
        machine.work(OPS)
        machine.next_sample()
        times.append(machine.now() - began)
    exact = {"exact_ops": OPS}
    if job.params["bytes"]:
        exact["wal_bytes_per_op"] = job.params["bytes"]
    cell = {"ops": OPS, "payload": 0, "unit": "ops", "batches": job.batches or 1, "time_ns": times,
            "noisy": {}, "exact": exact, "warnings": []}  # fmt: skip
    return {"ok": True, "cell": cell, "limits": {}}


def both_sides(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> None:
    """Sessions start no processes: ``runner`` answers for base and for head."""
    monkeypatch.setattr(sides, "sides_of", lambda base, head: sides.Alone((runner, runner)))
