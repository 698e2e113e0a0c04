"""``bench ab``: two versions in one session, pair by pair, and a verdict per cell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench_cli.cli import options
from bench_cli.errors import OutputError
from bench_cli.units import shorten

if TYPE_CHECKING:
    from bench_cli.catalogue import Catalogue
    from bench_cli.cells import Cell
    from bench_cli.requirements import Requirement
    from bench_cli.results import RunResult
    from bench_cli.run_store import Journal, RunStore
    from bench_cli.runner.ab import AbSettings, Match
    from bench_cli.runner.subjects import Spec, Subject
    from bench_cli.scenario import Overrides, Scenario
    from bench_cli.stats.compare import Comparison

QUICK_PAIRS, PAIRS, RIGOROUS_PAIRS = 4, 12, 24


@dataclass(frozen=True, slots=True)
class Order:
    """What one session was asked to do. ``overrides`` hold for both sides. ``resumed``: the
    journal it goes on from."""

    base: Spec
    head: Spec
    words: Sequence[str]
    overrides: Overrides
    pairs: int
    limit: float | None
    budget_s: float | None
    seed: int
    output: Path | None
    form: str
    resumed: Journal | None = None

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(spec.key for spec in (self.base, self.head) if spec.key)


@click.command("ab")
@options.scenarios
@click.option("--base", metavar="S", help="What head is compared with.")
@click.option("--head", default="here", show_default=True, metavar="S", help="What is judged.")
@options.select
@options.params("Set a parameter on both sides.")
@options.core
@click.option("--quick", is_flag=True, help="4 short pairs: a first look that never fails.")
@options.rigorous
@options.budget("Start no further pair after this time; spend what is left on undecided cells.")
@options.limit
@options.resume("session")
@options.allow_code
@options.output("Where head's result goes (base's beside it, as FILE.base.json).")
@options.seed
@options.everything
@options.fail_on
@options.comparison_format
def command(
    scenarios: tuple[str, ...],
    base: str | None,
    head: str,
    select: tuple[str, ...],
    params: tuple[str, ...],
    core: str | None,
    quick: bool,
    rigorous: bool,
    budget_s: float | None,
    limit: float | None,
    resume: str | None,
    allow_code: bool,
    output: Path | None,
    seed: int,
    everything: bool,
    fail_on: str,
    form: str,
) -> int:
    """Compare two versions in one session, and judge.

    S is git:REV (built aside, once), path:DIR (a checkout), python:EXE (an interpreter that has
    the package), backend:NAME, set:KEY=VALUE, or here: the tool and the scenario as they are.
    Both sides run the scenario files that are here, in alternating fresh processes. A cell that
    looks changed is confirmed on 24 further pairs, and that is repeated on 24 more.

    \b
    bench ab --base git:main wal
    bench ab --base backend:wal.basic --head backend:wal.mmap wal -k steady --budget 10m
    bench ab --base set:record=4KiB --head set:record=8KiB append --quick

    Exits 10 on a regression, 11 on an undecided cell (with --fail-on undecided), 12 if nothing
    could be compared, 13 if a row is missing on one side, 14 if head missed a requirement, 20 if
    a row failed on head, 130 if interrupted (finished pairs are judged and saved, and --resume
    finishes the session), 2 if a side cannot be built or run.
    """
    from bench_cli.runner.subjects import read_spec
    from bench_cli.scenario import Overrides

    tell_undecided = fail_on == "undecided"
    if resume is not None:
        order = _resumed(resume, allow_code, form)
        return run(order, everything=everything, fail_on_undecided=tell_undecided)
    if base is None:
        raise click.UsageError("--base says what head is compared with; it is missing")
    if quick and rigorous:
        raise click.UsageError("--quick and --rigorous exclude each other")
    order = Order(
        read_spec(base), read_spec(head), scenarios,
        Overrides(params, (), core, select, quick, allow_code),
        QUICK_PAIRS if quick else RIGOROUS_PAIRS if rigorous else PAIRS,
        limit, budget_s, seed, output, form,
    )  # fmt: skip
    return run(order, everything=everything, fail_on_undecided=tell_undecided)


_WITH_RESUME = ("resume", "allow_code", "form", "everything", "fail_on")


def _resumed(name: str, allow_code: bool, form: str) -> Order:
    """The journal says what to run; nothing else may."""
    from bench_cli import places, run_store
    from bench_cli.cli.ab_resume import order_of

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in _WITH_RESUME and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--resume runs what its journal says; leave {parameter.opts[0]} away", context
            )
    journal = run_store.read_journal(run_store.find(name, places.results_dir()))
    return order_of(journal, allow_code=allow_code, form=form)


def run(order: Order, *, everything: bool, fail_on_undecided: bool) -> int:
    """Nothing runs before the scenarios, both sides and the places to write are known good."""
    from bench_cli import catalogue as catalogues
    from bench_cli import environment
    from bench_cli.cli.ab_resume import open_store
    from bench_cli.cli.noise import floors_of, floors_on
    from bench_cli.stats.compare import compare

    catalogue = catalogues.from_registry()
    scenarios, matches = planned(order, catalogue)
    paths = _places(order, scenarios)
    subjects = subjects_of(order, matches)
    environments = environments_of(order, catalogue, subjects)
    floors_on(environments[1])  # a damaged file is told before anything runs
    matches = _runnable(matches, subjects, catalogue)
    store = open_store(order, scenarios, matches, environments, paths[1])
    done = False
    try:
        base, head = execute(order, catalogue, scenarios, matches, subjects, environments, store)
        unsaved = _save(paths, (base, head), store)
        done = not head.interrupted and unsaved is None
    finally:
        store.close(keep=not done)
    differences = environment.differences(base.environment, head.environment)
    found = compare(base, head, differences, floors=floors_of(head))
    found.fail_on_undecided = fail_on_undecided
    _report(order, found, (base, head), paths, everything=everything)
    if unsaved is not None:
        raise unsaved
    if head.interrupted:
        _aside(f"`{_finish(store)}` finishes the session.")
    return found.exit_code


def _save(
    paths: tuple[Path, Path], sides: tuple[RunResult, RunResult], store: RunStore
) -> OutputError | None:
    """Write both results; None when they are safe. Otherwise the error to raise once the verdict
    is shown: the journal still has everything."""
    from bench_cli import results

    try:
        for path, result in zip(paths, sides, strict=True):
            results.write(path, result)  # head last: it is the "latest" of the two
    except OutputError as error:
        return OutputError(error.message, remedy=f"make room; then `{_finish(store)}` writes it")
    return None


def _finish(store: RunStore) -> str:
    return f"bench ab --resume {shlex.quote(str(store.path))}"


def _report(
    order: Order,
    found: Comparison,
    sides: tuple[RunResult, RunResult],
    paths: tuple[Path, Path],
    *,
    everything: bool,
) -> None:
    from bench_cli.cli.comparing import tell
    from bench_cli.report import console
    from bench_cli.report.model import Tone

    names = (str(paths[0]), str(paths[1]))
    tell(found, sides, names, order.form, everything=everything)
    if order.form == "table" and all(path.exists() for path in paths):
        console.say([f"Results: {names[0]}, {names[1]}"], Tone.DIM)


def _aside(text: str) -> None:
    from bench_cli.report import console

    console.say([text], stream=sys.stderr)


# --- before ----------------------------------------------------------------------------------


def planned(order: Order, catalogue: Catalogue) -> tuple[list[Scenario], list[Match]]:
    """Head's scenarios and the cells of both sides, paired."""
    from bench_cli.cli.loading import load_scenarios
    from bench_cli.runner.ab import match_cells

    sides = [
        load_scenarios(order.words, catalogue, _side(order.overrides, side, spec))
        for side, spec in (("--base", order.base), ("--head", order.head))
    ]
    cells = [
        _selected([cell for one in scenarios for cell in one.cells], order) for scenarios in sides
    ]
    return sides[1], match_cells(cells[0], cells[1], order.keys, order.limit)


def _side(overrides: Overrides, side: str, spec: Spec) -> Overrides:
    """What the command line and the side's own name change about the scenarios."""
    plain = replace(overrides, select=())
    typed = f"{side} {shorten(spec.text)}"
    if spec.kind == "backend":
        return replace(plain, backends=(spec.value,), typed={"--backend": typed})
    if spec.kind == "set":
        return replace(plain, params=(*plain.params, spec.value), typed={spec.value: typed})
    return plain


def _selected(cells: Sequence[Cell], order: Order) -> list[Cell]:
    """Patterns may speak of a cell with or without what is compared: reports name it without."""
    from bench_cli.errors import ScenarioError
    from bench_cli.runner.ab import without
    from bench_cli.scenario import matches

    patterns = order.overrides.select
    if not patterns:
        return list(cells)
    names = [(cell, f"{cell.id}\n{without(cell.id, order.keys)}") for cell in cells]
    kept = [cell for cell, name in names if any(matches(p, name) for p in patterns)]
    if not kept:
        raise ScenarioError([f"-k: no cell matches {' or '.join(patterns)[:80]}"],
                            remedy="`bench list` shows the cells")  # fmt: skip
    return kept


def _places(order: Order, scenarios: Sequence[Scenario]) -> tuple[Path, Path]:
    """The files of base and head."""
    from bench_cli import places, results

    stems = {Path(scenario.path).stem for scenario in scenarios}
    name = f"ab-{stems.pop()}" if len(stems) == 1 else "ab"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    head = order.output or results.default_path(places.results_dir(), created, name)
    base = head.with_name(f"{head.stem}.base.json")
    for path in (base, head):
        results.check_writable(path)
    return base, head


def subjects_of(order: Order, matches: Sequence[Match]) -> tuple[Subject, Subject]:
    from bench_cli import places
    from bench_cli.runner.subjects import SubjectError, prepare

    def ready(spec: Spec, cells: Sequence[Cell]) -> Subject:
        found = prepare(
            spec, cache=places.scratch_dir() / "ab", root=places.project_root(),
            say=_aside,
        )  # fmt: skip
        if found.native_missing and any(cell.core == "native" for cell in cells):
            raise SubjectError(f"{spec.text}: {found.native_missing}",
                               remedy="build it (make install), or give --core python")  # fmt: skip
        return found

    return (
        ready(order.base, [match.base for match in matches]),
        ready(order.head, [match.head for match in matches]),
    )


def _runnable(
    matches: Sequence[Match], subjects: tuple[Subject, Subject], catalogue: Catalogue
) -> list[Match]:
    """What a side does not know is skipped there, with the reason, and not run as something
    else."""

    def checked(cell: Cell, subject: Subject) -> Cell:
        declared = catalogue.parameters_of(cell.workload)
        defaults = {name: parameter.default for name, parameter in declared.items()}
        return replace(cell, skip=cell.skip or subject.skipped(cell, defaults))

    base, head = subjects
    return [
        replace(one, base=checked(one.base, base), head=checked(one.head, head)) for one in matches
    ]


def _check_room(cells: Sequence[Cell], catalogue: Catalogue) -> None:
    import shutil

    import psutil

    from bench_cli import places
    from bench_cli.scenario import check_needs

    scratch = places.scratch_dir()
    scratch.mkdir(parents=True, exist_ok=True)
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage(scratch).free
    check_needs(cells, catalogue, memory, disk)


# --- during ----------------------------------------------------------------------------------


def execute(
    order: Order,
    catalogue: Catalogue,
    scenarios: Sequence[Scenario],
    matches: Sequence[Match],
    subjects: tuple[Subject, Subject],
    environments: tuple[dict[str, Any], dict[str, Any]],
    store: RunStore | None = None,
    *,
    confirms: bool = True,
) -> tuple[RunResult, RunResult]:
    """Run the session, and judge head's requirements. ``confirms``: suspects get further pairs."""
    from bench_cli import requirements
    from bench_cli.report import console
    from bench_cli.runner import ab, sides
    from bench_cli.scenario import limit_cells, scenario_files

    cells = [cell for match in matches for cell in (match.base, match.head)]
    _check_room(cells, catalogue)
    wanted = [requirement for one in scenarios for requirement in one.requirements]
    running = sides.sides_of(subjects[0].program, subjects[1].program)
    with closing(running):
        base, head = ab.execute(
            matches,
            limit_cells(cells, catalogue),
            runners=running.runners,
            next_round=running.next_round,
            settings=_settings(order, wanted, gates=confirms and not order.overrides.quick),
            environments=environments,
            reporters=lambda: console.progress(quiet=order.form == "json"),
            **_journalled(order, store),
        )
    for result in (base, head):
        result.scenario_files = scenario_files(scenarios)
        result.settings = {"seed": order.seed, "quick": order.overrides.quick,
                           "pairs": order.pairs, "budget_s": order.budget_s,
                           "processes": "forked" if running.forked else "started"}  # fmt: skip
    head.requirements = requirements.judge(wanted, head.results)
    return base, head


def _journalled(order: Order, store: RunStore | None) -> dict[str, Any]:
    """What goes to the journal, and what comes from it."""
    finished = order.resumed.entries if order.resumed else ()
    return {"finished": finished, **({"journal": store.append} if store else {})}


def _settings(order: Order, wanted: Sequence[Requirement], *, gates: bool) -> AbSettings:
    from bench_cli import places
    from bench_cli.runner.ab import AbSettings

    return AbSettings(
        scratch=places.scratch_dir(),
        names=(order.base.text, order.head.text),
        command=repeat(order),
        pairs=order.pairs,
        gates=gates,
        budget_s=order.budget_s,
        limits=any(one.metric == "limit_share" for one in wanted),
        seed=order.seed,
        allow_code=order.overrides.allow_code,
    )


def repeat(order: Order) -> str:
    """The command line of the session, without its ``-k``."""
    words = ["bench", "ab", "--base", order.base.text, "--head", order.head.text, *order.words]
    for text in order.overrides.params:
        words += ["-P", text]
    words += ["--core", order.overrides.core] if order.overrides.core else []
    words += ["--rigorous"] if order.pairs == RIGOROUS_PAIRS else []
    words += ["--quick"] if order.overrides.quick else []
    words += ["--limit", f"{order.limit * 100:g}%"] if order.limit else []
    words += ["--allow-code"] if order.overrides.allow_code else []
    return shlex.join(words)


def environments_of(
    order: Order, catalogue: Catalogue, subjects: tuple[Subject, Subject]
) -> tuple[dict[str, Any], dict[str, Any]]:
    from bench_cli import environment, places

    core = order.overrides.core or catalogue.default_core
    ours = environment.record(places.scratch_dir(), core)
    base, head = subjects
    return {**ours, **base.environment}, {**ours, **head.environment}
