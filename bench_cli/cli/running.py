"""``bench run``: parse, validate, run, judge, save, report."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench_cli.cli import options
from bench_cli.errors import ExitCode, OutputError, UsageError

if TYPE_CHECKING:
    from bench_cli.catalogue import Catalogue
    from bench_cli.cli.order import Order
    from bench_cli.results import RunResult
    from bench_cli.run_store import RunStore
    from bench_cli.runner.plan import Plan
    from bench_cli.scenario import Scenario


@click.command("run")
@options.selection
@options.budget("Spend this time (90s, 5m): each cell once, then where precision is lacking.")
@click.option(
    "--find-rate",
    "goal",
    metavar="GOAL",
    help='Instead, search the highest rate that keeps GOAL ("p99<=1ms") in each cell.',
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Afterwards compare with this baseline (see `bench baseline`).",
)
@options.resume("run")
@options.output("Where the result goes; by default a new file under results/.")
@click.option(
    "--json",
    "json_to",
    type=click.Choice(["-"]),
    metavar="-",
    help="Print the result as JSON on stdout instead of tables.",
)
@options.seed
def command(
    scenarios: tuple[str, ...],
    select: tuple[str, ...],
    params: tuple[str, ...],
    backends: tuple[str, ...],
    core: str | None,
    quick: bool,
    allow_code: bool,
    budget_s: float | None,
    goal: str | None,
    baseline: str | None,
    resume: str | None,
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
    bench run wal --budget 5m
    bench run --resume latest
    bench run wal -k sync --find-rate "p99<=1ms"

    Exits 14 if a requirement was missed or no rate keeps the goal, 20 if a row failed, 130 if
    interrupted (what was finished is printed and saved, and --resume finishes it); with
    --baseline also as `bench compare` does.
    """
    from bench_cli.cli.order import Order
    from bench_cli.scenario import Overrides

    as_json = json_to == "-"
    if resume is not None:
        return run(_resumed(resume, allow_code, as_json))
    overrides = Overrides(params, backends, core, select, quick, allow_code)
    order = Order(scenarios, overrides, seed, budget_s, output, as_json, baseline=baseline)
    if goal is not None:
        from bench_cli.cli.seeking import seek

        return seek(order, goal)
    return run(order)


_WITH_RESUME = ("resume", "allow_code", "json_to")


def _resumed(name: str, allow_code: bool, as_json: bool) -> Order:
    """The journal says what to run; nothing else may."""
    from bench_cli import places, run_store
    from bench_cli.cli.order import order_of

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in _WITH_RESUME and source is ParameterSource.COMMANDLINE:
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else "[SCENARIO]..."
            raise click.UsageError(
                f"--resume runs what its journal says; leave {shown} away", context
            )
    journal = run_store.read_journal(run_store.find(name, places.results_dir()))
    return order_of(journal, allow_code=allow_code, json=as_json)


def run(order: Order) -> int:
    """Nothing runs before everything is known to be valid and the result's place writable."""
    from bench_cli import catalogue as catalogues
    from bench_cli.cli import baseline
    from bench_cli.cli.loading import load_scenarios
    from bench_cli.runner.plan import make_plan

    created = datetime.now(UTC).isoformat(timespec="seconds")
    if order.resumed is not None:
        created = order.resumed.header.created
    catalogue = catalogues.from_registry()
    if order.baseline is not None:
        baseline.check(order.baseline)
    scenarios = load_scenarios(order.words, catalogue, order.overrides)
    plan = make_plan([cell for one in scenarios for cell in one.cells], seed=order.seed)
    path = place(order, scenarios, created)
    check_needs_of(plan, catalogue)
    store, machine = _store(plan, scenarios, catalogue, order, path, created)
    done = False
    try:
        result = _execute(plan, scenarios, catalogue, order, store, machine)
        result.created = created
        unsaved = _save(result, path)
        done = not result.interrupted and unsaved is None
    finally:
        store.close(keep=not done)  # until the whole result is safe under its own name
    _report(result, path if unsaved is None else None, order, store)
    if unsaved is not None:
        raise unsaved
    code = exit_code(result)
    if order.baseline is not None:
        return code or baseline.judge_run(order.baseline, result, path, aside=order.json)
    return code


def _save(result: RunResult, path: Path) -> OutputError | None:
    """Write the result; None when it is safe in its place. A place that filled up meanwhile must
    not lose what was measured: the result then goes to the system's folder for such cases, and
    the error, to be raised after the tables are shown, says where."""
    from bench_cli import results

    try:
        results.write(path, result)
    except OutputError as error:
        spare = Path(tempfile.gettempdir()) / path.name
        try:
            results.write(spare, result)
        except OutputError:
            return error
        return OutputError(error.message, remedy=f"the result is in {spare}")
    return None


def exit_code(result: RunResult) -> int:
    """The most serious thing that happened. A run in which no row could be measured failed."""
    if result.interrupted:
        return ExitCode.INTERRUPTED
    if result.results and all(row.status != "ok" for row in result.results):
        return ExitCode.RUN_FAILED
    if any(row.status == "failed" for row in result.results):
        return ExitCode.RUN_FAILED
    if any(outcome.status == "missed" for outcome in result.requirements):
        return ExitCode.REQUIREMENT_MISSED
    return ExitCode.OK


# --- before ----------------------------------------------------------------------------------


def place(order: Order, scenarios: Sequence[Scenario], created: str) -> Path:
    from bench_cli import places, results

    stems = {Path(scenario.path).stem for scenario in scenarios}
    name = stems.pop() if len(stems) == 1 else "run"
    if order.output is not None and not order.output.name:
        raise UsageError("-o names no file", remedy="for example: -o results/mine.json")
    path = order.output or results.default_path(places.results_dir(), created, name)
    results.check_writable(path)
    return path


def check_needs_of(plan: Plan, catalogue: Catalogue) -> None:
    import shutil

    import psutil

    from bench_cli import places
    from bench_cli.scenario import check_needs

    scratch = places.scratch_dir()
    scratch.mkdir(parents=True, exist_ok=True)
    check_needs(plan.cells, catalogue, psutil.virtual_memory().available,
                shutil.disk_usage(scratch).free)  # fmt: skip


# --- during ----------------------------------------------------------------------------------


def _store(
    plan: Plan,
    scenarios: Sequence[Scenario],
    catalogue: Catalogue,
    order: Order,
    path: Path,
    created: str,
) -> tuple[RunStore, dict[str, Any]]:
    """The open journal, and the machine it speaks of."""
    from bench_cli import environment, places
    from bench_cli.cli import order as orders
    from bench_cli.run_store import Header, RunStore, journal_of
    from bench_cli.scenario import scenario_files

    machine = environment.record(
        places.scratch_dir(), order.overrides.core or catalogue.default_core
    )
    files, cells = scenario_files(scenarios), orders.digests(plan.cells)
    if order.resumed is not None:
        orders.check_unchanged(order.resumed, files, cells, machine)
        return RunStore.resume(order.resumed), order.resumed.header.environment
    header = Header(
        result=path.name,
        created=created,
        order=orders.stored(order),
        environment=machine,
        scenario_files=files,
        cells=cells,
    )
    return RunStore(journal_of(path), header), machine


def _execute(
    plan: Plan,
    scenarios: Sequence[Scenario],
    catalogue: Catalogue,
    order: Order,
    store: RunStore,
    machine: dict[str, Any],
) -> RunResult:
    from bench_cli import evidence, places
    from bench_cli.report import console
    from bench_cli.runner.run import RunSettings, execute
    from bench_cli.scenario import limit_cells, scenario_files

    result = execute(
        plan,
        limit_cells(plan.cells, catalogue),
        settings=RunSettings(
            places.scratch_dir(),
            order.overrides.allow_code,
            order.budget_s,
            evidence.load(places.results_dir()),
        ),
        reporter=console.progress(quiet=order.json),
        store=store,
        environment=machine,
        finished=order.resumed.entries if order.resumed else (),
    )
    result.scenario_files = scenario_files(scenarios)
    result.settings = settings_of(order, catalogue)
    judge(result, scenarios)
    return result


def settings_of(order: Order, catalogue: Catalogue) -> dict[str, object]:
    overrides = order.overrides
    return {
        "seed": order.seed,
        "quick": overrides.quick,
        "core": overrides.core or catalogue.default_core,
        "native_missing": catalogue.native_missing,
        "budget_s": order.budget_s,
        "params": list(overrides.params),
        "backends": list(overrides.backends),
        "select": list(overrides.select),
        "resumed": order.resumed is not None,
    }


def judge(result: RunResult, scenarios: Sequence[Scenario]) -> None:
    """Requirements, on the rows as measured."""
    from bench_cli import requirements

    wanted = [requirement for one in scenarios for requirement in one.requirements]
    result.requirements = requirements.judge(wanted, result.results)


# --- after -----------------------------------------------------------------------------------


def _report(result: RunResult, path: Path | None, order: Order, store: RunStore) -> None:
    show(result, path, order)
    if result.interrupted:
        more = f"; {store.lost}, so it runs some of this again" if store.lost else ""
        _aside([f"`bench run --resume {shlex.quote(str(store.path))}` finishes the run{more}."])


def show(result: RunResult, path: Path | None, order: Order) -> None:
    """The result on stdout, as tables or as JSON; ``path`` is where it was saved."""
    from bench_cli import results
    from bench_cli.report import console, page
    from bench_cli.report.model import Tone

    try:
        if order.json:
            sys.stdout.write(results.to_json(result))
            sys.stdout.flush()
            return
        console.emit(page.render(result, console.columns()))
        if path is not None:
            console.say([f"Result: {path}"], Tone.DIM)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"the result cannot be printed: {error.strerror}",
            remedy=f"it is in {path}" if path else None,
        ) from error


def _aside(texts: Sequence[str]) -> None:
    """Beside the result, not in it."""
    from bench_cli.report import console

    console.say(texts, stream=sys.stderr)
