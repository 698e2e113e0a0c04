"""Requirements of scenario files, judged against measured rows.

A requirement compares one metric of the rows it selects with a number, or with a multiple of an
expression over other rows (``expressions.py``). Where the expression speaks only of limits that
were measured in the row's own processes, the ratio is formed per process and its median taken,
because a limit differs more between processes than within one; otherwise medians are compared.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from bench_cli.cells import RATE, Reference, base_value, parse_reference, rate_of
from bench_cli.errors import BenchError
from bench_cli.expressions import Bound, Expression, evaluate, parse_expression, references
from bench_cli.latencies import PERCENTILE_OF, why_absent
from bench_cli.results import RequirementOutcome, Row

AT_LEAST, AT_MOST = "at_least", "at_most"
RELATIONS = (AT_LEAST, AT_MOST)
NS_PER_OP, BYTES_PER_S, OPS_PER_S = "ns_per_op", "bytes_per_s", "ops_per_s"
SECOND_NS = 1e9


@dataclass(frozen=True, slots=True)
class Requirement:
    """``where`` selects rows of ``scenario``: by parameter (base units), backend or core, each
    with the values allowed; empty selects all. ``place`` is its ``file:line``."""

    scenario: str
    metric: str
    relation: str
    bound: Bound
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    place: str = ""

    @property
    def expression(self) -> str:
        return self.bound.text


class Placed(Protocol):
    """What cells and rows have in common."""

    @property
    def id(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def workload(self) -> str: ...
    @property
    def backend(self) -> str | None: ...
    @property
    def core(self) -> str | None: ...
    @property
    def params(self) -> Mapping[str, Any]: ...


P = TypeVar("P", bound=Placed)


class Unjudged(BenchError):
    """A value that a requirement needs is not there; the message is the outcome's reason."""

    slug = "unjudged"


def coordinates(row: Placed) -> dict[str, Any]:
    """A row's parameters with its backend and core, and its rate where it has one."""
    rate = rate_of(row.id)
    named = {} if rate is None else {RATE: rate}
    return {**row.params, **named, "backend": row.backend, "core": row.core}


def selects(requirement: Requirement, row: Placed) -> bool:
    """Whether a row of the requirement's scenario is one it speaks of."""
    if row.scenario != requirement.scenario:
        return False
    found = coordinates(row)
    return all(found.get(name) in values for name, values in requirement.where.items())


def named_by(reference: Reference, rows: Sequence[P], near: Placed | None = None) -> list[P]:
    """The rows a reference names: the one with its id, or else those that agree in every key it
    gives. Where it names no core, rows on the same core as ``near`` are preferred."""
    exact = [row for row in rows if row.id == reference.id]
    if exact:
        return exact
    found = [row for row in rows if row.workload == reference.workload and _agrees(reference, row)]
    if near is not None and "core" not in dict(reference.values):
        found = [row for row in found if row.core in (near.core, None)] or found
    return found


def _agrees(reference: Reference, row: Placed) -> bool:
    found = coordinates(row)
    return all(
        name in found and found[name] in (text, base_value(text)) for name, text in reference.values
    )


# --- values ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Values:
    """Where the values of one judged row's expression come from."""

    row: Row
    rows: Sequence[Row]
    metric: str

    def limit(self, reference: Reference) -> list[float] | None:
        """A limit measured in the row's processes, in the metric, one value per process."""
        for name, times in self.row.limits.items():
            if name == reference.id or parse_reference(name).key == reference.key:
                return [self._converted(ns, reference) for ns in times]
        return None

    def _converted(self, ns: float, reference: Reference) -> float:
        if self.metric == NS_PER_OP:
            return ns
        if ns <= 0:
            raise Unjudged(f"{reference.id} took no measurable time")
        if self.metric == OPS_PER_S:
            return SECOND_NS / ns
        if self.metric == BYTES_PER_S:
            return self._payload(reference) * SECOND_NS / ns
        raise Unjudged(f"a limit has no {self.metric}")

    def _payload(self, reference: Reference) -> int:
        """Bytes per operation: the limit's own where its row is known, else the judged row's."""
        own = [row.samples.payload for row in named_by(reference, self.rows) if row.samples.payload]
        payload = own[0] if own else self.row.samples.payload
        if not payload:
            raise Unjudged(f"{reference.id} moves no payload, so it has no {BYTES_PER_S}")
        return payload

    def median(self, reference: Reference) -> float:
        """One value of a limit or of another row."""
        measured = self.limit(reference)
        if measured:
            return statistics.median(measured)
        return value_of(self._other(reference), self.metric)

    def _other(self, reference: Reference) -> Row:
        found = named_by(reference, self.rows, self.row)
        if not found:
            raise Unjudged(f"the row {reference.id} is missing")
        if len(found) > 1:
            names = ", ".join(row.id for row in found[:3])
            raise Unjudged(f"{reference.id} may be any of {len(found)} rows: {names}")
        return found[0]


def value_of(row: Row, metric: str) -> float:
    """A finite value of a row that ran. Raises Unjudged."""
    if row.status != "ok":
        raise Unjudged(f"{row.id} {row.status}: {row.reason or 'no reason given'}")
    if metric not in row.metrics:
        why = f": {why_absent(row.latency, metric)}" if metric in PERCENTILE_OF else ""
        raise Unjudged(f"{row.id} has no {metric}{why}")
    return _finite(row.metrics[metric], f"{metric} of {row.id}")


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise Unjudged(f"{what} is not a finite number")
    return value


def _per_process(values: _Values, expression: Expression) -> list[float] | None:
    """The expression once per process of the row, where it speaks only of limits measured there
    and the row has the metric per process; None otherwise."""
    found: dict[Reference, list[float]] = {}
    for reference in references(expression):
        measured = values.limit(reference)
        if not measured:
            return None
        found[reference] = measured
    own = len(values.row.per_process.get(values.metric, ()))
    if not found or any(len(times) != own for times in found.values()):
        return None
    processes = [{r: times[n] for r, times in found.items()} for n in range(own)]
    return [evaluate(expression, measured.__getitem__) for measured in processes]


# --- judging ---------------------------------------------------------------------------------


def judge(requirements: Sequence[Requirement], rows: Sequence[Row]) -> list[RequirementOutcome]:
    """One outcome per requirement and row it selects; a requirement whose rows are all missing
    gets one unjudged outcome of its own."""
    outcomes: list[RequirementOutcome] = []
    for requirement in requirements:
        chosen = [row for row in rows if selects(requirement, row)]
        outcomes.extend(_judge_row(requirement, row, rows) for row in chosen)
        if not chosen:
            reason = "no row of the run is selected by it"
            outcomes.append(_outcome(requirement, "", "unjudged", reason=reason))
    return outcomes


def _judge_row(requirement: Requirement, row: Row, rows: Sequence[Row]) -> RequirementOutcome:
    try:
        value = value_of(row, requirement.metric)
        bound = _bound(requirement, row, rows, value)
    except Unjudged as missing:
        return _outcome(requirement, row.id, "unjudged", reason=missing.message)
    good = value >= bound if requirement.relation == AT_LEAST else value <= bound
    side = value - bound if requirement.relation == AT_LEAST else bound - value
    return _outcome(
        requirement,
        row.id,
        "met" if good else "missed",
        value=value,
        bound=bound,
        margin=side / bound if bound else (0.0 if value == bound else None),
    )


def _bound(requirement: Requirement, row: Row, rows: Sequence[Row], value: float) -> float:
    """The bound in the metric's unit. From per-process ratios it is ``value`` divided by their
    median, so that value, bound and margin agree with the ratio that was judged."""
    values = _Values(row, rows, requirement.metric)
    bound = requirement.bound
    each = _per_process(values, bound.expression)
    if each is None:
        found = bound.factor * evaluate(bound.expression, values.median)
        return _finite(found, f"the bound {bound.text!r}")
    own = row.per_process[requirement.metric]
    if not all(math.isfinite(e) and e > 0 for e in each):
        raise Unjudged(f"the bound {bound.text!r} is not above zero in every process")
    ratio = statistics.median(_finite(o, row.id) / e for o, e in zip(own, each, strict=True))
    if ratio <= 0:
        return bound.factor * statistics.median(each)
    return bound.factor * value / ratio


def _outcome(
    requirement: Requirement,
    row: str,
    status: str,
    *,
    value: float | None = None,
    bound: float | None = None,
    margin: float | None = None,
    reason: str | None = None,
) -> RequirementOutcome:
    return RequirementOutcome(
        requirement.scenario, row, requirement.metric, requirement.relation,
        requirement.expression, status, value, bound, margin, reason,
    )  # fmt: skip


def ceiling_share(row: Row) -> float | None:
    """The row's speed as a share of its ceiling, per process, median; 1.0 is at the limit. None
    where there is no ceiling or it was not measured in the row's processes."""
    if row.ceiling is None:
        return None
    values = _Values(row, (), NS_PER_OP)
    each = _per_process(values, parse_expression(row.ceiling))
    own = row.per_process.get(NS_PER_OP, [])
    if each is None or not all(math.isfinite(o) and o > 0 for o in own):
        return None
    return statistics.median(limit / time for limit, time in zip(each, own, strict=True))
