"""An A/B session: pairs of fresh processes, one of each side right after the other.

Each round runs one pair of every cell that is due, the cells in a seeded order, the sides in
balanced ABBA order. Which cells are due for how many pairs is decided in ``stats/stages.py``.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_cli import registry
from bench_cli.cells import Cell, Reference, parse_reference
from bench_cli.errors import UsageError
from bench_cli.evidence import Evidence
from bench_cli.interfaces import Reporter
from bench_cli.metrics import METRICS
from bench_cli.results import NOT_REACHED, SIDES, AbCell, AbSession, Row, RunResult
from bench_cli.run_store import Entry, ResumeRefused
from bench_cli.runner.assemble import Outcome, empty_row, limit_rows, ns_per_op, row_of
from bench_cli.runner.durability import durability_of
from bench_cli.runner.job import Runner, ask, job_of, open_scratch
from bench_cli.runner.plan import turn_estimate_s
from bench_cli.runner.processes import Scratch
from bench_cli.runner.restore import check_entry
from bench_cli.runner.worker import Job
from bench_cli.stats.stages import Due, balanced_order, stages
from bench_cli.stats.verdict import Trial, log_ratios

BASE, HEAD = 0, 1
TIME, RUN_TIME = "ns_per_op", "run_ns_per_op"
_MOST_TIMES = 8
"""From the second pair on both sides do the same number of batches: the first decile of more
batches is lower, and would look like a change. It is that of the side that settled on more, but at
most this many times the other's, so that a side which is far slower does not take for ever."""


@dataclass(frozen=True, slots=True)
class Match:
    """A cell on both sides. ``id``: theirs without what is compared. ``limit``: the smallest
    change of its time that matters, a fraction."""

    id: str
    base: Cell
    head: Cell
    limit: float

    def cell(self, side: int) -> Cell:
        return self.head if side == HEAD else self.base


def match_cells(
    base: Sequence[Cell], head: Sequence[Cell], keys: frozenset[str], limit: float | None
) -> list[Match]:
    """Cells paired by id without ``keys``, in the order of head. ``limit`` holds for all; None:
    as their plans say. Raises UsageError unless each has exactly one counterpart."""
    ours, theirs = _by_id(base, keys, "base"), _by_id(head, keys, "head")
    for side, lacking in (("head", ours.keys() - theirs), ("base", theirs.keys() - ours)):
        if lacking:
            raise UsageError(
                f"{min(lacking)} has no counterpart in {side} ({len(lacking)} such cells)",
                remedy="choose cells that both sides have with -k",
            )
    return [
        Match(name, ours[name], cell, limit or cell.plan.limit or METRICS[TIME].relative_floor)
        for name, cell in theirs.items()
    ]


def _by_id(cells: Sequence[Cell], keys: frozenset[str], side: str) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for cell in cells:
        name = without(cell.id, keys)
        if name in found:
            raise UsageError(
                f"without {', '.join(sorted(keys))} two cells of {side} are one: "
                f"{found[name].id} and {cell.id}",
                remedy="choose one of them with -k or -P",
            )
        found[name] = cell
    return found


def without(cell_id: str, keys: frozenset[str]) -> str:
    """A cell's id without some of its parameters."""
    found = parse_reference(cell_id)
    return Reference(found.workload, tuple(v for v in found.values if v[0] not in keys)).id


def judged_ns(base: Mapping[str, Any], head: Mapping[str, Any]) -> tuple[float, float]:
    """The values of a pair, in ns per operation: the time it ran, where both revisions tell it."""
    values = base["noisy"].get(RUN_TIME), head["noisy"].get(RUN_TIME)
    if values[0] is None or values[1] is None:
        return ns_per_op(base), ns_per_op(head)
    return values


def _forget(entry: Entry) -> None:
    """No journal."""


def _nothing() -> None:
    """Processes that have nothing in common need no end of a round."""


@dataclass(frozen=True, slots=True)
class AbSettings:
    """``pairs`` screened per cell. ``gates``: suspects are confirmed. ``budget_s``: no further
    pair is started after that many seconds, and what is left of them goes to undecided cells;
    None: no bound, and no pairs for these. ``limits``: measure the limits of cells beside them; no
    verdict needs them. ``names``: how base and head were named; ``command`` repeats the
    session."""

    scratch: Path
    names: tuple[str, str]
    command: str
    pairs: int
    gates: bool = True
    budget_s: float | None = None
    limits: bool = True
    seed: int = 42
    allow_code: bool = False


def execute(
    matches: Sequence[Match],
    limit_cells: Mapping[str, Cell],
    *,
    runners: tuple[Runner, Runner],
    settings: AbSettings,
    environments: tuple[dict[str, Any], dict[str, Any]],
    reporters: Callable[[], Reporter],
    journal: Callable[[Entry], None] = _forget,
    finished: Sequence[Entry] = (),
    next_round: Callable[[], None] = _nothing,
    now: Callable[[], float] = time.monotonic,
) -> tuple[RunResult, RunResult]:
    """The results of base and head, one value per process in the order of the pairs. Ctrl-C ends
    the session and keeps every finished pair. ``reporters`` makes one for each stage.
    ``next_round`` is called after each round: no value of a cell may share with another what
    the runners keep within one.

    ``journal`` is given every finished process. ``finished``: those of an earlier part of the
    same session. What a session does follows from its seed and its answers, so it is gone through
    again with these answers, and only then processes are started. Raises ResumeRefused when they
    do not fit."""
    for line, entry in enumerate(finished, 2):
        check_entry(entry, line)
    session = _Session(
        matches, limit_cells, runners, settings, reporters, journal, deque(finished),
        next_round, now,
    )  # fmt: skip
    interrupted = False
    try:
        session.run()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        session.scratch.close()
    name = uuid.uuid4().hex
    base, head = (session.result(side, environments[side], name) for side in (BASE, HEAD))
    base.interrupted = head.interrupted = interrupted
    return base, head


@dataclass(slots=True)
class _Session:
    matches: Sequence[Match]
    limit_cells: Mapping[str, Cell]
    runners: tuple[Runner, Runner]
    settings: AbSettings
    reporters: Callable[[], Reporter]
    journal: Callable[[Entry], None]
    finished: deque[Entry]
    next_round: Callable[[], None]
    now: Callable[[], float]
    scratch: Scratch = field(init=False)
    trials: list[Trial] = field(init=False)
    outcomes: list[tuple[Outcome, Outcome]] = field(init=False)
    rng: random.Random = field(init=False)
    began: float = field(init=False)
    started: int = 0

    def __post_init__(self) -> None:
        self.scratch = open_scratch(self.settings.scratch)
        self.trials = [
            Trial(one.limit, over=bool(one.base.skip or one.head.skip)) for one in self.matches
        ]
        self.outcomes = [(Outcome(one.base), Outcome(one.head)) for one in self.matches]
        self.rng = random.Random(self.settings.seed)
        self.began = self.now() - sum(entry.took_s for entry in self.finished)

    # --- running -----------------------------------------------------------------------------

    def run(self) -> None:
        wanted = self.settings
        for due in stages(
            self.trials, pairs=wanted.pairs, gates=wanted.gates, extend=wanted.budget_s is not None
        ):
            if not self._stage(due):
                break

    def _time_is_up(self) -> bool:
        budget = self.settings.budget_s
        if self.finished:  # they ran in time
            return False
        return budget is not None and self.now() - self.began > budget

    def _stage(self, due: Sequence[Due]) -> bool:
        """False when the time was used up before the end."""
        orders = [balanced_order(one.pairs, self.rng) for one in due]
        reporter = self.reporters()
        estimate = sum(one.pairs * self._pair_estimate_s(one.cell) for one in due)
        reporter.started(len(due), 2 * sum(one.pairs for one in due), estimate)
        try:
            for number in range(max(one.pairs for one in due)):
                turns = [turn for turn in zip(due, orders, strict=True) if number < turn[0].pairs]
                self.rng.shuffle(turns)
                for one, order in turns:
                    if self._time_is_up():
                        return False
                    self._pair(one, order[number], reporter)
                self.next_round()
        finally:
            reporter.finished()
        return True

    def _pair_estimate_s(self, number: int) -> float:
        match = self.matches[number]
        return turn_estimate_s(match.base) + turn_estimate_s(match.head)

    def _pair(self, due: Due, base_first: bool, reporter: Reporter) -> None:
        """Both processes are kept or none: a pair that was interrupted is no pair. Where one side
        fails the other runs all the same, so that the report knows which of them cannot."""
        match, trial = self.matches[due.cell], self.trials[due.cell]
        if trial.over:
            for _ in SIDES:
                reporter.process_done(match.id, False, None)
            return
        answers: dict[int, tuple[dict[str, Any], float]] = {}
        for side in (BASE, HEAD) if base_first else (HEAD, BASE):
            answer, _ = answers[side] = self._process(due.cell, side)
            reason = answer.get("reason")
            reporter.process_done(match.id, answer["ok"], reason and f"{SIDES[side]}: {reason}")
        for side, (answer, took_s) in answers.items():
            self.outcomes[due.cell][side].add(answer, took_s)
        trial.over = not all(answer["ok"] for answer, _ in answers.values())
        if not trial.over:
            self._compare(trial, due.purpose, *(answers[side][0] for side in (BASE, HEAD)))

    def _compare(
        self, trial: Trial, purpose: str, base: dict[str, Any], head: dict[str, Any]
    ) -> None:
        values = judged_ns(base["cell"], head["cell"])
        if min(values) <= 0:  # less than the loop around it: no ratio can be formed
            trial.over = True
            return
        getattr(trial, purpose).extend(log_ratios(values[:1], values[1:]))

    def _process(self, number: int, side: int) -> tuple[dict[str, Any], float]:
        """An answer and the seconds it took, from an earlier part of the session or from a fresh
        process, which is journalled before anything else happens."""
        cell = self.matches[number].cell(side)
        name = f"{SIDES[side]} {cell.id}"
        self.started += 1
        if self.finished:
            entry = self.finished.popleft()
            if (entry.cell, entry.round) != (name, self.started):
                raise ResumeRefused(
                    f"process {self.started} of the session was {entry.cell!r:.200}, not {name}",
                    remedy="its journal was changed by something else; start anew",
                )
            return entry.answer, entry.took_s
        began = self.now()
        answer = self._answer(number, side, cell)
        took_s = self.now() - began
        self.journal(Entry(name, self.started, answer, took_s))
        return answer, took_s

    def _answer(self, number: int, side: int, cell: Cell) -> dict[str, Any]:
        def job(place: Path) -> Job:
            return job_of(
                cell,
                self.limit_cells if self.settings.limits else None,
                place,
                batches=self._batches(number),
                allow_code=self.settings.allow_code,
            )

        return ask(self.runners[side], self.scratch, self.started, job, cell.plan.timeout_ns)

    def _batches(self, number: int) -> int | None:
        """What the first process of each side settled on decides; until then None."""
        if not all(outcome.answers for outcome in self.outcomes[number]):
            return None
        few, many = sorted(
            int(outcome.answers[0]["cell"]["batches"]) for outcome in self.outcomes[number]
        )
        return min(many, _MOST_TIMES * few)

    # --- what was found ----------------------------------------------------------------------

    def result(self, side: int, environment: dict[str, Any], name: str) -> RunResult:
        outcomes = [pair[side] for pair in self.outcomes]
        rows = [self._row(outcome) for outcome in outcomes]
        known = {row.id for row in rows}
        rows += [
            row
            for row in limit_rows(outcomes, self.limit_cells, registry.workloads())
            if row.id not in known
        ]
        return RunResult(
            environment=environment,
            scenario_files=[],
            results=rows,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            ab=AbSession(
                name, SIDES[side], *self.settings.names, self.settings.command,
                self.settings.gates, [self._cell(n) for n in range(len(self.matches))],
            ),
        )  # fmt: skip

    def _row(self, outcome: Outcome) -> Row:
        cell = outcome.cell
        workload = registry.workload_of(cell.workload)
        if (why_not := cell.skip or outcome.unsupported) is not None:
            return empty_row(cell, workload, "skipped", why_not)
        if not outcome.answers and outcome.failure is None:
            return empty_row(cell, workload, "skipped", NOT_REACHED)
        # what is proven here says nothing about another revision
        level = durability_of(cell, Evidence(), allow_code=self.settings.allow_code)
        return row_of(outcome, workload, level)

    def _cell(self, number: int) -> AbCell:
        match, trial = self.matches[number], self.trials[number]
        return AbCell(
            match.id, match.base.id, match.head.id,
            len(trial.screen), len(trial.confirm), len(trial.extra), trial.direction, match.limit,
            len(trial.repeat),
        )  # fmt: skip
