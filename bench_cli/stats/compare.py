"""Two results against each other, row by row. Judges; neither reads files nor prints.

Exact metrics (bytes logged, allocations, calls) are judged: any change beyond their floors
counts. Timing of two separate runs is shown with its interval but never judged: runs at different
times differ by more than their processes tell (measured: up to 36 % false alarms at a nominal
5 %), whatever the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench_cli.errors import ExitCode
from bench_cli.metrics import METRICS, Direction, Kind, Metric
from bench_cli.results import Row, RunResult
from bench_cli.stats.interval import Change, change
from bench_cli.stats.verdict import Verdict

_ROUNDING = 1e-9  # per-operation counts are quotients; this much is arithmetic, not a change
_COUNTED = "exact_ops"
_INTERPRETER = "python"
_TIMING = ("ns_per_op",)


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


@dataclass(slots=True)
class RowComparison:
    """A row that ran on both sides. ``exact`` holds the metrics that changed; ``unjudged`` the
    exact metrics that could not be compared, with the reason."""

    id: str
    timing: Change | None = None
    base_ns: float | None = None
    head_ns: float | None = None
    exact: list[ExactChange] = field(default_factory=list)
    judged: int = 0
    unjudged: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        found = {one.verdict for one in self.exact}
        return next((verdict for verdict in Verdict if verdict in found), Verdict.SAME)


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that has numbers on one side only. ``side`` is the one that lacks them."""

    id: str
    side: str  # "base" | "head"
    reason: str


@dataclass(slots=True)
class Comparison:
    rows: list[RowComparison]
    missing: list[Missing]
    fingerprint: list[str]
    """Fields of the environment that differ, as sentences."""

    def count(self, verdict: Verdict) -> int:
        return sum(row.verdict is verdict for row in self.rows)

    @property
    def judged(self) -> int:
        """How many exact metrics were compared, over all rows."""
        return sum(row.judged for row in self.rows)

    @property
    def exit_code(self) -> int:
        """A timing that changed is not among the reasons: it is advisory."""
        if not self.judged:
            return ExitCode.NOTHING_COMPARED
        if self.count(Verdict.REGRESSED):
            return ExitCode.REGRESSION
        return ExitCode.ROW_MISSING if self.missing else ExitCode.OK


def compare(base: RunResult, head: RunResult, fingerprint: Sequence[str]) -> Comparison:
    """``fingerprint``: what differs between the two environments. Rows that ran on neither side
    do not take part."""
    ours = {row.id: row for row in base.results}
    theirs = {row.id: row for row in head.results}
    same_python = base.environment.get(_INTERPRETER) == head.environment.get(_INTERPRETER)
    found = Comparison([], [], list(fingerprint))
    for identifier in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(identifier), theirs.get(identifier)
        ran = (_ran(one), _ran(other))
        if one and other and all(ran):
            found.rows.append(compare_rows(one, other, same_python=same_python))
        elif any(ran):
            side, row = ("head", other) if ran[0] else ("base", one)
            found.missing.append(Missing(identifier, side, _why(row)))
    found.rows.sort(key=lambda row: list(Verdict).index(row.verdict))
    return found


def _ran(row: Row | None) -> bool:
    return row is not None and row.status == "ok"


def _why(row: Row | None) -> str:
    return "not there" if row is None else f"{row.status}: {row.reason or 'no reason given'}"


def compare_rows(base: Row, head: Row, *, same_python: bool) -> RowComparison:
    """Both rows have status ok. ``same_python``: whether counts that depend on the interpreter
    (allocations, collections) can be judged."""
    found = RowComparison(base.id)
    for name in _TIMING:
        found.timing = change(base.per_process.get(name, []), head.per_process.get(name, []))
        found.base_ns, found.head_ns = base.metrics.get(name), head.metrics.get(name)
    for metric in METRICS.values():
        if metric.kind is not Kind.NOISY and metric.direction is not Direction.NEUTRAL:
            _exact(found, metric, base, head, same_python)
    return found


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
