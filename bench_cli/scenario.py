"""Scenario files: read, checked as a whole, and turned into cells.

``load`` is the program: read the files, understand every scenario, multiply out the matrices,
check the requirements, and only then apply what the command line changes. All mistakes of all
files are collected and raised as one ScenarioError; nothing is returned until all is valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench_cli.catalogue import Catalogue
from bench_cli.cells import Cell, PlanSettings, Reference
from bench_cli.errors import CoreUnavailable, ScenarioError, UsageError
from bench_cli.expressions import Bound, ExpressionError, parse_bound, references
from bench_cli.latencies import PERCENTILE_OF
from bench_cli.metrics import METRICS
from bench_cli.registry import closest
from bench_cli.requirements import RELATIONS, Requirement, named_by, selects
from bench_cli.scenario_expand import (
    MAX_CELLS,
    Expander,
    Recipe,
    override,
    read_choice,
    read_recipe,
    useless_excludes,
)
from bench_cli.scenario_files import Loader
from bench_cli.scenario_values import BadValue, Problems, ValueReader, Vocabulary
from bench_cli.scenario_yaml import Spot, Tree
from bench_cli.units import rough_size, shorten

MAX_PROBLEMS = 100
QUICK = PlanSettings(processes=1, samples=3, min_sample_ns=20_000_000)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario ready to run. ``path`` as given, ``sha256`` of the file's bytes."""

    name: str
    description: str
    workload: str
    cells: tuple[Cell, ...]
    requirements: tuple[Requirement, ...]
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line changes. ``params``: ``key=value`` texts, a repeated key makes an
    axis. ``backends``: only scenarios of their engines run, on them. ``select``: patterns on cell
    ids, any of which suffices; ``*`` and ``?`` are wildcards, anything else is literal.
    ``typed``: how the user gave what is not from ``--backend`` or a text of ``-P``, by that."""

    params: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    core: str | None = None
    select: tuple[str, ...] = ()
    quick: bool = False
    allow_code: bool = False
    typed: Mapping[str, str] = field(default_factory=dict)

    def of_backend(self) -> Spot:
        return Spot(self.typed.get("--backend", "--backend"))

    def of_param(self, text: str) -> Spot:
        return Spot(self.typed.get(text, f"-P {shorten(text)}"))

    def spot(self, name: str, text: str) -> Spot:
        """Where the user gave parameter ``name`` the value ``text``."""
        if name == "backend" and text in self.backends:
            return self.of_backend()
        if name == "core" and text == self.core:
            return Spot("--core")
        return self.of_param(f"{name}={text}")


@dataclass(frozen=True, slots=True)
class _Understood:
    """A recipe with the cells it makes as the file stands, and its requirements."""

    recipe: Recipe
    cells: list[Cell]
    requirements: list[Requirement]


def load(
    paths: Sequence[Path], catalogue: Catalogue, overrides: Overrides | None = None
) -> list[Scenario]:
    """Read scenario files and apply overrides. Raises ScenarioError with every mistake,
    CoreUnavailable when the native core is asked for and not built."""
    wanted = overrides or Overrides()
    problems = Problems()
    reader = ValueReader(Vocabulary(catalogue, wanted.allow_code), problems)
    understood = _understand(paths, reader)
    _raise(problems)
    scenarios = _overridden(understood, wanted, reader)
    _raise(problems)
    return _selected(scenarios, wanted.select)


def _raise(problems: Problems) -> None:
    lines = problems.lines()
    if len(lines) > MAX_PROBLEMS:
        more = len(lines) - MAX_PROBLEMS
        lines = [*lines[:MAX_PROBLEMS], f"... and {more} more mistakes"]
    if lines:
        raise ScenarioError(lines, remedy="`bench schema` describes scenario files")


# --- the files as they stand -----------------------------------------------------------------


def _understand(paths: Sequence[Path], reader: ValueReader) -> list[_Understood]:
    expander = Expander(reader.words)
    understood: list[_Understood] = []
    room = MAX_CELLS
    for draft in Loader(reader).drafts(paths):
        recipe = read_recipe(draft, reader)
        if recipe is None:
            continue
        if recipe.count > room:
            reader.problems.add(draft.spot, _too_many(recipe.count, room))
            continue
        room -= recipe.count
        cells = _file_cells(recipe, expander, reader)
        requirements = _requirements(recipe, cells, reader, expander)
        understood.append(_Understood(recipe, cells, requirements))
    _check_unique(understood, reader.problems)
    _check_references(understood, expander, reader.problems)
    return understood


def _too_many(count: int, room: int) -> str:
    if room == MAX_CELLS:
        return f"the matrix has {count} cells; at most {MAX_CELLS}"
    return f"the matrix has {count} cells; only {room} of {MAX_CELLS} are left for all files"


def _file_cells(recipe: Recipe, expander: Expander, reader: ValueReader) -> list[Cell]:
    draft = recipe.draft
    cells = expander.cells(recipe)
    for spot in useless_excludes(recipe):
        reader.problems.add(spot, "exclude: no cell of the matrix matches this entry")
    if not cells:
        reader.problems.add(draft.spot, f"scenario {draft.name!r} has no cell left")
    if recipe.workload.engine is not None and any(cell.backend is None for cell in cells):
        known = ", ".join(reader.words.catalogue.backends_of(recipe.workload.engine))
        reader.problems.add(draft.spot, f"scenario {draft.name!r} names no `backend`: {known}")
        return []
    return cells


def _check_unique(understood: Iterable[_Understood], problems: Problems) -> None:
    first: dict[str, Recipe] = {}
    for one in understood:
        for cell in one.cells:
            if cell.id not in first:
                first[cell.id] = one.recipe
                continue
            other = first[cell.id].draft
            where = (
                "this scenario" if other is one.recipe.draft else f"{other.name!r} ({other.spot})"
            )
            problems.add(one.recipe.draft.spot, f"the cell {cell.id} exists already in {where}")


# --- requirements ----------------------------------------------------------------------------


def _requirements(
    recipe: Recipe, cells: list[Cell], reader: ValueReader, expander: Expander
) -> list[Requirement]:
    found = []
    for item in recipe.draft.requirements:
        requirement = _requirement(item, recipe, reader, expander)
        if requirement is None:
            continue
        plans = [cell.plan for cell in cells if selects(requirement, cell)]
        if cells and not plans:
            reader.problems.add(item.spot, "requirement: `where` matches no cell of the scenario")
        elif (
            requirement.metric in PERCENTILE_OF
            and cells
            and not any(p.latency or p.rate_per_s for p in plans)
        ):
            why = f"{requirement.metric} is told where the plan has `latency: true` or a rate"
            reader.problems.add(item.spot, f"requirement: {why}")
        found.append(requirement)
    return found


def _requirement(
    item: Tree, recipe: Recipe, reader: ValueReader, expander: Expander
) -> Requirement | None:
    keys = reader.keys(item, ("metric", "where", *RELATIONS), "a requirement")
    if keys is None:
        return None
    metric = _metric(keys.entries.get("metric"), keys.spot, reader)
    relations = [name for name in RELATIONS if name in keys.entries]
    if len(relations) != 1:
        reader.problems.add(keys.spot, "a requirement has either `at_least` or `at_most`")
        return None
    where: dict[str, tuple[Any, ...]] = {}
    if "where" in keys.entries:
        what = f"where of {recipe.workload.name}"
        where = read_choice(keys.entries["where"], what, reader, recipe.declared)
    if metric is None:
        return None
    bound = _bound(keys.entries[relations[0]], relations[0], metric, reader, expander)
    if bound is None:
        return None
    return Requirement(recipe.draft.name, metric, relations[0], bound, where, str(keys.spot))


def _metric(tree: Tree | None, spot: Spot, reader: ValueReader) -> str | None:
    if tree is None:
        reader.problems.add(spot, "a requirement without `metric`")
        return None
    name = reader.text(tree, "metric")
    if name is not None and name not in METRICS:
        reader.problems.add(tree.spot, f"no metric {shorten(name)}; {closest(name[:60], METRICS)}")
        return None
    return name


def _bound(
    tree: Tree, relation: str, metric: str, reader: ValueReader, expander: Expander
) -> Bound | None:
    text = reader.text(tree, relation)
    if text is None:
        return None
    try:
        return parse_bound(text, METRICS[metric].unit, expander.reference)
    except ExpressionError as error:
        reader.problems.add(tree.spot, f"{relation}: {error.message}")
        return None


def _check_references(
    understood: Sequence[_Understood], expander: Expander, problems: Problems
) -> None:
    """Rows that requirements refer to: limits must be expressible, others must be in the plan."""
    cells = [cell for one in understood for cell in one.cells]
    for one in understood:
        for requirement in one.requirements:
            path, _, line = requirement.place.rpartition(":")
            for reference in references(requirement.bound.expression):
                reason = _unreachable(reference, cells, expander)
                if reason:
                    problems.add(Spot(path, int(line)), f"{requirement.relation}: {reason}")


def _unreachable(reference: Reference, cells: Sequence[Cell], expander: Expander) -> str | None:
    known = expander.catalogue.workloads
    if reference.workload not in known:
        hint = closest(reference.workload[:60], known)
        return f"no workload {shorten(reference.workload)}; {hint}"
    if expander.limits([reference]):
        try:
            expander.limit_cell(reference, "", PlanSettings())
        except BadValue as error:
            return error.message
        return None
    if named_by(reference, cells):
        return None
    ids = [cell.id for cell in cells if cell.workload == reference.workload]
    hint = closest(reference.id, ids) if ids else "no scenario here runs that workload"
    return f"no row {reference.id} in the plan; {hint}"


# --- overrides -------------------------------------------------------------------------------


def _overridden(
    understood: Sequence[_Understood], wanted: Overrides, reader: ValueReader
) -> list[Scenario]:
    _check_core(wanted, reader)
    texts = _param_texts(wanted, understood, reader)
    engines = _engines(wanted, reader)
    expander = Expander(reader.words)
    recipes = []
    for one in understood:
        if engines and one.recipe.workload.engine not in engines:
            continue
        recipes.append((_changed(one.recipe, texts, wanted, reader), one.requirements))
    total = sum(recipe.count for recipe, _ in recipes)
    if total > MAX_CELLS:
        reader.problems.add(Spot("-P"), f"{total} cells; at most {MAX_CELLS}")
        return []
    if engines and not recipes:
        reader.problems.add(wanted.of_backend(), "no scenario here runs that engine")
    seen: set[str] = set()
    found = [_scenario(r, needed, wanted, expander, seen) for r, needed in recipes]
    return [scenario for scenario in found if scenario.cells]


def _check_core(wanted: Overrides, reader: ValueReader) -> None:
    catalogue = reader.words.catalogue
    if wanted.core == "native" and catalogue.native_missing:
        raise CoreUnavailable(
            f"core native: {catalogue.native_missing}", remedy=catalogue.native_remedy
        )


def _param_texts(
    wanted: Overrides, understood: Sequence[_Understood], reader: ValueReader
) -> dict[str, list[str]]:
    """Texts by key, each key known to at least one scenario."""
    known = {name for one in understood for name in one.recipe.declared}
    texts: dict[str, list[str]] = {}
    for text in wanted.params:
        key, equals, value = text.partition("=")
        if not equals:
            reader.problems.add(wanted.of_param(text), "is not key=value")
        elif key.strip() not in known:
            hint = closest(key.strip()[:60], known) if known else "there is none"
            reader.problems.add(wanted.of_param(text), f"no scenario has it; {hint}")
        else:
            texts.setdefault(key.strip(), []).append(value.strip())
    if wanted.core is not None:
        texts["core"] = [wanted.core]
    return texts


def _engines(wanted: Overrides, reader: ValueReader) -> set[str | None]:
    """Engines of the chosen backends; code given as ``module:Class`` may implement any."""
    known = reader.words.catalogue.backends
    engines: set[str | None] = set()
    for name in wanted.backends:
        if ":" in name:
            engines.update(w.engine for w in reader.words.catalogue.workloads.values() if w.engine)
        elif name in known:
            engines.add(name.partition(".")[0])
        else:
            hint = closest(name[:60], known) if known else "there is none"
            reader.problems.add(wanted.of_backend(), f"no backend {shorten(name)}; {hint}")
    return engines


def _changed(
    recipe: Recipe, texts: Mapping[str, list[str]], wanted: Overrides, reader: ValueReader
) -> Recipe:
    known = reader.words.catalogue.backends_of(recipe.workload.engine or "")
    backends = [name for name in wanted.backends if ":" in name or name in known]
    values: dict[str, tuple[Any, ...]] = {}
    for name, given in (*texts.items(), ("backend", backends)):
        if name not in recipe.declared:
            continue
        found: dict[Any, None] = {}
        for text in given:
            try:
                found[reader.words.value(recipe.declared[name], text)] = None
            except BadValue as error:
                reader.problems.add(wanted.spot(name, text), error.message)
        if found:
            values[name] = tuple(found)
    return override(recipe, values)


def _scenario(
    recipe: Recipe,
    requirements: Sequence[Requirement],
    wanted: Overrides,
    expander: Expander,
    seen: set[str],
) -> Scenario:
    """``seen`` holds the ids of the scenarios before: an override can make two rows one, which
    then stands where it came first."""
    cells = {c.id: c for c in expander.cells(recipe) if c.id not in seen}
    seen.update(cells)
    draft = recipe.draft
    kept = [r for r in requirements if any(selects(r, cell) for cell in cells.values())]
    finished = [_finished(cell, kept, wanted, expander) for cell in cells.values()]
    return Scenario(
        draft.name, draft.description, recipe.workload.name, tuple(finished), tuple(kept),
        draft.file.shown, draft.file.sha256,
    )  # fmt: skip


def _finished(
    cell: Cell, requirements: Sequence[Requirement], wanted: Overrides, expander: Expander
) -> Cell:
    """The cell with the limits its requirements speak of, and the quick plan where asked."""
    spoken = [
        reference.id
        for requirement in requirements
        if selects(requirement, cell)
        for reference in expander.limits(references(requirement.bound.expression))
    ]
    limits = tuple(dict.fromkeys([*cell.limits, *spoken]))
    return replace(cell, limits=limits, plan=quick(cell.plan) if wanted.quick else cell.plan)


def quick(plan: PlanSettings) -> PlanSettings:
    """Fewer and shorter samples, never more than the file asks for."""
    return replace(
        plan,
        processes=min(plan.processes, QUICK.processes),
        samples=min(plan.samples, QUICK.samples),
        min_sample_ns=min(plan.min_sample_ns, QUICK.min_sample_ns),
    )


# --- selection -------------------------------------------------------------------------------


def matches(pattern: str, cell_id: str) -> bool:
    """Whether ``pattern`` occurs in the id. Pieces between stars are found one after the other,
    so that no pattern can make this slow."""
    position = 0
    for piece in pattern.split("*"):
        expression = "".join("." if char == "?" else re.escape(char) for char in piece)
        found = re.compile(expression).search(cell_id, position)
        if found is None:
            return False
        position = found.end()
    return True


def _selected(scenarios: Sequence[Scenario], patterns: Sequence[str]) -> list[Scenario]:
    """Scenarios with the cells that a pattern selects, without those that have none left."""
    if not patterns:
        return list(scenarios)
    kept = []
    for scenario in scenarios:
        cells = [c for c in scenario.cells if any(matches(p, c.id) for p in patterns)]
        if cells:
            needed = [r for r in scenario.requirements if any(selects(r, c) for c in cells)]
            kept.append(replace(scenario, cells=tuple(cells), requirements=tuple(needed)))
    if not kept:
        ids = [cell.id for scenario in scenarios for cell in scenario.cells]
        shown = " or ".join(shorten(p) for p in patterns)
        hint = f"; the first is {ids[0]}" if ids else ""
        raise ScenarioError([f"-k: no cell matches {shown} ({len(ids)} cells{hint})"],
                            remedy="`bench list` shows the cells")  # fmt: skip
    return kept


# --- for the runner --------------------------------------------------------------------------


def limit_cells(cells: Iterable[Cell], catalogue: Catalogue) -> dict[str, Cell]:
    """The limit cells that ``cells`` refer to, by the ids in ``Cell.limits``, with the plan of
    the first cell that refers to each."""
    expander = Expander(Vocabulary(catalogue))
    found: dict[str, Cell] = {}
    for cell in cells:
        for limit in cell.limits:
            if limit not in found:
                reference = expander.reference(limit)
                found[limit] = expander.limit_cell(reference, cell.scenario, cell.plan)
    return found


def scenario_files(scenarios: Iterable[Scenario]) -> list[dict[str, Any]]:
    """Path and digest of each file, for the result; a home folder is only ``~`` there, because
    results are meant to be shared."""
    digests = {scenario.path: scenario.sha256 for scenario in scenarios}
    return [{"path": _without_home(path), "sha256": one} for path, one in digests.items()]


def _without_home(path: str) -> str:
    home = str(Path.home())
    return "~" + path.removeprefix(home) if path.startswith(f"{home}/") else path


def check_needs(
    cells: Iterable[Cell], catalogue: Catalogue, available_memory: int, available_disk: int
) -> None:
    """Refuse a plan of which one row needs more than there is (bytes; rows run one after the
    other). Raises UsageError naming the row, both values and the remedy."""
    for cell in cells:
        if cell.skip is not None:
            continue
        needs = catalogue.workloads[cell.workload].needs(cell.params)
        for what, needed, available in (
            ("memory", needs.memory, available_memory),
            ("disk", needs.disk, available_disk),
        ):
            if needed > available:
                raise UsageError(
                    f"{cell.id} needs {rough_size(needed)} of {what} ({needed} bytes); "
                    f"{rough_size(available)} ({available}) are available",
                    remedy=f"free some {what}, make the row smaller with -P, or leave it out "
                    "with -k",
                )
