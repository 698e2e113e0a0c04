"""What the words of a scenario file mean: each value read as its parameter's kind, with bounds.

Values come out in base units (bytes, nanoseconds). The same readers serve files and ``-P``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench_cli.catalogue import CORES, Catalogue
from bench_cli.cells import PlanSettings, format_value
from bench_cli.errors import UsageError
from bench_cli.flushing import FlushError, format_flush, parse_flush
from bench_cli.interfaces import Parameter, Workload
from bench_cli.registry import closest, is_code
from bench_cli.scenario_yaml import Items, Keys, Problem, Scalar, Spot, Tree, kind_of
from bench_cli.units import (
    LARGEST,
    UnitError,
    parse_count,
    parse_frequency,
    parse_share,
    parse_size,
    parse_time,
    shorten,
)

SPECIAL = ("backend", "core")
NONE = "none"
_PLAN = PlanSettings()
PLAN_PARAMETERS = {
    "processes": Parameter(
        "processes", "int", _PLAN.processes,
        "fresh worker processes per cell", minimum=1, maximum=1000,
    ),
    "samples": Parameter(
        "samples", "int", _PLAN.samples,
        "samples per process, after one warm-up sample", minimum=1, maximum=1000,
    ),
    "min_sample": Parameter(
        "min_sample", "time", _PLAN.min_sample_ns,
        "shortest time of one sample", minimum=1_000, maximum=60 * 10**9,
    ),
    "timeout": Parameter(
        "timeout", "time", _PLAN.timeout_ns,
        "a worker that takes longer is killed", minimum=10**6, maximum=24 * 3600 * 10**9,
    ),
    "latency": Parameter(
        "latency", "choice", "false",
        "tell the times of single operations, in a pass of their own", choices=("false", "true"),
    ),
    "rate": Parameter(
        "rate", "rate", _PLAN.rate_per_s,
        "open loop: operations meant to start per second; 0/s: one after the other",
        maximum=10**8,
    ),
    "limit": Parameter(
        "limit", "share", _PLAN.limit,
        "smallest change of time that counts in comparisons; 0%: 3%", maximum=10,
    ),
}  # fmt: skip
_READERS: Mapping[str, Callable[[str], float]] = {
    "int": parse_count,
    "size": parse_size,
    "time": parse_time,
    "rate": parse_frequency,
    "share": parse_share,
}


class BadValue(UsageError):
    """A value that its parameter does not take."""

    slug = "value"


@dataclass(slots=True)
class Problems:
    """Every mistake found so far, each once."""

    found: dict[Problem, None] = field(default_factory=dict)

    def add(self, spot: Spot, text: str) -> None:
        self.found[Problem(spot, text)] = None

    def extend(self, problems: Iterable[Problem]) -> None:
        self.found.update(dict.fromkeys(problems))

    def lines(self) -> list[str]:
        """As printed: files in the order they were read, lines ascending."""
        order = {path: n for n, path in enumerate(dict.fromkeys(p.spot.path for p in self.found))}
        return [str(p) for p in sorted(self.found, key=lambda p: (order[p.spot.path], p.spot.line))]

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The catalogue, and whether ``module:Class`` names are allowed."""

    catalogue: Catalogue
    allow_code: bool = False

    def declared(self, workload: Workload) -> dict[str, Parameter]:
        """What may stand in ``params`` and ``matrix``: the workload's parameters, and backend
        and core where it has an engine."""
        parameters = {parameter.name: parameter for parameter in workload.parameters}
        if workload.engine is not None:
            parameters["backend"] = Parameter(
                "backend", "backend", None, "which implementation", choices=(workload.engine,)
            )
            parameters["core"] = Parameter(
                "core", "choice", self.catalogue.default_core, "which twin", choices=CORES
            )
        return parameters

    def value(self, parameter: Parameter, text: str) -> Any:
        """``text`` as a value of ``parameter``. Raises BadValue."""
        match parameter.kind:
            case "backend":
                return self.backend(parameter, text)
            case "choice":
                return _word(parameter, text)
            case "flush":
                return _flush(text)
            case kind:
                return _number(parameter, _READERS[kind], text)

    def backend(self, parameter: Parameter, text: str) -> str:
        if text == NONE and NONE in (*parameter.choices, parameter.default):
            return text
        if is_code(text):
            return self.code(text)
        engines = [engine for engine in parameter.choices if engine != NONE]
        known = [name for engine in engines for name in self.catalogue.backends_of(engine)]
        if text in known:
            return text
        if text in self.catalogue.backends:
            raise BadValue(f"{text} is not a backend of {' or '.join(engines)}: {', '.join(known)}")
        full = [name for name in known if name.partition(".")[2] == text]
        hint = f"write the full name {full[0]}" if full else closest(text[:60], known)
        raise BadValue(f"no backend {shorten(text)}; {hint}")

    def code(self, text: str) -> str:
        module, _, name = text.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise BadValue(f"{shorten(text)} is not module:Class")
        if not self.allow_code:
            raise BadValue(
                f"{shorten(text)} runs code from a module; add --allow-code if you trust it"
            )
        return text


def _word(parameter: Parameter, text: str) -> str:
    if text not in parameter.choices:
        raise BadValue(f"{shorten(text)} is not a choice; {closest(text[:60], parameter.choices)}")
    return text


def _flush(text: str) -> str:
    """One text for each policy, however it was written."""
    try:
        return format_flush(parse_flush(text))
    except FlushError as error:
        raise BadValue(f"{error.message}; {error.remedy}") from None


def _number(parameter: Parameter, read: Callable[[str], float], text: str) -> float:
    try:
        value = read(text)
    except UnitError as error:
        raise BadValue(error.message) from None
    least = 0 if parameter.minimum is None else parameter.minimum
    most = LARGEST if parameter.maximum is None else parameter.maximum
    if not least <= value <= most:
        side, bound = ("below", least) if value < least else ("above", most)
        raise BadValue(
            f"{shorten(text)} is {side} the {'smallest' if value < least else 'largest'} "
            f"value {format_value(bound, parameter.kind)}"
        )
    return value


@dataclass(frozen=True, slots=True)
class ValueReader:
    """Reads located values; mistakes go to ``problems`` and come back as None or left out."""

    words: Vocabulary
    problems: Problems

    def one(self, parameter: Parameter, tree: Tree) -> Any:
        """The value, or None after a mistake."""
        if not isinstance(tree, Scalar):
            self.problems.add(tree.spot, f"{parameter.name}: {kind_of(tree)} where one value goes")
            return None
        if tree.null:
            self.problems.add(tree.spot, f"{parameter.name}: the value is missing")
            return None
        if tree.boolean and tree.text not in parameter.choices:
            self.problems.add(tree.spot, f"{parameter.name}: {_not_boolean(parameter, tree)}")
            return None
        try:
            return self.words.value(parameter, tree.text)
        except BadValue as error:
            self.problems.add(tree.spot, f"{parameter.name}: {error.message}")
            return None

    def several(self, parameter: Parameter, tree: Tree) -> tuple[Any, ...]:
        """The values of a list, or of one value standing for a list of one."""
        items = tree.items if isinstance(tree, Items) else (tree,)
        values = [(self.one(parameter, item), item.spot) for item in items]
        seen: dict[Any, None] = {}
        for value, spot in values:
            if value is not None and value in seen:
                shown = format_value(value, parameter.kind)
                self.problems.add(spot, f"{parameter.name}: {shown} stands in the list twice")
            elif value is not None:
                seen[value] = None
        if not items:
            self.problems.add(tree.spot, f"{parameter.name}: the list is empty")
        return tuple(seen)

    def known(self, name: str, spot: Spot, declared: Mapping[str, Parameter], what: str) -> bool:
        """Whether ``name`` is declared; a mistake if not."""
        if name in declared:
            return True
        if name in SPECIAL:
            self.problems.add(spot, f"{what} is a limit and has no {name}")
        elif name in PLAN_PARAMETERS:
            self.problems.add(spot, f"{what} has no parameter {name!r}; it belongs inside `plan`")
        elif declared:
            hint = closest(name[:60], declared)
            self.problems.add(spot, f"{what} has no parameter {shorten(name)}; {hint}")
        else:
            self.problems.add(spot, f"{what} has no parameter {shorten(name)}; it takes none")
        return False

    def keys(
        self, tree: Tree, allowed: Iterable[str], what: str, hints: Mapping[str, str] | None = None
    ) -> Keys | None:
        """``tree`` as a mapping with allowed keys only; unknown ones are mistakes. ``hints``
        says where keys belong that are often put here."""
        if not isinstance(tree, Keys):
            self.problems.add(tree.spot, f"{what} must be a mapping, not {kind_of(tree)}")
            return None
        known = list(allowed)
        for name, spot in tree.places.items():
            if name not in known:
                hint = (hints or {}).get(name) or closest(name[:60], known)
                self.problems.add(spot, f"{what} has no key {shorten(name)}; {hint}")
        return tree

    def items(self, tree: Tree, what: str) -> tuple[Tree, ...]:
        if not isinstance(tree, Items):
            self.problems.add(tree.spot, f"{what} must be a list, not {kind_of(tree)}")
            return ()
        return tree.items

    def text(self, tree: Tree, what: str) -> str | None:
        """A word or sentence; YAML's booleans are mistakes, and so is nothing."""
        if not isinstance(tree, Scalar) or tree.null or not tree.text.strip():
            self.problems.add(tree.spot, f"{what} must be text, not {kind_of(tree)}")
            return None
        if tree.boolean:
            self.problems.add(
                tree.spot, f"{what}: {tree.text!r} reads as a boolean in YAML; quote it or rename"
            )
            return None
        return tree.text


def _not_boolean(parameter: Parameter, scalar: Scalar) -> str:
    wanted = {
        "choice": "one of " + ", ".join(parameter.choices),
        "backend": "a backend's full name",
        "int": "a whole number",
        "size": "a size such as 32KiB",
        "time": "a time such as 50ms",
        "rate": "a rate such as 1000/s",
        "share": "a share such as 5%",
        "flush": "a flush policy such as group or 10ms",
    }[parameter.kind]
    return f"{scalar.text!r} reads as a boolean in YAML; write {wanted}"
