"""From words on the command line to scenarios: a file, the name of a shipped file, or the name of
a scenario inside one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench_cli import places, registry
from bench_cli.catalogue import Catalogue
from bench_cli.errors import UnknownName, UsageError
from bench_cli.scenario import Overrides, Scenario, load

SHIPPED = ("rewards", "wal", "limits", "cache")
"""What runs without an argument, in the order of the tables."""


def load_scenarios(
    words: Sequence[str], catalogue: Catalogue, overrides: Overrides
) -> list[Scenario]:
    """Raises ScenarioError, UnknownName, UsageError."""
    paths, names = _sort_out(words)
    files = dict.fromkeys([*paths, *_holding(names, catalogue, overrides)])
    if not words:
        files = dict.fromkeys(_shipped())
    found = load(list(files), catalogue, overrides)
    chosen = {str(path) for path in paths}
    return [one for one in found if not words or one.path in chosen or one.name in names]


def _sort_out(words: Sequence[str]) -> tuple[list[Path], set[str]]:
    """Files, and names of scenarios."""
    paths: list[Path] = []
    names: set[str] = set()
    for word in words:
        shipped = places.scenarios_dir() / f"{word}.yaml"
        if Path(word).suffix in (".yaml", ".yml") or "/" in word:
            paths.append(Path(word))
        elif shipped.is_file():
            paths.append(_shown(shipped))
        else:
            names.add(word)
    return paths, names


def _shipped() -> list[Path]:
    folder = places.scenarios_dir()
    found = [folder / f"{name}.yaml" for name in SHIPPED]
    files = [_shown(path) for path in found if path.is_file()]
    if not files:
        raise UsageError(f"no scenario files in {folder}",
                         remedy="name a file, or run from the project's folder")  # fmt: skip
    return files


def _shown(path: Path) -> Path:
    """Relative to here where that is shorter: messages and results name it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _holding(names: set[str], catalogue: Catalogue, overrides: Overrides) -> list[Path]:
    """The files of the folder that hold scenarios of these names; those that run by default are
    looked into first, and no more of the others than need be. Raises UnknownName."""
    if not names:
        return []
    first = _shipped()
    others = sorted(_shown(path) for path in places.scenarios_dir().glob("*.yaml"))
    plain = Overrides(allow_code=overrides.allow_code)
    missing, known, found = set(names), set[str](), list[Path]()
    for path in dict.fromkeys([*first, *others]):
        here = {scenario.name for scenario in load([path], catalogue, plain)}
        if here & missing:
            found.append(path)
        missing -= here
        known |= here
        if not missing:
            return found
    name = min(missing)
    known |= {path.stem for path in others}
    raise UnknownName(
        f"no scenario {name!r:.80}; {registry.closest(name[:80], known)}",
        remedy="`bench list` shows them; a file is named by its path",
    )
