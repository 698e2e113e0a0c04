"""From paths to drafts: files read, top-level keys checked, ``extends`` and ``defaults`` merged.

A draft is one scenario with everything it inherits, still as located text. What is nearer wins:
the scenario, what it extends, the ``defaults`` of its own file, the defaults of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench_cli.registry import closest
from bench_cli.scenario_values import ValueReader
from bench_cli.scenario_yaml import Items, Keys, Scalar, Spot, Tree, kind_of, read
from bench_cli.units import shorten

SCENARIO_KEYS = (
    "name", "description", "workload", "params", "matrix", "plan", "requirements", "extends",
)  # fmt: skip
DEFAULT_KEYS = ("workload", "params", "matrix", "plan")
MATRIX_EXTRAS = ("include", "exclude")
_MISPLACED = {
    "include": "it belongs inside `matrix`",
    "exclude": "it belongs inside `matrix`",
    "backend": "it belongs inside `params` or `matrix`",
    "core": "it belongs inside `params` or `matrix`",
    "rate": "it belongs inside `plan`",
    "latency": "it belongs inside `plan`",
}
MAX_SCENARIOS = 500
MAX_CHAIN = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(slots=True)
class ScenarioFile:
    """One file: its scenarios by name and its defaults."""

    path: Path
    shown: str
    sha256: str
    scenarios: dict[str, Keys] = field(default_factory=dict)
    defaults: Keys | None = None


@dataclass(slots=True)
class Draft:
    """One scenario with what it inherits. ``extras`` holds ``include`` and ``exclude``."""

    name: str
    spot: Spot
    file: ScenarioFile
    description: str = ""
    workload: Scalar | None = None
    params: dict[str, tuple[Spot, Tree]] = field(default_factory=dict)
    axes: dict[str, tuple[Spot, Tree]] = field(default_factory=dict)
    extras: dict[str, Tree] = field(default_factory=dict)
    plan: dict[str, tuple[Spot, Tree]] = field(default_factory=dict)
    requirements: tuple[Tree, ...] = ()


class Loader:
    """Reads files once each and builds drafts; every mistake goes to the reader's problems."""

    def __init__(self, reader: ValueReader) -> None:
        self.reader = reader
        self.problems = reader.problems
        self._files: dict[Path, ScenarioFile | None] = {}

    def drafts(self, paths: Sequence[Path]) -> list[Draft]:
        files = dict.fromkeys(path.absolute() for path in paths)
        shown = {path.absolute(): str(path) for path in paths}
        found: list[Draft] = []
        places: dict[str, Spot] = {}
        for path in files:
            file = self.file(path, shown[path])
            if file is None:
                continue
            for name, keys in file.scenarios.items():
                if name in places:
                    self.problems.add(
                        keys.places["name"],
                        f"a scenario named {name!r} exists already at {places[name]}",
                    )
                    continue
                places[name] = keys.places["name"]
                found.append(self.draft(name, keys, file))
        return found

    def file(self, path: Path, shown: str) -> ScenarioFile | None:
        """Read and check one file; None when it cannot be read at all."""
        if path not in self._files:
            document = read(path, shown)
            self.problems.extend(document.problems)
            file = ScenarioFile(path, shown, document.sha256)
            self._files[path] = file if document.tree is not None else None
            if document.tree is not None:
                self._fill(file, document.tree)
        return self._files[path]

    def _fill(self, file: ScenarioFile, tree: Tree) -> None:
        top = self.reader.keys(tree, ("scenarios", "defaults"), "a scenario file")
        if top is None:
            return
        if "defaults" in top.entries:
            what = "defaults"
            file.defaults = self.reader.keys(top.entries["defaults"], DEFAULT_KEYS, what)
        if "scenarios" not in top.entries:
            self.problems.add(top.spot, "the key `scenarios` is missing")
            return
        items = self.reader.items(top.entries["scenarios"], "scenarios")
        if not items and isinstance(top.entries["scenarios"], Items):
            self.problems.add(top.places["scenarios"], "scenarios: the list is empty")
        if len(items) > MAX_SCENARIOS:
            self.problems.add(top.spot, f"{len(items)} scenarios; at most {MAX_SCENARIOS}")
            return
        for item in items:
            self._scenario(file, item)

    def _scenario(self, file: ScenarioFile, item: Tree) -> None:
        keys = self.reader.keys(item, SCENARIO_KEYS, "a scenario", _MISPLACED)
        if keys is None:
            return
        if "name" not in keys.entries:
            self.problems.add(keys.spot, "a scenario without `name`")
            return
        name = self.reader.text(keys.entries["name"], "name")
        if name is None:
            return
        if not _NAME.fullmatch(name):
            self.problems.add(
                keys.places["name"],
                f"name: {shorten(name)} must be letters, digits, dots, dashes, underscores (<= 80)",
            )
        elif name in file.scenarios:
            first = file.scenarios[name].places["name"]
            self.problems.add(
                keys.places["name"], f"a scenario named {name!r} exists already at {first}"
            )
        else:
            file.scenarios[name] = keys

    # --- extends -----------------------------------------------------------------------------

    def draft(self, name: str, keys: Keys, file: ScenarioFile) -> Draft:
        chain = list(self._chain(name, keys, file))
        defaults = {f.path: f.defaults for _, f in chain if f.defaults is not None}
        draft = Draft(name, keys.places["name"], file)
        for layer in [*reversed(defaults.values()), *(k for k, _ in reversed(chain))]:
            self._merge(draft, layer)
        return draft

    def _chain(
        self, name: str, keys: Keys, file: ScenarioFile
    ) -> Iterator[tuple[Keys, ScenarioFile]]:
        """The scenario and what it extends, nearest first."""
        seen = {(file.path, name)}
        yield keys, file
        while "extends" in keys.entries:
            parent = self._parent(keys, file)
            if parent is None:
                return
            parent_name, parent_file = parent
            if (parent_file.path, parent_name) in seen or len(seen) >= MAX_CHAIN:
                self.problems.add(
                    keys.places["extends"], f"extends: {parent_name!r} extends itself in a circle"
                )
                return
            seen.add((parent_file.path, parent_name))
            keys, file = parent_file.scenarios[parent_name], parent_file
            yield keys, file

    def _parent(self, keys: Keys, file: ScenarioFile) -> tuple[str, ScenarioFile] | None:
        text = self.reader.text(keys.entries["extends"], "extends")
        if text is None:
            return None
        spot = keys.places["extends"]
        other, _, name = text.rpartition("#")
        target = self._beside(file, other, spot) if other else file
        if target is None:
            return None
        if name not in target.scenarios:
            hint = closest(name[:60], target.scenarios) if target.scenarios else "it has none"
            self.problems.add(
                spot, f"extends: {target.shown} has no scenario {shorten(name)}; {hint}"
            )
            return None
        return name, target

    def _beside(self, file: ScenarioFile, other: str, spot: Spot) -> ScenarioFile | None:
        """A file in the same folder or below it; links that lead out are refused too."""
        folder = file.path.parent
        path = folder / other
        outside = Path(other).is_absolute() or ".." in Path(other).parts or "\0" in other
        if outside or not path.resolve().is_relative_to(folder.resolve()):
            self.problems.add(spot, f"extends: {shorten(other)} lies outside the file's folder")
            return None
        return self.file(path, str(Path(file.shown).parent / other))

    # --- merging -----------------------------------------------------------------------------

    def _merge(self, draft: Draft, layer: Keys) -> None:
        """Lay ``layer`` over what ``draft`` has; a parameter moves between params and matrix."""
        entries = layer.entries
        if "description" in entries:
            draft.description = self.reader.text(entries["description"], "description") or ""
        if "workload" in entries:
            workload = entries["workload"]
            if self.reader.text(workload, "workload") is not None and isinstance(workload, Scalar):
                draft.workload = workload
        if "plan" in entries:
            draft.plan.update(self._section(entries["plan"], "plan"))
        if "requirements" in entries:
            draft.requirements = self.reader.items(entries["requirements"], "requirements")
        self._merge_matrix(draft, layer)

    def _merge_matrix(self, draft: Draft, layer: Keys) -> None:
        params = self._section(layer.entries.get("params"), "params")
        axes = self._section(layer.entries.get("matrix"), "matrix")
        for name in MATRIX_EXTRAS:
            if name in axes:
                draft.extras[name] = axes.pop(name)[1]
        for name in set(params) & set(axes):
            self.problems.add(axes[name][0], f"{name} stands in both params and matrix")
        for name, (spot, tree) in list(axes.items()):
            if not isinstance(tree, Items):
                self.problems.add(
                    spot, f"matrix: {name} must be a list, not {kind_of(tree)}; write [value]"
                )
                del axes[name]
        for name in params:
            draft.axes.pop(name, None)
        for name in axes:
            draft.params.pop(name, None)
        draft.params.update(params)
        draft.axes.update(axes)

    def _section(self, tree: Tree | None, what: str) -> dict[str, tuple[Spot, Tree]]:
        if tree is None:
            return {}
        if not isinstance(tree, Keys):
            self.problems.add(tree.spot, f"{what} must be a mapping, not {kind_of(tree)}")
            return {}
        return {name: (tree.places[name], value) for name, value in tree.entries.items()}
