"""The formula of a ScaledObject's `scalingModifiers`: one number from the metrics of its triggers.

    formula = compile_formula("max([backlog, 2 * urgent]) / (gpu > 0 ? 4 : 1)", ["backlog", "urgent", "gpu"])
    formula.evaluate({"backlog": 30.0, "urgent": 1.0, "gpu": 0.0})      # 30.0

KEDA evaluates these by expr-lang. This module supports a subset: numbers, names of triggers, `+ - * / % ** ^`,
comparisons (chained ones too), `&& || ! and or not`, `?:`, `??`, parentheses, lists, and the functions of FUNCTIONS,
among them `any`, `all`, `none` and `count` with a predicate such as `{# > 1}`. Types are checked as in expr-lang, so a
formula that KEDA refuses is refused here.

Sources: expr-lang's `parser/parser.go`, `parser/operator/operator.go`, `checker/checker.go`, `builtin/lib.go`;
KEDA's `apis/keda/v1alpha1/scaledobject_webhook.go`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from services.scaler.keda.expression import (
    BOOL,
    FLOAT,
    FUNCTIONS,
    INT,
    LIST,
    TESTS,
    Choice,
    Coalesce,
    Constant,
    CountTest,
    Either,
    FormulaError,
    Node,
    Operation,
    TriggerValue,
    Values,
)

# The maximum characters of a formula. It is evaluated at each poll, with a predicate for each item of its list.
MOST = 2048
MOST_PREDICATES = 2

__all__ = ["Formula", "FormulaError", "compile_formula"]

_TOKENS = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)"
    r"|(?P<name>[A-Za-z_$][\w$]*)"
    r"|(?P<mark>\*\*|\?\?|\?\.|\.\.|&&|\|\||==|!=|<=|>=|\S)"
)

_DEEP = "is nested too deeply: write it with fewer parentheses and operators"


class Formula(msgspec.Struct, frozen=True):
    """A compiled formula. names: the triggers that it may use."""

    text: str
    names: tuple[str, ...]
    root: Node

    def evaluate(self, values: Values) -> float | None:
        """Return the formula's number, given one for each name; None if a `??` finds none. Raises FormulaError.

        A division by zero is not an error, and gives an infinity or NaN.
        """
        try:
            result = self.root.of(values)
            return None if result is None else float(result)
        except RecursionError:
            raise FormulaError(_DEEP) from None
        except (ArithmeticError, TypeError, ValueError) as e:
            raise FormulaError(f"the formula can't be computed: {e}") from e


def compile_formula(text: str, names: Collection[str]) -> Formula:
    """Compile a formula. Raises FormulaError that names the error, or the unsupported part."""
    if len(text) > MOST:
        raise FormulaError(f"has {len(text)} characters, and {MOST} are the most: shorten it")
    try:
        root = _Parser(text, names).parse()
    except RecursionError:
        raise FormulaError(_DEEP) from None
    if root.type not in (INT, FLOAT):
        raise FormulaError(f"gives a {root.type}, and a number is asked for: make one of it, such as by ? 1 : 0")
    # KEDA wraps a formula in float(), unless it begins with that, and accepts only a float.
    if text.startswith("float(") and "??" not in text and root.type == INT:
        raise FormulaError("begins with float( and gives an int, which KEDA refuses: put float() around all of it")
    formula = Formula(text, tuple(names), root)
    try:
        formula.evaluate(dict.fromkeys(names, -1.0))
    except FormulaError as e:
        raise FormulaError(f"fails with every trigger at -1, as KEDA tries it: {e.__cause__ or e}; make it hold") from e
    return formula


class _Parser:
    """A precedence-climbing parser, as in expr-lang. Every rule returns a checked node."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._names = names
        found = ((str(m.lastgroup), m[str(m.lastgroup)]) for m in _TOKENS.finditer(text))
        self._tokens = [(kind, token) for kind, token in found if kind != "space"]
        self._at = 0
        self._predicates = 0

    def parse(self) -> Node:
        node = self._expression()
        if self._mark:
            raise _unsupported(self._mark)
        return node

    @property
    def _mark(self) -> str:
        """The next token; empty at the end."""
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

    def _expression(self) -> Node:
        node = self._binary(0)
        while self._mark == "?":
            self._take()
            _ask(node, BOOL, "the condition of ?")
            yes = self._expression()
            self._expect(":")
            no = self._expression()
            node = Choice(_common(yes, no, "?:"), node, yes, no)
        return node

    def _binary(self, lowest: int) -> Node:
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

    def _comparison(self, left: Node, mark: str) -> Node:
        """`a < b < c` is `a < b && b < c`."""
        right = self._binary(_PRECEDENCE[mark] + 1)
        node = _pair(mark, left, right)
        while self._mark in _COMPARISONS:
            _, mark = self._take()
            left, right = right, self._binary(_PRECEDENCE[mark] + 1)
            node = _pair("&&", node, _pair(mark, left, right))
        return node

    def _unary(self) -> Node:
        if self._mark in ("-", "+"):
            _, mark = self._take()
            node = self._binary(90)
            _ask_number(node, mark)
            return Operation(node.type, f"unary {mark}", (node,))
        if self._mark in ("!", "not"):
            _, mark = self._take()
            node = self._binary(50)
            _ask(node, BOOL, mark)
            return Operation(BOOL, "not", (node,))
        return self._primary()

    def _primary(self) -> Node:
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
            return Operation(LIST, "list", items)
        if word == "#" and self._predicates:
            return TriggerValue(FLOAT, "#")
        if kind != "name" or word in _WORDS:
            raise _unsupported(word)
        if self._mark == "(":
            return self._call(word)
        if word in ("true", "false"):
            return Constant(BOOL, word == "true")
        if word not in self._names:
            raise FormulaError(f"uses {word}, which is no trigger's name: name a trigger so, or correct it")
        return TriggerValue(FLOAT, word)

    def _items(self, end: str) -> tuple[Node, ...]:
        """Parse expressions between commas, up to and including `end`."""
        items = []
        while self._mark != end:
            items.append(self._expression())
            if self._mark != end:
                self._expect(",")
        self._take()
        return tuple(items)

    def _call(self, name: str) -> Node:
        if name not in FUNCTIONS:
            raise FormulaError(f"calls {name}(), which is not supported here: take one of {', '.join(FUNCTIONS)}")
        self._take()
        return self._test(name) if name in TESTS else _call(name, self._items(")"))

    def _test(self, name: str) -> Node:
        items = self._expression()
        _ask(items, LIST, f"{name}()")
        self._expect(",")
        braces = self._mark == "{"
        if braces:
            self._take()
        self._predicates += 1
        if self._predicates > MOST_PREDICATES:
            raise FormulaError(f"has predicates more than {MOST_PREDICATES} deep within each other: write it without")
        predicate = self._expression()
        self._predicates -= 1
        _ask(predicate, BOOL, f"the predicate of {name}()")
        if braces:
            self._expect("}")
        self._expect(")")
        return CountTest(INT if name == "count" else BOOL, name, items, predicate)


def _pair(mark: str, left: Node, right: Node) -> Node:
    if mark in ("&&", "and", "||", "or"):
        _ask(left, BOOL, mark)
        _ask(right, BOOL, mark)
        return Either(BOOL, mark in ("||", "or"), left, right)
    if mark == "??":
        return Coalesce(_common(left, right, mark), left, right)
    if mark in ("==", "!=") and left.type == right.type == BOOL:
        return Operation(BOOL, mark, (left, right))
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
    return Operation(kind, mark, (left, right))


def _call(name: str, arguments: tuple[Node, ...]) -> Node:
    if not arguments or (len(arguments) > 1 and name not in ("max", "min", "mean")):
        raise FormulaError(f"gives {name}() {len(arguments)} arguments: it takes one")
    if name == "sum":
        _ask(arguments[0], LIST, "sum()")
    for argument in arguments:
        if argument.type != LIST or name not in ("max", "min", "mean", "sum"):
            _ask_number(argument, f"{name}()")
    whole = name == "int" or (name in ("abs", "max", "min", "sum") and all(_is_int(a) for a in arguments))
    return Operation(INT if whole else FLOAT, name, arguments)


def _number(text: str) -> Node:
    try:
        return Constant(INT, int(text)) if text.isdecimal() else Constant(FLOAT, float(text))
    except ValueError:
        raise FormulaError(f"has {text!r}, which is no number: write it as 12 or 0.5") from None


def _is_int(node: Node) -> bool:
    if isinstance(node, Operation) and node.type == LIST:
        return all(_is_int(item) for item in node.operands)
    return node.type == INT


def _common(a: Node, b: Node, mark: str) -> str:
    if a.type == b.type:
        return a.type
    _ask_number(a, mark)
    _ask_number(b, mark)
    return FLOAT


def _ask(node: Node, kind: str, by: str) -> None:
    if node.type != kind:
        raise FormulaError(f"gives {by} a {node.type}: it takes a {kind}")


def _ask_number(node: Node, by: str) -> None:
    if node.type not in (INT, FLOAT):
        raise FormulaError(f"gives {by} a {node.type}: it takes a number")


def _unsupported(word: str) -> FormulaError:
    return FormulaError(f"has {word!r}, which is not supported here: write it without")


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
# Reserved words of the language.
_WORDS = ("let", "if", "else", "nil", "in", "not", "and", "or", "matches", "contains", "startsWith", "endsWith")
