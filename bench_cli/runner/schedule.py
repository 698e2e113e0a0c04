"""Which process runs next.

Without a budget the plan's rounds are run as they stand. With one, every cell gets a process
first; then each further process goes to the cell whose interval is widest, until all are precise
or the time is used up. Stopping looks at precision alone: to stop when a difference looks
significant would make differences out of noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bench_cli.runner.assemble import Outcome, ns_per_op
from bench_cli.runner.plan import Plan, Turn
from bench_cli.stats.precision import relative_half_width

PRECISE = 0.01
"""A row whose interval is within 1 % of its value gets no further process."""
MOST_PROCESSES = 30
"""Of one row: beyond, a row that stays wide is wide by nature."""


def rounds(plan: Plan, done: set[tuple[str, int]]) -> Iterator[Turn]:
    """The plan's turns that are not done yet."""
    return (turn for turn in plan.turns if (turn.cell.id, turn.round) not in done)


def budgeted(
    plan: Plan, outcomes: Mapping[str, Outcome], budget_s: float, spent_s: Callable[[], float]
) -> Iterator[Turn]:
    """Looks at ``outcomes`` anew for each turn. A process that would not end in time, going by
    the cell's last one, is not started."""
    order = [turn.cell for turn in plan.turns if turn.round == 0]
    last: str | None = None
    while (left := budget_s - spent_s()) > 0:
        waiting = [outcomes[cell.id] for cell in order]
        waiting = [one for one in waiting if not one.over and one.took_s <= left]
        outcome = _first(waiting) or _widest(waiting, last)
        if outcome is None:
            return
        last = outcome.cell.id
        yield Turn(outcome.cell, len(outcome.answers))


def _first(waiting: list[Outcome]) -> Outcome | None:
    return next((one for one in waiting if not one.answers), None)


def _widest(waiting: list[Outcome], last: str | None) -> Outcome | None:
    """Not the same cell twice in a row while another one waits: a disturbance of the machine
    should not fall on one row alone."""
    widths = {one.cell.id: _width(one) for one in waiting}
    unsure = [one for one in waiting if widths[one.cell.id] > 0]
    others = [one for one in unsure if one.cell.id != last] or unsure
    return max(others, key=lambda one: widths[one.cell.id], default=None)


def _width(outcome: Outcome) -> float:
    """0 when further processes are not worth their time. A row with fewer processes than its
    plan is never precise: few values agree by chance."""
    count = len(outcome.answers)
    if count >= MOST_PROCESSES:
        return 0.0
    width = relative_half_width([ns_per_op(answer["cell"]) for answer in outcome.answers])
    if width > PRECISE:
        return width
    return PRECISE if count < outcome.cell.plan.processes else 0.0
