"""``bench plan``: what a run would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bench_cli.cli.options import selection

if TYPE_CHECKING:
    from bench_cli.report.planned import Planned
    from bench_cli.scenario import Scenario


@click.command("plan")
@selection
@click.option("--cells", "show_cells", is_flag=True, help="Also list every cell.")
def command(
    scenarios: tuple[str, ...],
    select: tuple[str, ...],
    params: tuple[str, ...],
    backends: tuple[str, ...],
    core: str | None,
    quick: bool,
    allow_code: bool,
    show_cells: bool,
) -> None:
    """Show what a run would do, and for how long; nothing runs.

    \b
    bench plan
    bench plan wal -k wal.mmap --quick --cells
    """
    from bench_cli import catalogue as catalogues
    from bench_cli.cli.loading import load_scenarios
    from bench_cli.report import console, planned
    from bench_cli.runner.plan import make_plan
    from bench_cli.scenario import Overrides

    overrides = Overrides(params, backends, core, select, quick, allow_code)
    loaded = load_scenarios(scenarios, catalogues.from_registry(), overrides)
    plan = make_plan([cell for one in loaded for cell in one.cells], seed=0)
    told = [_told(scenario) for scenario in loaded]
    limits = len(set(plan.limits) - {cell.id for cell in plan.cells})
    lines = planned.render(told, plan.estimate_s, limits, console.columns(), cells=show_cells)
    console.emit(lines)


def _told(scenario: Scenario) -> Planned:
    from bench_cli.report.planned import Planned
    from bench_cli.runner.plan import turn_estimate_s

    runnable = [cell for cell in scenario.cells if cell.skip is None]
    return Planned(
        scenario.name,
        scenario.workload,
        [(cell.id, cell.skip) for cell in scenario.cells],
        sum(cell.plan.processes for cell in runnable),
        sum(cell.plan.processes * turn_estimate_s(cell) for cell in runnable),
    )
