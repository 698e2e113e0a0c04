"""``bench run``: parse, validate, run, judge, save, report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench_cli.cli.options import seconds, selection
from bench_cli.errors import ExitCode

if TYPE_CHECKING:
    from bench_cli.catalogue import Catalogue
    from bench_cli.results import RunResult
    from bench_cli.runner.plan import Plan
    from bench_cli.scenario import Overrides, Scenario


@dataclass(frozen=True, slots=True)
class Order:
    """What one run was asked to do."""

    words: Sequence[str]
    overrides: Overrides
    seed: int
    budget_s: float | None
    output: Path | None
    json: bool


@click.command("run")
@selection
@click.option(
    "--budget",
    "budget_s",
    callback=seconds,
    metavar="TIME",
    help="Start no further process after this time (90s, 5m).",
)
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the result goes; by default a new file under results/.",
)
@click.option(
    "--json",
    "json_to",
    type=click.Choice(["-"]),
    metavar="-",
    help="Print the result as JSON on stdout instead of tables.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=42,
    show_default=True,
    help="Orders the processes of the run.",
)
def command(
    scenarios: tuple[str, ...],
    select: tuple[str, ...],
    params: tuple[str, ...],
    backends: tuple[str, ...],
    core: str | None,
    quick: bool,
    allow_code: bool,
    budget_s: float | None,
    output: Path | None,
    json_to: str | None,
    seed: int,
) -> int:
    """Run scenarios, print the tables, leave a result file.

    SCENARIO is a file, the name of a shipped one (wal, rewards, limits), or the name of a
    scenario inside one. Without it everything that is shipped runs.

    \b
    bench run rewards --quick
    bench run wal -k wal.mmap -P record=32KiB -o mmap.json

    Exits 14 if a requirement was missed, 20 if a row failed, 130 if interrupted (what was
    finished is printed and saved).
    """
    from bench_cli.scenario import Overrides

    overrides = Overrides(params, backends, core, select, quick, allow_code)
    return run(Order(scenarios, overrides, seed, budget_s, output, json_to == "-"))


def run(order: Order) -> int:
    """Nothing runs before everything is known to be valid and the result's place writable."""
    from bench_cli import catalogue as catalogues
    from bench_cli import results
    from bench_cli.cli.loading import load_scenarios
    from bench_cli.runner.plan import make_plan

    created = datetime.now(UTC).isoformat(timespec="seconds")
    catalogue = catalogues.from_registry()
    scenarios = load_scenarios(order.words, catalogue, order.overrides)
    plan = make_plan([cell for one in scenarios for cell in one.cells], seed=order.seed)
    path = _place(order, scenarios, created)
    _check_needs(plan, catalogue)
    result = _execute(plan, scenarios, catalogue, order, path)
    result.created = created
    results.write(path, result)
    _journal(path).unlink(missing_ok=True)
    _report(result, path, order)
    return exit_code(result)


def exit_code(result: RunResult) -> int:
    """The most serious thing that happened."""
    if result.interrupted:
        return ExitCode.INTERRUPTED
    if any(row.status == "failed" for row in result.results):
        return ExitCode.RUN_FAILED
    if any(outcome.status == "missed" for outcome in result.requirements):
        return ExitCode.REQUIREMENT_MISSED
    return ExitCode.OK


# --- before ----------------------------------------------------------------------------------


def _place(order: Order, scenarios: Sequence[Scenario], created: str) -> Path:
    from bench_cli import places, results

    stems = {Path(scenario.path).stem for scenario in scenarios}
    name = stems.pop() if len(stems) == 1 else "run"
    path = order.output or results.default_path(places.results_dir(), created, name)
    results.check_writable(path)
    return path


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.stem}.journal.jsonl")


def _check_needs(plan: Plan, catalogue: Catalogue) -> None:
    import shutil

    import psutil

    from bench_cli import places
    from bench_cli.scenario import check_needs

    scratch = places.scratch_dir()
    scratch.mkdir(parents=True, exist_ok=True)
    check_needs(plan.cells, catalogue, psutil.virtual_memory().available,
                shutil.disk_usage(scratch).free)  # fmt: skip


# --- during ----------------------------------------------------------------------------------


def _execute(
    plan: Plan, scenarios: Sequence[Scenario], catalogue: Catalogue, order: Order, path: Path
) -> RunResult:
    from bench_cli import environment, places
    from bench_cli.report import console
    from bench_cli.run_store import RunStore
    from bench_cli.runner.run import RunSettings, execute
    from bench_cli.scenario import limit_cells, scenario_files

    scratch = places.scratch_dir()
    core = order.overrides.core or catalogue.default_core
    settings = _settings(order, catalogue, core)
    store = RunStore(_journal(path), {"settings": settings, "cells": [c.id for c in plan.cells]})
    try:
        result = execute(
            plan,
            limit_cells(plan.cells, catalogue),
            settings=RunSettings(scratch, order.overrides.allow_code, order.budget_s),
            reporter=console.progress(quiet=order.json),
            store=store,
            environment=environment.record(scratch, core),
        )
    finally:
        store.close(keep=True)  # until the result is safe under its own name
    result.scenario_files = scenario_files(scenarios)
    result.settings = settings
    judge(result, scenarios)
    return result


def _settings(order: Order, catalogue: Catalogue, core: str) -> dict[str, object]:
    overrides = order.overrides
    return {
        "seed": order.seed,
        "quick": overrides.quick,
        "core": core,
        "native_missing": catalogue.native_missing,
        "budget_s": order.budget_s,
        "params": list(overrides.params),
        "backends": list(overrides.backends),
        "select": list(overrides.select),
    }


def judge(result: RunResult, scenarios: Sequence[Scenario]) -> None:
    """Requirements, on the rows as measured."""
    from bench_cli import requirements

    wanted = [requirement for one in scenarios for requirement in one.requirements]
    result.requirements = requirements.judge(wanted, result.results)


# --- after -----------------------------------------------------------------------------------


def _report(result: RunResult, path: Path, order: Order) -> None:
    from bench_cli import results
    from bench_cli.report import console, page
    from bench_cli.report.model import Tone

    if order.json:
        sys.stdout.write(results.to_json(result))
        sys.stdout.flush()
        return
    console.emit(page.render(result, console.columns()))
    console.say([f"Result: {path}"], Tone.DIM)
