"""The formula of a ScaledObject's `scalingModifiers`: one number out of the metrics of its triggers.

    formula = compile_formula("max([backlog, 2 * urgent]) / (gpu > 0 ? 4 : 1)", ["backlog", "urgent", "gpu"])
    formula.evaluate({"backlog": 30.0, "urgent": 1.0, "gpu": 0.0})      # 30.0

KEDA evaluates these by expr-lang. What is taken of that language: numbers, names of triggers, `+ - * / % ** ^`,
comparisons (chained ones too), `&& || ! and or not`, `?:`, `??`, parentheses, lists, and the functions of FUNCTIONS;
`any`, `all`, `none`, `count` with a predicate such as `{# > 1}`. Types are checked as there, so that a formula that
KEDA refuses is refused here.

Sources: expr-lang's `parser/parser.go`, `parser/operator/operator.go`, `checker/checker.go`, `builtin/lib.go`;
KEDA's `apis/keda/v1alpha1/scaledobject_webhook.go`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from shared.runtime.errors import TidegateError

# A trigger past the threshold of fallback behaviour `scalingModifiers` is None, for `??`.
Values = Mapping[str, float | None]

INT, FLOAT, BOOL, LIST = "int", "float", "bool", "list"

_TOKENS = re.compile(
    r"\s*(?:(?P<number>\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)"
    r"|(?P<name>[A-Za-z_$][\w$]*)"
    r"|(?P<mark>\*\*|\?\?|\?\.|\.\.|&&|\|\||==|!=|<=|>=|\S))"
)


class FormulaError(TidegateError):
    """A formula that can't be compiled, or a run of one that fails. The message names the part."""


class _Node(msgspec.Struct, frozen=True):
    """A part of a formula. `type` is what it gives: INT, FLOAT, BOOL or LIST (of numbers)."""

    type: str

    def of(self, values: Values) -> Any:
        """What it gives for these values; each kind of part has its own."""
        raise FormulaError(f"a part of type {self.type} gives nothing by itself")


class _Constant(_Node, frozen=True):
    value: float

    def of(self, values: Values) -> Any:
        return self.value


class _Trigger(_Node, frozen=True):
    name: str

    def of(self, values: Values) -> Any:
        return values[self.name]


class _Operation(_Node, frozen=True):
    name: str
    operands: tuple[_Node, ...]

    def of(self, values: Values) -> Any:
        return _OPERATIONS[self.name](*[node.of(values) for node in self.operands])


class _Either(_Node, frozen=True):
    """`and`, `or`: the right side counts, and is run, only where the left is not `settled`."""

    settled: bool
    left: _Node
    right: _Node

    def of(self, values: Values) -> Any:
        left = self.left.of(values)
        return left if left == self.settled else self.right.of(values)


class _Coalesce(_Node, frozen=True):
    left: _Node
    right: _Node

    def of(self, values: Values) -> Any:
        left = self.left.of(values)
        return self.right.of(values) if left is None else left


class _Choice(_Node, frozen=True):
    condition: _Node
    yes: _Node
    no: _Node

    def of(self, values: Values) -> Any:
        return (self.yes if self.condition.of(values) else self.no).of(values)


class _List(_Node, frozen=True):
    items: tuple[_Node, ...]

    def of(self, values: Values) -> Any:
        return [node.of(values) for node in self.items]


class _Test(_Node, frozen=True):
    """How many items of a list pass a predicate, as `name` puts the question."""

    name: str
    items: _Node
    predicate: _Node

    def of(self, values: Values) -> Any:
        items = self.items.of(values)
        return _TESTS[self.name](sum(self.predicate.of({**values, "#": item}) for item in items), len(items))


class Formula(msgspec.Struct, frozen=True):
    """A compiled formula. `names`: the triggers that it may use."""

    text: str
    names: tuple[str, ...]
    root: _Node

    def evaluate(self, values: Values) -> float | None:
        """The number, given one for each name; None where a `??` finds none. Raises FormulaError.

        A division by zero is not an error, and gives an infinity or NaN.
        """
        try:
            result = self.root.of(values)
            return None if result is None else float(result)
        except (ArithmeticError, TypeError, ValueError) as e:
            raise FormulaError(f"the formula can't be computed: {e}") from e


def compile_formula(text: str, names: Collection[str]) -> Formula:
    """Raises FormulaError that names what is wrong, or what of expr-lang is not supported here."""
    root = _Parser(text, names).parse()
    if root.type not in (INT, FLOAT):
        raise FormulaError(f"gives a {root.type}, and a number is asked for: make one of it, such as by ? 1 : 0")
    # KEDA wraps a formula in float(), unless it begins with that, and takes nothing but a float.
    if text.startswith("float(") and "??" not in text and root.type == INT:
        raise FormulaError("begins with float( and gives an int, which KEDA refuses: put float() around all of it")
    formula = Formula(text, tuple(names), root)
    try:
        formula.evaluate(dict.fromkeys(names, -1.0))
    except FormulaError as e:
        raise FormulaError(f"fails with every trigger at -1, as KEDA tries it: {e.__cause__}; make it hold") from e
    return formula


class _Parser:
    """Precedence climbing over the tokens, as expr-lang does it; every rule returns a checked node."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._names = names
        self._tokens = [(str(m.lastgroup), m[str(m.lastgroup)]) for m in _TOKENS.finditer(text)]
        self._at = 0
        self._in_predicate = False

    def parse(self) -> _Node:
        node = self._expression()
        if self._mark:
            raise _unsupported(self._mark)
        return node

    @property
    def _mark(self) -> str:
        """The token to come; empty at the end."""
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise FormulaError("ends too early: complete it")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, mark: str) -> None:
        found = self._mark
        if found != mark:
            raise FormulaError(f"has {found or 'its end'!r} where {mark!r} is due")
        self._at += 1

    def _expression(self) -> _Node:
        node = self._binary(0)
        while self._mark == "?":
            self._take()
            _ask(node, BOOL, "the condition of ?")
            yes = self._expression()
            self._expect(":")
            no = self._expression()
            node = _Choice(_common(yes, no, "?:"), node, yes, no)
        return node

    def _binary(self, lowest: int) -> _Node:
        left = self._unary()
        before = ""
        while (mark := self._mark) in _PRECEDENCE and (level := _PRECEDENCE[mark]) >= lowest:
            if before == "??" and mark != "??":
                raise FormulaError(f"mixes ?? with {mark}: put parentheses around one of them")
            self._take()
            if mark in _COMPARISONS:
                left = self._comparison(left, mark)
            else:
                right = self._binary(level if mark in ("**", "^") else level + 1)
                left = _pair(mark, left, right)
            before = mark
        return left

    def _comparison(self, left: _Node, mark: str) -> _Node:
        """`a < b < c` is `a < b && b < c`."""
        right = self._binary(_PRECEDENCE[mark] + 1)
        node = _pair(mark, left, right)
        while self._mark in _COMPARISONS:
            _, mark = self._take()
            left, right = right, self._binary(_PRECEDENCE[mark] + 1)
            node = _pair("&&", node, _pair(mark, left, right))
        return node

    def _unary(self) -> _Node:
        if self._mark in ("-", "+"):
            _, mark = self._take()
            node = self._binary(90)
            _ask_number(node, mark)
            return _Operation(node.type, f"unary {mark}", (node,))
        if self._mark in ("!", "not"):
            _, mark = self._take()
            node = self._binary(50)
            _ask(node, BOOL, mark)
            return _Operation(BOOL, "not", (node,))
        return self._primary()

    def _primary(self) -> _Node:
        kind, word = self._take()
        if kind == "number":
            return _number(word)
        if word == "(":
            node = self._expression()
            self._expect(")")
            return node
        if word == "[":
            items = self._items("]")
            for item in items:
                _ask_number(item, "a list")
            return _List(LIST, items)
        if word == "#" and self._in_predicate:
            return _Trigger(FLOAT, "#")
        if kind != "name" or word in _WORDS:
            raise _unsupported(word)
        if self._mark == "(":
            return self._call(word)
        if word in ("true", "false"):
            return _Constant(BOOL, word == "true")
        if word not in self._names:
            raise FormulaError(f"uses {word}, which is no trigger's name: name a trigger so, or correct it")
        return _Trigger(FLOAT, word)

    def _items(self, end: str) -> tuple[_Node, ...]:
        """Expressions between commas, up to and with `end`."""
        items = []
        while self._mark != end:
            items.append(self._expression())
            if self._mark != end:
                self._expect(",")
        self._take()
        return tuple(items)

    def _call(self, name: str) -> _Node:
        if name not in FUNCTIONS:
            raise FormulaError(f"calls {name}(), which is not supported here: take one of {', '.join(FUNCTIONS)}")
        self._take()
        return self._test(name) if name in _TESTS else _call(name, self._items(")"))

    def _test(self, name: str) -> _Node:
        items = self._expression()
        _ask(items, LIST, f"{name}()")
        self._expect(",")
        braces = self._mark == "{"
        if braces:
            self._take()
        outside, self._in_predicate = self._in_predicate, True
        predicate = self._expression()
        self._in_predicate = outside
        _ask(predicate, BOOL, f"the predicate of {name}()")
        if braces:
            self._expect("}")
        self._expect(")")
        return _Test(INT if name == "count" else BOOL, name, items, predicate)


def _pair(mark: str, left: _Node, right: _Node) -> _Node:
    if mark in ("&&", "and", "||", "or"):
        _ask(left, BOOL, mark)
        _ask(right, BOOL, mark)
        return _Either(BOOL, mark in ("||", "or"), left, right)
    if mark == "??":
        return _Coalesce(_common(left, right, mark), left, right)
    if mark in ("==", "!=") and left.type == right.type == BOOL:
        return _Operation(BOOL, mark, (left, right))
    _ask_number(left, mark)
    _ask_number(right, mark)
    if mark == "%" and FLOAT in (left.type, right.type):
        raise FormulaError("uses % on a float, and every metric is one: KEDA takes % of ints alone, so use int()")
    if mark in _COMPARISONS or mark in ("==", "!="):
        kind = BOOL
    elif mark in ("/", "**", "^"):
        kind = FLOAT
    else:
        kind = INT if left.type == right.type == INT else FLOAT
    return _Operation(kind, mark, (left, right))


def _call(name: str, arguments: tuple[_Node, ...]) -> _Node:
    if not arguments or (len(arguments) > 1 and name not in ("max", "min", "mean")):
        raise FormulaError(f"gives {name}() {len(arguments)} arguments: it takes one")
    if name == "sum":
        _ask(arguments[0], LIST, "sum()")
    for argument in arguments:
        if argument.type != LIST or name not in ("max", "min", "mean", "sum"):
            _ask_number(argument, f"{name}()")
    whole = name == "int" or (name in ("abs", "max", "min", "sum") and all(_is_int(a) for a in arguments))
    return _Operation(INT if whole else FLOAT, name, arguments)


def _number(text: str) -> _Node:
    try:
        return _Constant(INT, int(text)) if text.isdecimal() else _Constant(FLOAT, float(text))
    except ValueError:
        raise FormulaError(f"has {text!r}, which is no number: write it as 12 or 0.5") from None


def _is_int(node: _Node) -> bool:
    if isinstance(node, _List):
        return all(_is_int(item) for item in node.items)
    return node.type == INT


def _common(a: _Node, b: _Node, mark: str) -> str:
    if a.type == b.type:
        return a.type
    _ask_number(a, mark)
    _ask_number(b, mark)
    return FLOAT


def _ask(node: _Node, kind: str, by: str) -> None:
    if node.type != kind:
        raise FormulaError(f"gives {by} a {node.type}: it takes a {kind}")


def _ask_number(node: _Node, by: str) -> None:
    if node.type not in (INT, FLOAT):
        raise FormulaError(f"gives {by} a {node.type}: it takes a number")


def _unsupported(word: str) -> FormulaError:
    return FormulaError(f"has {word!r}, which is not supported here: write it without")


def _divide(a: float, b: float) -> float:
    if b:
        return a / b
    # As IEEE 754 has it, and Go: 0/0 is not a number.
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 else math.inf
    except ValueError:
        return math.inf if a == 0 else math.nan


def _remainder(a: int, b: int) -> int:
    """With the sign of `a`, as in Go. Raises ZeroDivisionError."""
    return abs(a) % abs(b) * (1 if a >= 0 else -1)


def _round(a: float) -> float:
    """Halves away from zero, as in Go."""
    whole = math.trunc(a) if math.isfinite(a) else a
    return float(whole + math.copysign(1, a) if abs(a - whole) >= 0.5 else whole)


def _flat(arguments: tuple[Any, ...]) -> list[float]:
    return [n for a in arguments for n in (_flat(tuple(a)) if isinstance(a, list) else [a])]


def _mean(*arguments: Any) -> float:
    numbers = _flat(arguments)
    return sum(numbers) / len(numbers) if numbers else 0.0


_PRECEDENCE = {
    "or": 10,
    "||": 10,
    "and": 15,
    "&&": 15,
    **dict.fromkeys(("==", "!=", "<", ">", ">=", "<="), 20),
    "+": 30,
    "-": 30,
    "*": 60,
    "/": 60,
    "%": 60,
    "**": 100,
    "^": 100,
    "??": 500,
}
_COMPARISONS = ("<", ">", ">=", "<=")
# Words of the language that are no names.
_WORDS = ("let", "if", "else", "nil", "in", "not", "and", "or", "matches", "contains", "startsWith", "endsWith")

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
_TESTS: dict[str, Callable[[int, int], Any]] = {
    "any": lambda passed, _: passed > 0,
    "all": lambda passed, count: passed == count,
    "none": lambda passed, _: passed == 0,
    "count": lambda passed, _: passed,
}
FUNCTIONS = (*_FUNCTIONS, *_TESTS)

_OPERATIONS: dict[str, Callable[..., Any]] = {
    **_FUNCTIONS,
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
