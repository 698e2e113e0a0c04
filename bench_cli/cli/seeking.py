"""``bench run --find-rate``: parse, validate, search, save, report."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from bench_cli.cli.order import Order
from bench_cli.cli.running import check_needs_of, exit_code, place, settings_of, show
from bench_cli.errors import ExitCode
from bench_cli.results import RunResult


def seek(order: Order, goal_text: str) -> int:
    """Each trial decides the next, so there is no plan to share a budget over or to resume. Rows
    that differ in their rate alone are one."""
    from bench_cli import catalogue as catalogues
    from bench_cli import environment, evidence, places, results
    from bench_cli.cells import without_rate
    from bench_cli.cli.loading import load_scenarios
    from bench_cli.report import console
    from bench_cli.runner import seek as runner
    from bench_cli.runner.find_rate import parse_goal
    from bench_cli.runner.plan import make_plan
    from bench_cli.runner.run import RunSettings
    from bench_cli.scenario import scenario_files

    if order.budget_s is not None:
        raise click.UsageError("--find-rate takes the trials it needs; leave --budget away")
    goal = parse_goal(goal_text)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    catalogue = catalogues.from_registry()
    scenarios = load_scenarios(order.words, catalogue, order.overrides)
    cells = [without_rate(cell) for one in scenarios for cell in one.cells]
    plan = make_plan(list({cell.id: cell for cell in cells}.values()), seed=order.seed)
    path = place(order, scenarios, created)
    check_needs_of(plan, catalogue)
    settings = settings_of(order, catalogue)
    result = runner.seek(
        plan.cells,
        goal,
        settings=RunSettings(
            places.scratch_dir(),
            order.overrides.allow_code,
            evidence=evidence.load(places.results_dir()),
        ),
        reporter=console.progress(quiet=order.json),
        environment=environment.record(places.scratch_dir(), str(settings["core"])),
    )
    result.scenario_files = scenario_files(scenarios)
    result.settings = {**settings, "find_rate": str(goal)}
    result.created = created
    results.write(path, result)
    show(result, path, order)
    return _exit_code(result)


def _exit_code(result: RunResult) -> int:
    code = exit_code(result)
    missed = any("goal" in r.latency and r.latency["holds_per_s"] is None for r in result.results)
    return ExitCode.REQUIREMENT_MISSED if code == ExitCode.OK and missed else code
