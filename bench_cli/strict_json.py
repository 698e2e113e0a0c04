"""JSON from untrusted files, into dataclasses: bounded, strict, and with the place of a mistake.

The standard parser alone is not enough: it accepts NaN, Infinity and duplicate keys, reads 1e999
as infinity, and recurses once per level of nesting.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Collection
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_DEPTH = 50
# Anything but brackets, strings (closed or cut off by the end of the text) as a whole; then a
# bracket, a list without any inside, as most are, or the end. The quantifiers are possessive and
# every match begins where the last one ended: no input makes the scan go back, so it is linear.
_TOKEN = re.compile(
    r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?+)*+(\[[^"\[\]{}]*+\]|[\[\]{}]|\Z)', re.DOTALL
)

T = TypeVar("T")


class JsonProblem(Exception):
    """What is wrong. ``place`` is ``line:column`` where the text itself is wrong."""

    def __init__(
        self, message: str, *, place: str = "", field: str = "", remedy: str | None = None
    ) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.place = place
        self.remedy = remedy


class Shape:
    """Where in the document a value stands, for messages: ``results[3].metrics``. The text is put
    together only when there is something to say: a large result asks for a million places."""

    __slots__ = ("_parent", "_step")

    def __init__(self, step: str | int, parent: Shape | None = None) -> None:
        self._step = step
        self._parent = parent

    def item(self, index: int) -> Shape:
        return Shape(index, self)

    def key(self, name: str) -> Shape:
        return Shape(name, self)

    @property
    def path(self) -> str:
        if self._parent is None:
            return str(self._step)
        step = f"[{self._step}]" if isinstance(self._step, int) else f".{self._step:.60}"
        return self._parent.path + step


# --- text to plain values --------------------------------------------------------------------


def parse(text: str) -> Any:
    """Dicts, lists, strings, finite numbers, booleans, None. Raises JsonProblem."""
    _check_depth(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        what = "the file ends too early (truncated?)" if cut else f"not JSON: {error.msg}"
        raise JsonProblem(what, place=f"{error.lineno}:{error.colno}") from None
    except ValueError as error:  # a number of more digits than the interpreter converts
        raise JsonProblem(f"not JSON: {error}") from None


def _check_depth(text: str) -> None:
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[1]
        if token in ("]", "}"):
            depth -= 1
            continue
        if not token:
            break
        if depth >= MAX_DEPTH:
            start = match.start(1)
            line = text.count("\n", 0, start) + 1
            column = start - text.rfind("\n", 0, start)
            raise JsonProblem(f"nested deeper than {MAX_DEPTH} levels", place=f"{line}:{column}")
        depth += len(token) == 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonProblem(f"the key {twice!r:.60} is there twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise JsonProblem(f"{name} is not a JSON number")


# --- plain values to dataclasses -------------------------------------------------------------


def build(cls: type[T], value: Any, shape: Shape) -> T:
    """An instance of the dataclass ``cls``, every field checked against its annotation, missing
    fields at their default. Raises JsonProblem for unknown, missing or mistyped fields."""
    if not isinstance(value, dict):
        raise _wrong(shape, "an object", value)
    known = _fields_of(cls)  # type: ignore[arg-type]  # classes are hashable
    for name in value:
        if name not in known:
            raise JsonProblem("unknown field (a newer version's, or a slip)",
                              field=shape.key(name).path)  # fmt: skip
    arguments = {}
    for name, (declared, annotation) in known.items():
        if name in value:
            arguments[name] = _convert(annotation, value[name], shape.key(name))
        elif declared.default is MISSING and declared.default_factory is MISSING:
            raise JsonProblem("missing", field=shape.key(name).path)
    return cls(**arguments)


@cache
def _fields_of(cls: type[Any]) -> dict[str, tuple[Field[Any], Any]]:
    hints = get_type_hints(cls)
    return {item.name: (item, hints[item.name]) for item in fields(cls)}


@cache
def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Looked up once per annotation: a result of 10,000 rows asks a million times."""
    return get_origin(annotation), get_args(annotation)


def _convert(annotation: Any, value: Any, shape: Shape) -> Any:
    if type(value) is annotation and annotation is not float:
        return value
    origin, arguments = _parts(annotation)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        inner = next(arg for arg in arguments if arg is not types.NoneType)
        return _convert(inner, value, shape)
    if origin is list:
        return _list(arguments[0], value, shape)
    if origin is dict:
        return _dict(arguments[1], value, shape)
    if is_dataclass(annotation):
        return build(annotation, value, shape)  # type: ignore[arg-type]  # a class, not an instance
    return _scalar(annotation, value, shape)


def _list(item: Any, value: Any, shape: Shape) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(shape, "a list", value)
    numbers = _numbers(value) if item is float else None
    if numbers is not None:
        return numbers
    return [_convert(item, entry, shape.item(index)) for index, entry in enumerate(value)]


def _numbers(values: Collection[Any]) -> list[float] | None:
    """All of them as finite floats; None where one is none, to be told with its place. The loops
    are C's, because they see every number of the file."""
    kinds = set(map(type, values))
    if not kinds <= _NUMERIC:
        return None
    try:
        found = list(map(float, values)) if int in kinds else list(values)
    except OverflowError:
        return None
    return found if all(map(math.isfinite, found)) else None


_NUMERIC = {int, float}


def _dict(item: Any, value: Any, shape: Shape) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(shape, "an object", value)
    numbers = _numbers(value.values()) if item is float else None
    if numbers is not None:
        return dict(zip(value, numbers, strict=True))
    return {name: _convert(item, entry, shape.key(name)) for name, entry in value.items()}


def _scalar(annotation: Any, value: Any, shape: Shape) -> Any:
    if annotation is Any:
        return _finite_inside(value, shape)
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value, shape)
    if annotation is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if annotation in (str, bool) and isinstance(value, annotation):
        return value
    raise _wrong(shape, _NAMES[annotation], value)


_NAMES: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    str: "a string",
    bool: "true or false",
}


def _finite(value: int | float, shape: Shape) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise JsonProblem("the number is too large", field=shape.path)
    return number


def _finite_inside(value: Any, shape: Shape) -> Any:
    """A value of any shape, checked to hold finite numbers only. Nesting is bounded by now."""
    if isinstance(value, float):
        _finite(value, shape)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _finite_inside(entry, shape.item(index))
    elif isinstance(value, dict):
        for name, entry in value.items():
            if type(entry) is not str:  # as most are
                _finite_inside(entry, shape.key(name))
    return value


def _wrong(shape: Shape, wanted: str, value: Any) -> JsonProblem:
    shown = "null" if value is None else json.dumps(value, default=str)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return JsonProblem(f"{shown} is not {wanted}", field=shape.path)


def dumps(value: Any) -> str:
    """JSON on one line, in ASCII (names from the file system may hold lone surrogates, which have
    no UTF-8 form). Raises ValueError for NaN and infinities, TypeError for foreign types."""
    return json.dumps(value, allow_nan=False)
