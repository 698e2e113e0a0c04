"""The requirements of the scenario files, judged: met or missed, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from bench_cli.metrics import METRICS
from bench_cli.report import scale
from bench_cli.report.model import Column, Line, Table, Tone
from bench_cli.report.text import safe
from bench_cli.results import RequirementOutcome

_TONES = {"met": Tone.GOOD, "missed": Tone.BAD, "unjudged": Tone.WARN}
_RELATIONS = {"at_least": "at least", "at_most": "at most"}
_COLUMNS = [
    Column("verdict", label=True),
    Column("found"),
    Column("wanted"),
    Column("row", label=True),
]


def requirements_table(outcomes: Sequence[RequirementOutcome]) -> Table:
    """Missed ones first, then those that could not be judged."""
    order = {"missed": 0, "unjudged": 1, "met": 2}
    ranked = sorted(outcomes, key=lambda outcome: order.get(outcome.status, 1))
    met = sum(outcome.status == "met" for outcome in outcomes)
    return Table(
        title="Requirements",
        columns=_COLUMNS,
        lines=[_line(outcome) for outcome in ranked],
        subtitles=[f"{met} of {len(outcomes)} met"],
        warnings=[
            f"unjudged: {safe(outcome.row or outcome.scenario)}: {safe(outcome.reason)}"
            for outcome in ranked
            if outcome.status == "unjudged" and outcome.reason
        ],
        notes=list(dict.fromkeys(_derivation(o) for o in ranked if _is_derived(o))),
    )


def _line(outcome: RequirementOutcome) -> Line:
    found = "" if outcome.value is None else _value(outcome.metric, outcome.value)
    cells = (_verdict(outcome), found, _wanted(outcome), safe(outcome.row or outcome.scenario))
    return Line(cells, tone=_TONES.get(outcome.status, Tone.WARN))


def _verdict(outcome: RequirementOutcome) -> str:
    if outcome.margin is None:
        return safe(outcome.status)
    return f"{outcome.status} by {scale.percent(abs(outcome.margin))}"


def _wanted(outcome: RequirementOutcome) -> str:
    relation = _RELATIONS.get(outcome.relation, safe(outcome.relation))
    if outcome.bound is None:
        return relation if _is_derived(outcome) else f"{relation} {safe(outcome.expression)}"
    return f"{relation} {_value(outcome.metric, outcome.bound)}"


def _is_derived(outcome: RequirementOutcome) -> bool:
    """Whether the bound comes from other rows rather than being written as a number."""
    return any(mark in outcome.expression for mark in ("[", "(", " of "))


def _derivation(outcome: RequirementOutcome) -> str:
    """``at most 1.29 us: 1.3x of sum(...)``."""
    return f"{_wanted(outcome)}: {safe(outcome.expression)}"


def _value(metric: str, number: float) -> str:
    known = METRICS.get(metric)
    return scale.value(known, number) if known else f"{scale.significant(number)} {safe(metric)}"
