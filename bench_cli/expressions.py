"""The grammar of bounds: what a requirement compares a metric with.

    bound      = quantity | number ("%" | "x") "of" expression
    expression = [number "x"] term
    term       = row | quantity | ("sum" | "max" | "min") "(" expression {"," expression} ")"
    row        = workload ["[" key "=" value {"," key "=" value} "]"]
    quantity   = number [unit]

``3 GB/s``, ``1.3x of sum(limits.memcpy[size=32KiB], 4x limits.call)``. A workload's ceiling is
an ``expression`` over limit rows, in nanoseconds per operation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from bench_cli.cells import BadReference, Reference, parse_reference
from bench_cli.errors import UsageError
from bench_cli.metrics import Unit
from bench_cli.units import UnitError, parse_quantity, shorten, split_quantity

MAX_LENGTH = 2000
MAX_DEPTH = 10
MAX_ROWS = 50
_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
_RATES = (Unit.BYTES_PER_SECOND, Unit.PER_SECOND)

ReadRow = Callable[[str], Reference]
Lookup = Callable[[Reference], float]


class ExpressionError(UsageError):
    """A bound that cannot be read. ``column`` counts from 1 in the text."""

    slug = "requirement"

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclass(frozen=True, slots=True)
class Number:
    """A value in the metric's base unit."""

    value: float


@dataclass(frozen=True, slots=True)
class RowValue:
    """The same metric of another row."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class Scaled:
    factor: float
    inner: Expression


@dataclass(frozen=True, slots=True)
class Call:
    function: str  # "sum" | "max" | "min"
    arguments: tuple[Expression, ...]


Expression = Number | RowValue | Scaled | Call


@dataclass(frozen=True, slots=True)
class Bound:
    """``factor`` times ``expression``; ``text`` as it was written."""

    text: str
    factor: float
    expression: Expression


def evaluate(expression: Expression, lookup: Lookup) -> float:
    """The value in the metric's base unit; ``lookup`` gives that of a row."""
    match expression:
        case Number(value):
            return value
        case RowValue(reference):
            return lookup(reference)
        case Scaled(factor, inner):
            return factor * evaluate(inner, lookup)
        case Call(function, arguments):
            return _FUNCTIONS[function]([evaluate(item, lookup) for item in arguments])


def references(expression: Expression) -> tuple[Reference, ...]:
    """The rows an expression speaks of, each once, in order."""
    match expression:
        case Number():
            return ()
        case RowValue(reference):
            return (reference,)
        case Scaled(_, inner):
            return references(inner)
        case Call(_, arguments):
            return tuple(dict.fromkeys(r for item in arguments for r in references(item)))


# --- reading ---------------------------------------------------------------------------------

_ROW = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+(?:\s*\[[^\[\]]*\]?)?"
_TOKEN = re.compile(
    rf"\s*(?:(?P<row>{_ROW})|(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>[A-Za-zµμ/]+|%)|(?P<mark>[(),])|(?P<other>\S))"
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1)
    tokens = []
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        tokens.append(_Token(kind, found[kind], found.start(kind) + 1))
    tokens.append(_Token("end", "", len(text) + 1))
    return tokens


@dataclass(slots=True)
class _Parser:
    tokens: list[_Token]
    unit: Unit
    read_row: ReadRow
    position: int = 0
    rows: int = field(default=0)

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.next
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def fail(self, token: _Token, expected: str) -> ExpressionError:
        found = shorten(token.text) if token.kind != "end" else "the end"
        return ExpressionError(f"{found} where {expected} is expected", token.column)

    def expect(self, text: str) -> None:
        token = self.take()
        if token.text != text:
            raise self.fail(token, repr(text))

    def factor(self) -> tuple[float, str]:
        """A number and the ``x`` or ``%`` behind it."""
        token = self.take()
        if token.kind != "number":
            raise self.fail(token, "a number with % or x")
        mark = self.take()
        if mark.text not in ("x", "%"):
            raise self.fail(mark, "% or x")
        return self.number(token), mark.text

    def number(self, token: _Token) -> float:
        try:
            return float(split_quantity(token.text)[0])
        except UnitError as error:
            raise ExpressionError(error.message, token.column) from None

    def expression(self, depth: int = 1) -> Expression:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels", self.next.column)
        if self.next.kind == "number":
            return self.scaled_or_quantity(depth)
        return self.term(depth)

    def scaled_or_quantity(self, depth: int) -> Expression:
        number = self.take()
        if self.next.text == "x":
            self.take()
            return Scaled(self.number(number), self.term(depth))
        unit = self.take().text if self.next.kind == "word" else ""
        try:
            return Number(parse_quantity(number.text + unit, self.unit))
        except UnitError as error:
            raise ExpressionError(error.message, number.column) from None

    def term(self, depth: int) -> Expression:
        token = self.take()
        if token.kind == "row":
            return self.row(token)
        if token.text in _FUNCTIONS:
            return self.call(token, depth)
        raise self.fail(token, "a row, a number, sum(...), max(...) or min(...)")

    def row(self, token: _Token) -> Expression:
        self.rows += 1
        if self.rows > MAX_ROWS:
            raise ExpressionError(f"more than {MAX_ROWS} rows", token.column)
        try:
            return RowValue(self.read_row(token.text))
        except BadReference as error:
            raise ExpressionError(error.message, token.column) from None

    def call(self, token: _Token, depth: int) -> Expression:
        if token.text == "sum" and self.unit in _RATES:
            raise ExpressionError(
                "a sum of rates means nothing; state the requirement in ns_per_op", token.column
            )
        self.expect("(")
        arguments = [self.expression(depth + 1)]
        while self.next.text == ",":
            self.take()
            arguments.append(self.expression(depth + 1))
        self.expect(")")
        return Call(token.text, tuple(arguments))

    def end(self) -> None:
        if self.next.kind != "end":
            raise self.fail(self.next, "the end")


def parse_expression(
    text: str, unit: Unit = Unit.NANOSECONDS, read_row: ReadRow = parse_reference
) -> Expression:
    """Read an expression; ``unit`` is that of the numbers in it. Raises ExpressionError."""
    parser = _Parser(_tokens(text), unit, read_row)
    expression = parser.expression()
    parser.end()
    return expression


def parse_bound(text: str, unit: Unit, read_row: ReadRow = parse_reference) -> Bound:
    """Read a bound for a metric in ``unit``. Raises ExpressionError."""
    tokens = _tokens(text)
    if not any(token.text == "of" for token in tokens):
        return Bound(text, 1.0, Number(_quantity(text, unit, tokens)))
    parser = _Parser(tokens, unit, read_row)
    factor, mark = parser.factor()
    parser.expect("of")
    expression = parser.expression()
    parser.end()
    return Bound(text, factor / 100 if mark == "%" else factor, expression)


def _quantity(text: str, unit: Unit, tokens: list[_Token]) -> float:
    for token in tokens:
        if token.kind == "row" or token.text in _FUNCTIONS:
            raise ExpressionError(
                "a bound over rows is `NUMBER (% or x) of ...`, as in `1x of "
                f"{token.text[:60]}`", token.column,
            )  # fmt: skip
    try:
        return parse_quantity(text, unit)
    except UnitError as error:
        raise ExpressionError(error.message, tokens[0].column) from None
