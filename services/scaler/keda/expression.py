"""The nodes of a compiled expression, and their evaluation for the triggers' values. Pure.

An expression is a tree of nodes. Numbers behave as in Go: a division by zero gives an infinity or NaN, `%` has the sign
of its left side, and `round` rounds halves away from zero.

Source: expr-lang's `builtin/lib.go`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shared.runtime.errors import TidegateError

# A trigger past the failure threshold of fallback behaviour `scalingModifiers` is None, for `??`.
Values = Mapping[str, float | None]

INT, FLOAT, BOOL, LIST = "int", "float", "bool", "list"


class FormulaError(TidegateError):
    """A formula that fails to compile or to evaluate. The message names the part."""


class Node(msgspec.Struct, frozen=True):
    """A node of a formula. `type`: INT, FLOAT, BOOL or LIST (of numbers)."""

    type: str

    def of(self, values: Values) -> Any:
        """Evaluate the node for these values; each kind of node overrides this."""
        raise FormulaError(f"a part of type {self.type} gives nothing by itself")


class Constant(Node, frozen=True):
    value: float

    def of(self, values: Values) -> Any:
        return self.value


class TriggerValue(Node, frozen=True):
    name: str

    def of(self, values: Values) -> Any:
        return values[self.name]


class Operation(Node, frozen=True):
    name: str
    operands: tuple[Node, ...]

    def of(self, values: Values) -> Any:
        return _OPERATIONS[self.name](*[node.of(values) for node in self.operands])


class Either(Node, frozen=True):
    """`and`, `or`: evaluate the right side only if the left is not `settled`."""

    settled: bool
    left: Node
    right: Node

    def of(self, values: Values) -> Any:
        left = self.left.of(values)
        return left if left == self.settled else self.right.of(values)


class Coalesce(Node, frozen=True):
    left: Node
    right: Node

    def of(self, values: Values) -> Any:
        left = self.left.of(values)
        return self.right.of(values) if left is None else left


class Choice(Node, frozen=True):
    condition: Node
    yes: Node
    no: Node

    def of(self, values: Values) -> Any:
        return (self.yes if self.condition.of(values) else self.no).of(values)


class CountTest(Node, frozen=True):
    """A test of how many items of a list pass a predicate; `name` is the kind of test."""

    name: str
    items: Node
    predicate: Node

    def of(self, values: Values) -> Any:
        items = self.items.of(values)
        return TESTS[self.name](sum(self.predicate.of({**values, "#": item}) for item in items), len(items))


def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    # In IEEE 754, and in Go, 0/0 is not a number.
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 else math.inf
    except ValueError:
        return math.inf if a == 0 else math.nan


def _remainder(a: int, b: int) -> int:
    """Return the remainder with the sign of `a`, as in Go. Raises ZeroDivisionError."""
    return abs(a) % abs(b) * (1 if a >= 0 else -1)


def _round(a: float) -> float:
    """Round halves away from zero, as in Go."""
    whole = math.trunc(a) if math.isfinite(a) else a
    return float(whole + math.copysign(1, a) if abs(a - whole) >= 0.5 else whole)


def _flat(arguments: tuple[Any, ...]) -> list[float]:
    return [n for a in arguments for n in (_flat(tuple(a)) if isinstance(a, list) else [a])]


def _mean(*arguments: Any) -> float:
    numbers = _flat(arguments)
    return sum(numbers) / len(numbers) if numbers else 0.0


_ROUNDINGS: dict[str, Callable[..., Any]] = {
    "ceil": lambda a: float(math.ceil(a)) if math.isfinite(a) else a,
    "floor": lambda a: float(math.floor(a)) if math.isfinite(a) else a,
    "round": _round,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_ROUNDINGS,
    "abs": abs,
    "int": int,
    "float": float,
    "max": lambda *a: max(_flat(a)),
    "min": lambda *a: min(_flat(a)),
    "sum": lambda a: sum(_flat((a,))),
    "mean": _mean,
}
TESTS: dict[str, Callable[[int, int], Any]] = {
    "any": lambda passed, _: passed > 0,
    "all": lambda passed, count: passed == count,
    "none": lambda passed, _: passed == 0,
    "count": lambda passed, _: passed,
}
FUNCTIONS = (*_FUNCTIONS, *TESTS)

_OPERATIONS: dict[str, Callable[..., Any]] = {
    **_FUNCTIONS,
    "list": lambda *items: list(items),
    "unary -": operator.neg,
    "unary +": operator.pos,
    "not": operator.not_,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _remainder,
    "**": _power,
    "^": _power,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
