"""Run a plan: one fresh process after the other, each journalled before the next starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_cli import registry
from bench_cli.cells import Cell
from bench_cli.evidence import Evidence
from bench_cli.interfaces import Reporter
from bench_cli.results import Row, RunResult
from bench_cli.run_store import Entry, RunStore
from bench_cli.runner.assemble import Outcome, empty_row, limit_rows, row_of, sampled_s
from bench_cli.runner.durability import durability_of
from bench_cli.runner.job import Runner, ask, job_of, open_scratch
from bench_cli.runner.plan import Plan, Turn, latency_ops
from bench_cli.runner.processes import Scratch, run_worker
from bench_cli.runner.restore import restore
from bench_cli.runner.schedule import budgeted, rounds
from bench_cli.runner.worker import Job


@dataclass(frozen=True, slots=True)
class RunSettings:
    """``budget_s``: share that many seconds out where precision is lacking, instead of running
    the plan's rounds (None). ``evidence``: what is proven of the sources that run."""

    scratch: Path
    allow_code: bool = False
    budget_s: float | None = None
    evidence: Evidence = Evidence()  # noqa: RUF009  # frozen, and empty


def execute(
    plan: Plan,
    limit_cells: Mapping[str, Cell],
    *,
    settings: RunSettings,
    reporter: Reporter,
    store: RunStore,
    environment: dict[str, Any],
    runner: Runner = run_worker,
    finished: Sequence[Entry] = (),
    now: Callable[[], float] = time.monotonic,
) -> RunResult:
    """All rows, in the order of ``plan.cells``, then the limits measured beside them. Ctrl-C ends
    the run and keeps what is there: the result then says ``interrupted``. ``finished``: processes
    that an earlier session of the run journalled; they are not run again."""
    outcomes = {cell.id: Outcome(cell) for cell in plan.cells}
    spent_s = restore(outcomes, finished)
    scratch = open_scratch(settings.scratch)
    session = _Session(plan, limit_cells, outcomes, settings, scratch, runner, len(finished))
    began = now() - spent_s
    turns = session.turns({(one.cell, one.round) for one in finished}, lambda: now() - began)
    session.announce(reporter, spent_s, len(finished))
    interrupted = False
    try:
        for turn in turns:
            started = now()
            answer = session.run(turn)
            if answer is None:
                reporter.process_done(turn.cell.id, False, None)
                continue
            took_s = now() - started
            store.append(Entry(turn.cell.id, turn.round, answer, took_s))
            outcomes[turn.cell.id].add(answer, took_s)
            well = answer["ok"] or answer.get("skipped", False)  # the table says why it skipped
            reporter.process_done(turn.cell.id, well, answer.get("reason"))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        reporter.finished()
        session.scratch.close()
    rows = [
        _row(outcomes[cell.id], settings, interrupted)
        for cell in plan.cells
        if not interrupted or cell.skip or outcomes[cell.id].answers or outcomes[cell.id].over
    ]
    known = {row.id for row in rows}
    rows += [
        row
        for row in limit_rows(list(outcomes.values()), limit_cells, registry.workloads())
        if row.id not in known
    ]
    return RunResult(
        environment=environment,
        scenario_files=[],
        results=rows,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        interrupted=interrupted,
        wall_s=now() - began,
        sampled_s=sampled_s(list(outcomes.values())),
    )


@dataclass(slots=True)
class _Session:
    """What starting a process takes. ``started``: processes so far, earlier sessions' included."""

    plan: Plan
    limit_cells: Mapping[str, Cell]
    outcomes: Mapping[str, Outcome]
    settings: RunSettings
    scratch: Scratch
    runner: Runner
    started: int = 0

    def turns(self, done: set[tuple[str, int]], spent_s: Callable[[], float]) -> Iterator[Turn]:
        if self.settings.budget_s is None:
            return rounds(self.plan, done)
        return budgeted(self.plan, self.outcomes, self.settings.budget_s, spent_s)

    def announce(self, reporter: Reporter, spent_s: float, done: int) -> None:
        cells = len(self.plan.cells)
        if self.settings.budget_s is not None:
            reporter.started(cells, 0, max(0.0, self.settings.budget_s - spent_s))
            return
        left = self.plan.processes - done
        share = left / self.plan.processes if self.plan.processes else 0.0
        reporter.started(cells, left, self.plan.estimate_s * share)

    def run(self, turn: Turn) -> dict[str, Any] | None:
        """The answer of a fresh process; None when nothing more can be learnt about the cell."""
        cell, outcome = turn.cell, self.outcomes[turn.cell.id]
        if outcome.over:
            return None
        self.started += 1

        def job(place: Path) -> Job:
            found = job_of(
                cell,
                self.limit_cells,
                place,
                batches=outcome.batches,
                allow_code=self.settings.allow_code,
            )
            return replace(found, latency=latency_ops(cell.plan), rate_per_s=cell.plan.rate_per_s)

        return ask(self.runner, self.scratch, self.started - 1, job, cell.plan.timeout_ns)


def _row(outcome: Outcome, settings: RunSettings, interrupted: bool) -> Row:
    cell = outcome.cell
    workload = registry.workload_of(cell.workload)
    if (why_not := cell.skip or outcome.unsupported) is not None:
        return empty_row(cell, workload, "skipped", why_not)
    if not outcome.answers and outcome.failure is None:
        return empty_row(cell, workload, "skipped", "the time budget was used up before it ran")
    level = durability_of(cell, settings.evidence, allow_code=settings.allow_code)
    row = row_of(outcome, workload, level)
    if len(outcome.answers) < cell.plan.processes and outcome.failure is None:
        why = "interrupted" if interrupted else "the time budget was used up"
        row.warnings.append(f"{len(outcome.answers)} of {cell.plan.processes} processes: {why}")
    return row
