"""Searching the highest rate of each row: trials in fresh processes, rows of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench_cli import registry
from bench_cli.cells import Cell
from bench_cli.errors import BenchError
from bench_cli.interfaces import Reporter
from bench_cli.results import Row, RunResult
from bench_cli.runner.assemble import empty_row
from bench_cli.runner.durability import durability_of
from bench_cli.runner.find_rate import Goal, Search, Trial
from bench_cli.runner.job import Runner, ask, job_of, open_scratch
from bench_cli.runner.latency import pooled
from bench_cli.runner.processes import Scratch, run_worker
from bench_cli.runner.run import RunSettings
from bench_cli.runner.worker import Job

CELL_S = 20.0
"""What a search typically takes, for the estimate only."""


class _NoTrial(BenchError):
    """A trial without an answer. ``status`` is what its row becomes."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def seek(
    cells: Sequence[Cell],
    goal: Goal,
    *,
    settings: RunSettings,
    reporter: Reporter,
    environment: dict[str, Any],
    runner: Runner = run_worker,
) -> RunResult:
    """One row per cell, in order. Ctrl-C keeps the rows that were finished."""
    result = RunResult(environment, [], [])
    scratch = open_scratch(settings.scratch)
    reporter.started(len(cells), len(cells), CELL_S * len(cells))
    try:
        for cell in cells:
            row = _row(_Seeker(cell, goal, settings, scratch, runner))
            result.results.append(row)
            reporter.process_done(cell.id, row.status != "failed", row.reason)
    except KeyboardInterrupt:
        result.interrupted = True
    finally:
        reporter.finished()
        scratch.close()
    return result


@dataclass(slots=True)
class _Seeker:
    """How the trials of one cell are run."""

    cell: Cell
    goal: Goal
    settings: RunSettings
    scratch: Scratch
    runner: Runner
    count: int = 0

    def try_rate(self, rate: int) -> Trial:
        """Raises _NoTrial."""
        answer = self._answer(rate)
        if not answer["ok"]:
            raise _NoTrial("skipped" if answer.get("skipped") else "failed", answer["reason"])
        told = pooled([answer["cell"]["latency"]])
        if "reason" in told:
            raise _NoTrial("skipped", told["reason"])
        return Trial(rate, told)

    def _answer(self, rate: int) -> dict[str, Any]:
        self.count += 1

        def job(place: Path) -> Job:
            found = job_of(self.cell, None, place, allow_code=self.settings.allow_code)
            return replace(found, samples=0, latency=self.goal.ops(rate), rate_per_s=rate)

        return ask(self.runner, self.scratch, self.count, job, self.cell.plan.timeout_ns)


def _row(seeker: _Seeker) -> Row:
    cell, goal = seeker.cell, seeker.goal
    workload = registry.workload_of(cell.workload)
    if cell.skip is not None:
        return empty_row(cell, workload, "skipped", cell.skip)
    search = Search(goal, seeker.try_rate)
    try:
        search.run(goal.lowest_rate(cell.plan.min_sample_ns))
    except _NoTrial as trial:
        return empty_row(cell, workload, trial.status, trial.message)
    row = empty_row(cell, workload, "ok", None)
    durability = durability_of(
        cell, seeker.settings.evidence, allow_code=seeker.settings.allow_code
    )
    row.durability = asdict(durability) if durability else None
    row.latency = _told(search)
    return row


def _told(search: Search) -> dict[str, Any]:
    """The latencies at the rate that holds, from its last trial that did, and how it was found."""
    goal = search.goal
    held = [t for t in search.trials if t.rate_per_s == search.holds and t.holds(goal)]
    return {
        **(held[-1].told if held else {}),
        "goal": str(goal),
        "holds_per_s": search.holds,
        "fails_per_s": search.fails,
        "why_fails": search.why_fails(),
        "trials": [
            {
                "rate_per_s": trial.rate_per_s,
                "achieved_per_s": trial.told["achieved_per_s"],
                "value_ns": trial.value_ns(goal),
                "holds": trial.holds(goal),
            }
            for trial in search.trials
        ],
    }
