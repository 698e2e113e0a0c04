"""JSON from untrusted files, into dataclasses: bounded, strict, and with the place of a mistake.

The standard parser alone is not enough: it accepts NaN, Infinity and duplicate keys, reads 1e999
as infinity, and recurses once per level of nesting.
"""

from __future__ import annotations

import json
import re
import types
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from itertools import chain
from math import inf, isfinite
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_DEPTH = 50
# Anything but brackets, strings (closed or cut off by the end of the text) as a whole; then a
# bracket, a list without any inside, as most are, or the end. The quantifiers are possessive and
# every match begins where the last one ended: no input makes the scan go back, so it is linear.
_TOKEN = re.compile(
    r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?+)*+(\[[^"\[\]{}]*+\]|[\[\]{}]|\Z)', re.DOTALL
)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NO_MARK = bytes(set(range(256)) - set(b'"[]{}'))

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
    if _beyond(MAX_DEPTH - 1, _marks(text)) is None:
        return
    start = _beyond(MAX_DEPTH, text)
    if start is not None:
        line = text.count("\n", 0, start) + 1
        column = start - text.rfind("\n", 0, start)
        raise JsonProblem(f"nested deeper than {MAX_DEPTH} levels", place=f"{line}:{column}")


def _marks(text: str) -> str:
    """Brackets, and the quotes around those that are text: what little tells how deep a text is at
    most. Pairs with nothing between are left out, which hides one level or none."""
    plain = _ESCAPE.sub(b"", text.encode("utf-8", "surrogatepass"))
    return plain.translate(None, _NO_MARK).decode("ascii").replace('""', "").replace("[]", "")


def _beyond(most: int, text: str) -> int | None:
    """Where the first bracket stands that opens a level beyond ``most``."""
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[1]
        if token in ("]", "}"):
            depth -= 1
            continue
        if not token:
            break
        if depth >= most:
            return match.start(1)
        depth += len(token) == 1
    return None


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
    if not value.keys() <= known.keys():
        name = next(name for name in value if name not in known)
        raise JsonProblem("unknown field (a newer version's, or a slip)",
                          field=shape.key(name).path)  # fmt: skip
    arguments = {}
    for name, (declared, annotation, kept) in known.items():
        if name in value:
            entry = value[name]
            taken = type(entry) in kept
            arguments[name] = entry if taken else _convert(annotation, entry, shape.key(name))
        elif declared.default is MISSING and declared.default_factory is MISSING:
            raise JsonProblem("missing", field=shape.key(name).path)
    return cls(**arguments)


@cache
def _fields_of(cls: type[Any]) -> dict[str, tuple[Field[Any], Any, frozenset[type]]]:
    """Each with its annotation and the types whose values need no look."""
    hints = get_type_hints(cls)
    return {item.name: (item, hints[item.name], _kept(hints[item.name])) for item in fields(cls)}


def _kept(annotation: Any) -> frozenset[type]:
    origin, arguments = _parts(annotation)
    if origin is Union:
        return _kept(arguments[0]) | {types.NoneType}
    return frozenset({annotation} & {str, int, bool})


@cache
def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Looked up once per annotation: a result of 10,000 rows asks a million times. Of what may be
    None only what it else is."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return Union, tuple(one for one in arguments if one is not types.NoneType)
    return origin, arguments


def _convert(annotation: Any, value: Any, shape: Shape) -> Any:
    origin, arguments = _parts(annotation)
    if origin is Union:
        return None if value is None else _convert(arguments[0], value, shape)
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
    if item is float and (numbers := _numbers(value)) is not None:
        return numbers
    if item == list[float] and _are_floats(value):
        return value
    return [_convert(item, entry, shape.item(index)) for index, entry in enumerate(value)]


# The numbers are nearly all of a file, so what looks at each of them is C's: ``set``, ``map`` and
# ``sum``. A sum is finite only where all of its parts are; one that is not is looked into.


def _numbers(values: list[Any]) -> list[float] | None:
    """All of them as finite floats; None where one is none, to be told with its place."""
    kinds = set(map(type, values))
    if not kinds <= _NUMERIC:
        return None
    try:
        found = list(map(float, values)) if int in kinds else values
    except OverflowError:
        return None
    return found if isfinite(sum(found)) or all(map(isfinite, found)) else None


_NUMERIC = {int, float}


def _are_floats(lists: list[Any]) -> bool:
    """Whether these are lists of finite floats, and of nothing else."""
    if not set(map(type, lists)) <= {list}:
        return False
    flat = list(chain.from_iterable(lists))
    return set(map(type, flat)) <= {float} and isfinite(sum(flat))


def _dict(item: Any, value: Any, shape: Shape) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(shape, "an object", value)
    if item is Any:
        _finite_inside(value, shape)
        return value
    if item is float and (numbers := _numbers(list(value.values()))) is not None:
        return dict(zip(value, numbers, strict=True))
    if item == list[float] and set(map(type, value.values())) <= {list}:
        lists = {name: _numbers(entry) for name, entry in value.items()}
        if None not in lists.values():
            return lists
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
        number = inf
    if not isfinite(number):
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
