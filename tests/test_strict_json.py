"""Text that nests: the bound is exact and tells its place, whatever stands in strings."""

from __future__ import annotations

import pytest

from bench_cli.strict_json import MAX_DEPTH, JsonProblem, parse

CORES = ["1", "[]", "{}", '""', '["",[]]', '"[[[{{"', '"\\"[["', '"\\\\"', '"é\\n["', '{"[":[]}']


def levels(text: str) -> int:
    """Of one of ``CORES``."""
    return {"1": 0, '"': 0, "[": 1, "{": 1}[text[0]] + (text in ('["",[]]', '{"[":[]}'))


def nested(core: str, depth: int) -> str:
    """``core`` so deep in lists and objects that it reaches down to level ``depth``."""
    around = depth - levels(core)
    opened = ["[" if n % 3 else '{"a\\"":' for n in range(around)]
    closed = ["]" if n % 3 else "}" for n in reversed(range(around))]
    return "".join(opened) + core + "".join(closed)


@pytest.mark.parametrize("core", CORES)
def test_the_bound_on_nesting_is_exact_whatever_is_inside(core: str) -> None:
    parse(nested(core, MAX_DEPTH))
    with pytest.raises(JsonProblem, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse(nested(core, MAX_DEPTH + 1))


def test_the_place_of_what_is_too_deep_is_told() -> None:
    with pytest.raises(JsonProblem) as caught:
        parse('{"a": "[",\n "b": ' + "[" * MAX_DEPTH)
    assert caught.value.place == f"2:{7 + MAX_DEPTH - 1}"


def test_a_text_with_a_backslash_out_of_place_is_not_json() -> None:
    with pytest.raises(JsonProblem, match="not JSON"):
        parse('\\"' + "[" * 100)
