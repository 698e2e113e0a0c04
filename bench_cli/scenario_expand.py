"""From a draft to cells: values read, the matrix multiplied out, ids given.

A *recipe* is a draft whose values are understood; overrides of the command line change recipes,
never files, so that a file's own mistakes are found whatever the overrides are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench_cli.catalogue import Catalogue
from bench_cli.cells import RATE, Cell, PlanSettings, Reference, make_id, parse_reference
from bench_cli.expressions import parse_expression, references
from bench_cli.interfaces import Parameter, Workload
from bench_cli.registry import closest
from bench_cli.scenario_files import Draft
from bench_cli.scenario_values import PLAN_PARAMETERS, SPECIAL, BadValue, ValueReader, Vocabulary
from bench_cli.scenario_yaml import Keys, Spot, Tree
from bench_cli.units import shorten

MAX_CELLS = 5_000

Point = Mapping[str, Any]
Choice = Mapping[str, tuple[Any, ...]]
"""Values by parameter; an entry of ``include`` or ``exclude``."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One scenario understood. ``fixed`` and ``axes`` hold values in base units; ``include`` adds
    points to the matrix, ``exclude`` removes some. Among ``declared`` is the rate of the plan,
    which may be an axis."""

    draft: Draft
    workload: Workload
    declared: Mapping[str, Parameter]
    fixed: Mapping[str, Any]
    axes: Choice
    include: tuple[Choice, ...] = ()
    exclude: tuple[tuple[Spot, Choice], ...] = ()
    plan: PlanSettings = field(default_factory=PlanSettings)

    @property
    def count(self) -> int:
        """How many points there are before ``exclude``; cheap however large."""
        product = math.prod(len(values) for values in self.axes.values())
        base = 0 if self.include and not self.axes else product
        return base + sum(math.prod(len(v) for v in entry.values()) for entry in self.include)


def read_recipe(draft: Draft, reader: ValueReader) -> Recipe | None:
    """Understand a draft; None after a mistake that leaves nothing to expand."""
    words = reader.words
    workload = _workload(draft, reader)
    if workload is None:
        return None
    parameters = words.declared(workload)
    declared = {**parameters, RATE: PLAN_PARAMETERS[RATE]}
    before = len(reader.problems)
    if RATE in draft.axes and RATE in draft.plan:
        reader.problems.add(draft.axes[RATE][0], "rate: it stands in `plan` and in `matrix`")
    recipe = Recipe(
        draft=draft,
        workload=workload,
        declared=declared,
        fixed=_fixed(draft, reader, workload.name, parameters),
        axes={
            name: reader.several(declared[name], tree)
            for name, (spot, tree) in draft.axes.items()
            if reader.known(name, spot, declared, workload.name)
        },
        include=tuple(c for _, c in _choices(draft, "include", reader, workload.name, declared)),
        exclude=tuple(_choices(draft, "exclude", reader, workload.name, declared)),
        plan=_plan(draft, reader),
    )
    return recipe if len(reader.problems) == before else None


def _workload(draft: Draft, reader: ValueReader) -> Workload | None:
    known = reader.words.catalogue.workloads
    if draft.workload is None:
        reader.problems.add(draft.spot, f"scenario {draft.name!r} names no `workload`")
        return None
    name = draft.workload.text
    if name not in known:
        hint = closest(name[:60], known)
        reader.problems.add(draft.workload.spot, f"no workload {shorten(name)}; {hint}")
        return None
    return known[name]


def _fixed(
    draft: Draft, reader: ValueReader, what: str, declared: Mapping[str, Parameter]
) -> dict[str, Any]:
    fixed = {
        name: reader.one(declared[name], tree)
        for name, (spot, tree) in draft.params.items()
        if reader.known(name, spot, declared, what)
    }
    missing = reader.words.catalogue.native_missing
    if fixed.get("core") == "native" and missing:
        reader.problems.add(draft.params["core"][0], f"core native: {missing}")
    return fixed


def _choices(
    draft: Draft, which: str, reader: ValueReader, what: str, declared: Mapping[str, Parameter]
) -> Iterator[tuple[Spot, Choice]]:
    """The entries of ``include`` or ``exclude``: a value or a list of values per parameter."""
    if which not in draft.extras:
        return
    for item in reader.items(draft.extras[which], which):
        choice = read_choice(item, f"{which} of {what}", reader, declared)
        unknown = set(choice) - set(draft.axes) if which == "exclude" else set()
        for name in sorted(unknown):
            reader.problems.add(item.spot, f"exclude: {name} is not an axis of the matrix")
        if not choice:
            reader.problems.add(item.spot, f"{which}: the entry says nothing")
        yield item.spot, choice


def read_choice(
    item: Tree, what: str, reader: ValueReader, declared: Mapping[str, Parameter]
) -> dict[str, tuple[Any, ...]]:
    """A mapping of parameters to one value or several."""
    if not isinstance(item, Keys):
        reader.keys(item, (), what)
        return {}
    return {
        name: reader.several(declared[name], tree)
        for name, tree in item.entries.items()
        if reader.known(name, item.places[name], declared, what)
    }


def _plan(draft: Draft, reader: ValueReader) -> PlanSettings:
    values: dict[str, Any] = {}
    for name, (spot, tree) in draft.plan.items():
        if name in PLAN_PARAMETERS:
            value = reader.one(PLAN_PARAMETERS[name], tree)
            if value is not None:
                values[name] = value
        else:
            hint = closest(name[:60], PLAN_PARAMETERS)
            reader.problems.add(spot, f"plan has no key {shorten(name)}; {hint}")
    return plan_settings(values)


def plan_settings(values: Mapping[str, Any]) -> PlanSettings:
    """From the keys of ``plan``, times in ns."""
    names = {"min_sample": "min_sample_ns", "timeout": "timeout_ns", "rate": "rate_per_s"}
    given = {names.get(name, name): value for name, value in values.items()}
    if "latency" in given:
        given["latency"] = given["latency"] == "true"
    return PlanSettings(**given)


# --- the matrix ------------------------------------------------------------------------------


def points(recipe: Recipe) -> list[Point]:
    """The matrix without what is excluded, and what is included."""
    found: list[Point] = []
    if recipe.axes or not recipe.include:
        left_out = [choice for _, choice in recipe.exclude]
        found = [p for p in _product(recipe.axes) if not any(_within(p, c) for c in left_out)]
    for entry in recipe.include:
        found.extend(_product(entry))
    return found


def useless_excludes(recipe: Recipe) -> list[Spot]:
    """Entries of ``exclude`` that remove no point."""
    matrix = list(_product(recipe.axes))
    return [spot for spot, choice in recipe.exclude if not any(_within(p, choice) for p in matrix)]


def _product(choice: Choice) -> Iterator[Point]:
    for values in itertools.product(*choice.values()):
        yield dict(zip(choice, values, strict=True))


def _within(point: Point, choice: Choice) -> bool:
    return all(point.get(name) in values for name, values in choice.items())


# --- cells -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expander:
    """Makes cells of recipes. ``words`` knows the catalogue."""

    words: Vocabulary

    @property
    def catalogue(self) -> Catalogue:
        return self.words.catalogue

    def cells(self, recipe: Recipe) -> list[Cell]:
        """Every cell of a recipe. A point that differs from another only in the core of a
        backend that has one core is the same cell and appears once."""
        found: dict[tuple[str, int], Cell] = {}
        for number, point in enumerate(points(recipe)):
            cell = self.cell(recipe, point)
            merged = "core" in recipe.axes and self._single_core(cell.backend)
            found.setdefault((cell.id, 0 if merged else number), cell)
        return list(found.values())

    def _single_core(self, backend: str | None) -> bool:
        return backend is not None and len(self.catalogue.cores_of(backend)) == 1

    def cell(self, recipe: Recipe, point: Point) -> Cell:
        values = {name: p.default for name, p in recipe.declared.items()}
        values[RATE] = recipe.plan.rate_per_s
        values.update(recipe.fixed)
        values.update(point)
        if self._single_core(values.get("backend")):
            values["core"] = self.catalogue.cores_of(values["backend"])[0]
        shown = sorted(
            name
            for name, value in values.items()
            if name in recipe.axes or name in SPECIAL or value != recipe.declared[name].default
        )
        params = {n: value for n, value in values.items() if n not in (*SPECIAL, RATE)}
        kinds = {name: p.kind for name, p in recipe.declared.items()}
        backend, core = values.get("backend"), values.get("core")
        return Cell(
            id=make_id(recipe.workload.name, {name: values[name] for name in shown}, kinds),
            scenario=recipe.draft.name,
            workload=recipe.workload.name,
            backend=backend,
            core=core,
            params=params,
            shown=tuple(shown),
            plan=replace(recipe.plan, rate_per_s=values[RATE]),
            limits=tuple(r.id for r in self.ceiling(recipe.workload, params, backend)),
            skip=self._skip(backend, core),
        )

    def ceiling(self, workload: Workload, params: Point, backend: str | None) -> list[Reference]:
        """The limit rows a row's ceiling speaks of."""
        text = workload.ceiling(params, backend)
        if text is None:
            return []
        return self.limits(references(parse_expression(text, read_row=self.reference)))

    def limits(self, found: Iterable[Reference]) -> list[Reference]:
        known = self.catalogue.workloads
        return [r for r in found if r.workload in known and known[r.workload].engine is None]

    def reference(self, text: str) -> Reference:
        """A row's name with its values read by their kinds."""
        workload = parse_reference(text).workload
        return parse_reference(text, self.catalogue.kinds_of(workload))

    def _skip(self, backend: str | None, core: str | None) -> str | None:
        missing = self.catalogue.native_missing
        if core == "native" and missing:
            return f"core native: {missing}"
        if backend in self.catalogue.backends and core not in self.catalogue.cores_of(str(backend)):
            return f"{backend} has no {core} core"
        return None

    def limit_cell(self, reference: Reference, scenario: str, plan: PlanSettings) -> Cell:
        """The cell of a limit row named by a requirement or a ceiling. Raises BadValue."""
        workload = self.catalogue.workloads[reference.workload]
        declared = self.words.declared(workload)
        given: dict[str, Any] = {}
        for name, text in reference.values:
            if name not in declared:
                hint = closest(name, declared) if declared else "it takes none"
                raise BadValue(f"{workload.name} has no parameter {name!r}; {hint}")
            given[name] = self.words.value(declared[name], text)
        params = {name: p.default for name, p in declared.items()} | given
        return Cell(
            reference.id, scenario, workload.name, None, None, params, tuple(sorted(given)), plan
        )


# --- overrides -------------------------------------------------------------------------------


def override(recipe: Recipe, values: Mapping[str, tuple[Any, ...]]) -> Recipe:
    """A recipe with parameters set from the command line. One value replaces a parameter or
    narrows its axis (which stays in the id); several make an axis."""
    fixed, axes = dict(recipe.fixed), dict(recipe.axes)
    for name, chosen in values.items():
        if name in axes or len(chosen) > 1:
            axes[name] = chosen
            fixed.pop(name, None)
        else:
            fixed[name] = chosen[0]
    set_axes = {name: chosen for name, chosen in values.items() if name in axes}
    include = [
        {name: given for name, given in entry.items() if name not in values} | set_axes
        for entry in recipe.include
    ]
    return replace(recipe, fixed=fixed, axes=axes, include=tuple(include))
