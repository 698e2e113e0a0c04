"""Taking up what an earlier session of a run had finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench_cli.run_store import Entry, ResumeRefused
from bench_cli.runner.assemble import Outcome
from bench_cli.runner.measure import Measurement
from bench_cli.strict_json import JsonProblem, Shape, build


def restore(outcomes: Mapping[str, Outcome], finished: Sequence[Entry]) -> float:
    """Give each outcome its answers again; returns the seconds they took. Raises ResumeRefused
    for entries that no run of this plan can have written."""
    seen: set[tuple[str, int]] = set()
    for number, entry in enumerate(finished, 2):
        if entry.cell not in outcomes:
            raise _refusal(number, f"no cell {entry.cell!r:.200} in the plan")
        if (entry.cell, entry.round) in seen:
            raise _refusal(number, f"process {entry.round} of {entry.cell} is there twice")
        seen.add((entry.cell, entry.round))
        check_entry(entry, number)
        outcomes[entry.cell].add(entry.answer, entry.took_s)
    return sum(entry.took_s for entry in finished)


def check_entry(entry: Entry, number: int) -> None:
    """Raises ResumeRefused for what no worker can have answered; ``number`` of its line."""
    try:
        _check(entry.answer, Shape("answer"))
    except JsonProblem as problem:
        raise _refusal(number, str(problem)) from None


def _refusal(number: int, what: str) -> ResumeRefused:
    return ResumeRefused(
        f"the journal's line {number}: {what}",
        remedy="it was changed by something else; start anew with `bench run`",
    )


def _check(answer: dict[str, Any], shape: Shape) -> None:
    limits = answer.get("limits")
    if not isinstance(answer.get("ok"), bool) or not isinstance(limits, dict):
        raise JsonProblem("not the answer of a worker", field=shape.path)
    if answer["ok"]:
        found = build(Measurement, answer.get("cell"), shape.key("cell"))
        _check_latency(found.latency, shape.key("cell").key("latency"))
        for name, limit in limits.items():
            build(Measurement, limit, shape.key("limits").key(name))
    elif not isinstance(answer.get("reason"), str):
        raise JsonProblem("a failure without its reason", field=shape.path)


def _check_latency(found: dict[str, Any], shape: Shape) -> None:
    if not found:
        return
    from bench_cli.runner.latency import pooled  # numpy: only rows that need it pay for it

    try:
        pooled([found])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise JsonProblem(f"not what a latency pass tells: {error}", field=shape.path) from None
