"""Two results against each other, row by row. Judges; neither reads files nor prints.

Exact metrics (bytes logged, allocations, calls) are always judged: any change beyond their floors
counts. Time is judged where both results come from one A/B session, by the rule of
``verdict.py``. Timing of two separate runs is shown with its interval but never judged: runs at
different times differ by more than their processes tell (measured: up to 36 % false alarms at a
nominal 5 %), whatever the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Protocol

from bench_cli.errors import ExitCode
from bench_cli.latencies import PERCENTILE_OF
from bench_cli.metrics import METRICS, Direction, Kind, Metric
from bench_cli.results import NOT_REACHED, SIDES, AbCell, RequirementOutcome, Row, RunResult
from bench_cli.stats.interval import Change, change
from bench_cli.stats.verdict import Judgement, Trial, Verdict, judge, log_ratios

_ROUNDING = 1e-9  # per-operation counts are quotients; this much is arithmetic, not a change
_COUNTED = "exact_ops"
_COUNTS = [
    metric
    for metric in METRICS.values()
    if metric.kind is not Kind.NOISY and metric.direction is not Direction.NEUTRAL
]
_INTERPRETER = "python"
_TIMING = "ns_per_op"
_JUDGED = ("run_ns_per_op", _TIMING)
"""Of an A/B session, the first that both sides tell: an older revision knows only the second."""
_MOST_PAIRS = 500  # no session has as many; the work grows with their square
_UNPAIRED = f"{METRICS[_TIMING].heading}: its processes do not stand in pairs"


@dataclass(frozen=True, slots=True)
class ExactChange:
    """One exact metric of one row. ``relative`` is None where the base is zero."""

    metric: Metric
    base: float
    head: float
    verdict: Verdict

    @property
    def relative(self) -> float | None:
        return (self.head - self.base) / abs(self.base) if self.base else None

    def is_worse_than(self, value: float) -> bool:
        if not _is_beyond_floors(self.metric, value, self.head):
            return False
        return (self.head > value) == (self.metric.direction is Direction.LOWER)


@dataclass(frozen=True, slots=True)
class LatencyChange:
    """A percentile that both sides tell; it is shown and never judged. ``interval``: None where
    some process did too few operations to tell it alone."""

    metric: Metric
    base: float
    head: float
    interval: Change | None

    @property
    def relative(self) -> float | None:
        """None where the base is zero (below what reading the clock takes)."""
        return self.head / self.base - 1 if self.base > 0 else None

    @property
    def is_notable(self) -> bool:
        """The interval leaves out "no change" and the change is beyond what matters."""
        if self.interval is None or self.relative is None:
            return False
        excludes_none = self.interval.low > 0 or self.interval.high < 0
        return excludes_none and abs(self.relative) > self.metric.relative_floor


@dataclass(slots=True)
class RowComparison:
    """A row that ran on both sides. ``timing``: of two separate runs; ``judgement``: of an A/B
    session, with ``advisory`` saying why it cannot gate. ``exact`` holds the metrics that
    changed; ``latencies`` all that both sides tell; ``unjudged`` what could not be compared, with
    the reason."""

    id: str
    timing: Change | None = None
    base_ns: float | None = None
    head_ns: float | None = None
    exact: list[ExactChange] = field(default_factory=list)
    latencies: list[LatencyChange] = field(default_factory=list)
    judged: int = 0
    unjudged: list[str] = field(default_factory=list)
    judgement: Judgement | None = None
    advisory: str | None = None

    @property
    def verdict(self) -> Verdict:
        timed = Verdict.SAME
        if self.judgement is not None and self.advisory is None:
            timed = self.judgement.verdict
        if not self.exact:
            return timed
        found = {timed, *(one.verdict for one in self.exact)}
        return next(verdict for verdict in Verdict if verdict in found)

    @property
    def urgency(self) -> tuple[int, float]:
        """Sorts what is worst to the front."""
        slower = self.judgement.estimate if self.judgement else 0.0
        return list(Verdict).index(self.verdict), -slower


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that has numbers on one side only, or none though it could. ``side`` is the one that
    lacks them."""

    id: str
    side: str  # "base" | "head" | "both"
    reason: str


@dataclass(slots=True)
class Comparison:
    """``paired``: from one A/B session. ``gates``: False for one too short for verdicts.
    ``failed``: rows that ended in an error on head's side of it. ``requirements``: those head has
    to meet. ``command`` repeats the session for one more ``-k CELL``."""

    rows: list[RowComparison]
    missing: list[Missing]
    fingerprint: list[str]
    """Fields of the environment that differ, as sentences."""
    paired: bool = False
    gates: bool = True
    interrupted: bool = False
    failed: list[Missing] = field(default_factory=list)
    requirements: list[RequirementOutcome] = field(default_factory=list)
    command: str | None = None
    fail_on_undecided: bool = False

    def counts(self) -> Counter[Verdict]:
        """How many rows ended with each verdict."""
        return Counter(row.verdict for row in self.rows)

    @property
    def judged(self) -> int:
        """How many metrics were compared, over all rows."""
        return sum(row.judged for row in self.rows)

    @property
    def missed(self) -> list[RequirementOutcome]:
        return [one for one in self.requirements if one.status == "missed"]

    @property
    def exit_code(self) -> int:
        """The most serious thing; a timing that is only shown is not among them."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.failed:
            return ExitCode.RUN_FAILED
        if not self.judged:
            return ExitCode.NOTHING_COMPARED
        counts = self.counts()
        if self.gates and counts[Verdict.REGRESSED]:
            return ExitCode.REGRESSION
        if self.missing:
            return ExitCode.ROW_MISSING
        if self.gates and self.missed:
            return ExitCode.REQUIREMENT_MISSED
        if self.gates and self.fail_on_undecided and counts[Verdict.UNDECIDED]:
            return ExitCode.UNDECIDED
        return ExitCode.OK


def compare(
    base: RunResult,
    head: RunResult,
    fingerprint: Sequence[str],
    *,
    floors: Mapping[str, float] | None = None,
) -> Comparison:
    """``fingerprint``: what differs between the two environments. ``floors``: by cell, the change
    that this machine shows without any, as a fraction. Rows that ran on neither side do not take
    part."""
    ours = {row.id: row for row in base.results}
    theirs = {row.id: row for row in head.results}
    same_python = base.environment.get(_INTERPRETER) == head.environment.get(_INTERPRETER)
    found = Comparison([], [], list(fingerprint), requirements=_requirements(base, head))
    trials: list[tuple[RowComparison, Trial]] = []
    for identifier, before, after, cell in _counterparts(base, head):
        one, other = ours.get(before), theirs.get(after)
        ran = (_ran(one), _ran(other))
        if one and other and all(ran):
            row = compare_rows(identifier, one, other, same_python=same_python)
            found.rows.append(row)
            if cell is None:
                row.timing = _change(one, other)
            else:
                _add_trial(row, cell, one, other, trials)
        elif cell is not None and other and other.status == "failed":
            found.failed.append(Missing(identifier, "head", _why(other)))
        elif any(ran):
            side, row_there = ("head", other) if ran[0] else ("base", one)
            found.missing.append(Missing(identifier, side, _why(row_there)))
        elif one and other and NOT_REACHED in (one.reason, other.reason):
            found.missing.append(_unreached(identifier, one, other))
    if head.ab is not None and is_session(base, head):
        found.paired, found.gates, found.command = True, head.ab.gates, head.ab.command
        found.interrupted = head.interrupted
        _judge(trials, floors or {})
    found.rows.sort(key=lambda row: row.urgency)
    return found


def _requirements(base: RunResult, head: RunResult) -> list[RequirementOutcome]:
    """Those of head. Of two separate runs, without what base had missed already: that is no
    change, and `bench run` has said so."""
    if is_session(base, head):
        return head.requirements
    known = {(one.scenario, one.row, one.metric, one.relation, one.expression)
             for one in base.requirements if one.status == "missed"}  # fmt: skip
    return [
        one
        for one in head.requirements
        if (one.scenario, one.row, one.metric, one.relation, one.expression) not in known
    ]


def is_session(base: RunResult, head: RunResult) -> bool:
    """Whether the two are the sides of one A/B session, in this order."""
    if base.ab is None or head.ab is None or base.ab.session != head.ab.session:
        return False
    return (base.ab.side, head.ab.side) == SIDES and base.ab.cells == head.ab.cells


def _counterparts(base: RunResult, head: RunResult) -> list[tuple[str, str, str, AbCell | None]]:
    """(id, row of base, row of head, the cell where they ran in pairs)."""
    if head.ab is not None and is_session(base, head):
        return [(cell.id, cell.base, cell.head, cell) for cell in head.ab.cells]
    ids = dict.fromkeys(row.id for row in (*base.results, *head.results))
    return [(name, name, name, None) for name in ids]


def _add_trial(
    found: RowComparison,
    cell: AbCell,
    base: Row,
    head: Row,
    trials: list[tuple[RowComparison, Trial]],
) -> None:
    """The values of the two rows as the session's log-ratios."""
    pairs = cell.screen + cell.confirm + cell.repeat + cell.extra
    name = next((n for n in _JUDGED if n in base.per_process and n in head.per_process), _TIMING)
    before, after = (row.per_process.get(name, [])[:pairs] for row in (base, head))
    enough = 0 < pairs <= _MOST_PAIRS and len(before) == len(after) == pairs
    if not enough or min(*before, *after) <= 0:
        found.unjudged.append(_UNPAIRED)
        return
    found.base_ns, found.head_ns = median(before), median(after)
    ratios = log_ratios(before, after)
    left = iter(ratios)
    screen, confirm, repeat = (
        list(islice(left, count)) for count in (cell.screen, cell.confirm, cell.repeat)
    )
    trial = Trial(cell.limit, screen, confirm, repeat, list(left), cell.direction)
    trials.append((found, trial))


def _judge(trials: Sequence[tuple[RowComparison, Trial]], floors: Mapping[str, float]) -> None:
    for (row, trial), judgement in zip(trials, judge([t for _, t in trials]), strict=True):
        row.judgement = judgement
        row.judged += 1
        floor = floors.get(row.id)
        if floor is not None and floor > trial.limit:
            row.advisory = f"this machine's noise ({floor:.1%}) is above the limit"


class Accepted(Protocol):
    """A change for the worse that somebody accepted, until a day."""

    @property
    def row(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def expires(self) -> str: ...


def leave_out_accepted(found: Comparison, accepted: Sequence[Accepted], today: str) -> None:
    """Changes no worse than what was accepted are told, not judged, up to and on the day their
    acceptance ends. ``today`` as an ISO date."""
    valid = {(one.row, one.metric): one for one in accepted if today <= one.expires}
    for row in found.rows:
        for worse in [one for one in row.exact if one.verdict is Verdict.REGRESSED]:
            known = valid.get((row.id, worse.metric.id))
            if known is None or worse.is_worse_than(known.value):
                continue
            row.exact.remove(worse)
            row.unjudged.append(
                f"{worse.metric.heading}: accepted until {known.expires} ({known.reason})"
            )
    found.rows.sort(key=lambda row: row.urgency)


def _unreached(identifier: str, base: Row, head: Row) -> Missing:
    """A cell of a session that ran on neither side, though it could on one or both."""
    own = [(side, row) for side, row in zip(SIDES, (base, head), strict=True)
           if row.reason != NOT_REACHED]  # fmt: skip
    side, row = own[0] if own else ("both", base)
    return Missing(identifier, side, _why(row))


def _ran(row: Row | None) -> bool:
    return row is not None and row.status == "ok"


def _why(row: Row | None) -> str:
    return "not there" if row is None else f"{row.status}: {row.reason or 'no reason given'}"


def _change(base: Row, head: Row) -> Change | None:
    return change(base.per_process.get(_TIMING, []), head.per_process.get(_TIMING, []))


def compare_rows(identifier: str, base: Row, head: Row, *, same_python: bool) -> RowComparison:
    """The exact metrics and the latencies of two rows of status ok. ``same_python``: whether
    counts that depend on the interpreter (allocations, collections) can be judged."""
    found = RowComparison(identifier, latencies=_latencies(base, head))
    found.base_ns, found.head_ns = base.metrics.get(_TIMING), head.metrics.get(_TIMING)
    for metric in _COUNTS:
        _exact(found, metric, base, head, same_python)
    return found


def _latencies(base: Row, head: Row) -> list[LatencyChange]:
    return [
        LatencyChange(
            METRICS[name],
            base.metrics[name],
            head.metrics[name],
            change(base.per_process.get(name, []), head.per_process.get(name, [])),
        )
        for name in PERCENTILE_OF
        if name in base.metrics and name in head.metrics
    ]


def _exact(found: RowComparison, metric: Metric, base: Row, head: Row, same_python: bool) -> None:
    before, after = base.metrics.get(metric.id), head.metrics.get(metric.id)
    if before is None and after is None:
        return
    reason = _unjudgeable(metric, base, head, same_python)
    if before is None or after is None or reason:
        found.unjudged.append(f"{metric.heading}: {reason}")
        return
    found.judged += 1
    if not _is_beyond_floors(metric, before, after):
        return
    worse = (after > before) == (metric.direction is Direction.LOWER)
    verdict = Verdict.REGRESSED if worse else Verdict.IMPROVED
    found.exact.append(ExactChange(metric, before, after, verdict))


def _unjudgeable(metric: Metric, base: Row, head: Row, same_python: bool) -> str | None:
    for row, side in ((base, "base"), (head, "head")):
        if metric.id not in row.metrics:
            return f"not counted in {side}"
        if len(set(row.per_process.get(metric.id, ()))) > 1:
            return f"differs between the processes of {side}, so it is not exact here"
    if metric.interpreter_bound and not same_python:
        return "counts of different Python versions"
    counted = base.metrics.get(_COUNTED), head.metrics.get(_COUNTED)
    if counted[0] != counted[1]:
        return "the counting passes did different numbers of operations"
    return None


def _is_beyond_floors(metric: Metric, before: float, after: float) -> bool:
    difference = abs(after - before)
    relative = max(metric.relative_floor, _ROUNDING) * max(abs(before), abs(after))
    return difference > relative and difference > metric.absolute_floor
