"""The JSON Schema of scenario files, generated from the same declarations the loader reads, so
that an editor can complete and check them. It accepts every file the loader accepts; what needs
more than one place at once (a row that exists, a name used twice) only the loader checks.
"""

from __future__ import annotations

from typing import Any

from bench_cli.catalogue import CORES, Catalogue
from bench_cli.cells import RATE, format_value
from bench_cli.flushing import FLUSH_PATTERN
from bench_cli.interfaces import Parameter, Workload
from bench_cli.metrics import METRICS
from bench_cli.requirements import RELATIONS
from bench_cli.scenario_files import MATRIX_EXTRAS
from bench_cli.scenario_values import NONE, PLAN_PARAMETERS
from bench_cli.units import PER_SECOND, SIZES, TIMES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "Scenarios of bench_cli"
_NUMBER = r"[0-9][0-9_,]*(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_CODE = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"

Schema = dict[str, Any]


def json_schema(catalogue: Catalogue) -> Schema:
    """The schema as a JSON object. Each workload brings its own parameters."""
    return {
        "$schema": DIALECT,
        "title": TITLE,
        "type": "object",
        "additionalProperties": False,
        "required": ["scenarios"],
        "properties": {
            "defaults": _defaults(catalogue),
            "scenarios": {
                "type": "array",
                "minItems": 1,
                "items": _scenario(catalogue),
            },
        },
    }


def _defaults(catalogue: Catalogue) -> Schema:
    return _object(
        {
            "workload": _workload(catalogue),
            "params": {"type": "object"},
            "matrix": {"type": "object"},
            "plan": _plan(),
        }
    )


def _scenario(catalogue: Catalogue) -> Schema:
    own = _object(
        {
            "name": {"type": "string", "pattern": _NAME},
            "description": {"type": "string", "minLength": 1},
            "workload": _workload(catalogue),
            "params": {"type": "object"},
            "matrix": {"type": "object"},
            "plan": _plan(),
            "requirements": {"type": "array", "items": _requirement()},
            "extends": {"type": "string", "minLength": 1},
        }
    )
    own["required"] = ["name"]
    own["allOf"] = [_of_workload(workload, catalogue) for workload in _sorted(catalogue)]
    return own


def _sorted(catalogue: Catalogue) -> list[Workload]:
    return [catalogue.workloads[name] for name in sorted(catalogue.workloads)]


def _object(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _workload(catalogue: Catalogue) -> Schema:
    return {"enum": sorted(catalogue.workloads)}


def _of_workload(workload: Workload, catalogue: Catalogue) -> Schema:
    """What a scenario that names this workload may say; one that inherits it is checked by the
    loader alone."""
    values = {parameter.name: _value(parameter, catalogue) for parameter in workload.parameters}
    if workload.engine is not None:
        values["backend"] = _backends((workload.engine,), catalogue)
        values["core"] = {"enum": list(CORES)}
    points = {**values, RATE: _value(PLAN_PARAMETERS[RATE], catalogue)}
    several = {name: _one_or_more(value) for name, value in points.items()}
    axes = {name: _list(value) for name, value in points.items()}
    extras = {name: {"type": "array", "items": _object(several)} for name in MATRIX_EXTRAS}
    requirement = {"properties": {"where": _object(several)}}
    return {
        "if": {"properties": {"workload": {"const": workload.name}}, "required": ["workload"]},
        "then": {
            "properties": {
                "params": _object(values),
                "matrix": _object({**axes, **extras}),
                "requirements": {"items": requirement},
            }
        },
    }


def _list(value: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": value}


def _one_or_more(value: Schema) -> Schema:
    return {"anyOf": [value, _list(value)]}


def _value(parameter: Parameter, catalogue: Catalogue) -> Schema:
    """One value as it may be written, with what it means and its default."""
    shown = parameter.default
    if shown is not None:
        shown = format_value(shown, parameter.kind)
    described = {"description": f"{parameter.help} (default {shown})"}
    match parameter.kind:
        case "backend":
            engines = tuple(name for name in parameter.choices if name != NONE)
            none = [NONE] if NONE in (*parameter.choices, parameter.default) else []
            return {**described, **_backends(engines, catalogue, none)}
        case "choice":
            return {**described, "enum": _words(parameter.choices)}
        case "share":
            return {**described, **_share(parameter)}
        case "flush":
            return {**described, "type": "string", "pattern": FLUSH_PATTERN}
        case "rate":
            return {**described, **_quantity(parameter, PER_SECOND, plain=False)}
        case "size":
            return {**described, **_quantity(parameter, SIZES, plain=True)}
        case "time":
            return {**described, **_quantity(parameter, TIMES, plain=False)}
        case _:
            return {**described, **_quantity(parameter, {}, plain=True)}


def _words(choices: tuple[str, ...]) -> list[str | bool]:
    """YAML reads true and false as such where a file does not quote them."""
    booleans = [word == "true" for word in choices if word in ("true", "false")]
    return [*choices, *booleans]


def _backends(
    engines: tuple[str, ...], catalogue: Catalogue, more: list[str] | None = None
) -> Schema:
    known = [name for engine in engines for name in catalogue.backends_of(engine)]
    return {"anyOf": [{"enum": [*known, *(more or [])]}, {"type": "string", "pattern": _CODE}]}


def _quantity(parameter: Parameter, units: dict[str, int], *, plain: bool) -> Schema:
    """A number (bare, or as text with a unit). Bounds can be given for bare numbers only."""
    names = "|".join(sorted(units, key=len, reverse=True))
    suffix = f"\\s*({names}){'?' if plain else ''}" if names else ""
    zero = "|0" if not plain else ""
    bare: Schema = {"type": "integer", "minimum": parameter.minimum or 0}
    if parameter.maximum is not None:
        bare["maximum"] = parameter.maximum
    if not plain:
        bare = {"const": 0}
    pattern = rf"^({_NUMBER}{suffix}{zero})$"
    return {"anyOf": [bare, {"type": "string", "pattern": pattern}]}


def _share(parameter: Parameter) -> Schema:
    """A fraction, or a percentage as text."""
    bare: Schema = {"type": "number", "minimum": 0, "maximum": parameter.maximum}
    return {"anyOf": [bare, {"type": "string", "pattern": rf"^({_NUMBER}\s*%?)$"}]}


def _plan() -> Schema:
    nothing = Catalogue({}, {}, "python")
    return _object({name: _value(p, nothing) for name, p in PLAN_PARAMETERS.items()})


def _requirement() -> Schema:
    bound = {"anyOf": [{"type": "number"}, {"type": "string", "minLength": 1, "maxLength": 2000}]}
    own = _object(
        {
            "metric": {"enum": sorted(METRICS)},
            "where": {"type": "object"},
            **dict.fromkeys(RELATIONS, bound),
        }
    )
    own["required"] = ["metric"]
    own["oneOf"] = [{"required": [relation]} for relation in RELATIONS]
    return own
