"""No test depends on the clock: it waits for an event, and a busy machine fails none.

A line that must depend on it gives the reason in a comment: `# clock: <reason>`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
SHORT_S = 5
ELAPSED = "asserts that time was short: assert the path taken, a count, or a fake clock"
SLEPT = "sleeps before an assertion: wait with `until` for the event, or for a later marker"
KEYS = "lists a bucket's keys through a consumer, which is sometimes short: use `shared.contract.reading.entries`"
SHORT = f"waits less than {SHORT_S} s: leave the limit to `patience_s()`"
REASON = re.compile(r"# clock: \w")
CLOCK = re.compile(r"(time\.)?(time|monotonic|perf_counter)|.*loop(\(\))?\.time")
ARITHMETIC = re.compile(r"abs|float|int|max|min|round|sum")
SLEEP = re.compile(r"((asyncio|time)\.)?sleep")
# A limit that follows the load.
PATIENT = re.compile(r"patience_s|LONGEST_S")
# The calls that wait, and the position of their limit; every call may name it.
LIMIT_AT = {"timeout": 0, "settimeout": 0, "wait": 0, "join": 0, "wait_for": 1, "until": 1, "create_connection": 1}
LIMIT = re.compile(r"timeout(_s)?|within_s")


def dotted(node: ast.expr) -> str:
    """The name that a call has in the source: `time.time`, `get_running_loop().time`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return f"{dotted(node.func)}()"
    return node.id if isinstance(node, ast.Name) else ""


def is_call(node: ast.AST, name: re.Pattern[str]) -> bool:
    return isinstance(node, ast.Call) and name.fullmatch(dotted(node.func)) is not None


def number(node: ast.AST | None) -> float | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else None


class Rules(ast.NodeVisitor):
    """The findings of one file: line and remedy."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        self.found: list[tuple[int, str]] = []
        # Names bound to a reading of a clock, to a difference of readings, and to a limit that follows the load.
        self._readings: set[str] = set()
        self._spans: set[str] = set()
        self._patient: set[str] = set()
        self._asserts = False
        self.visit(ast.parse(source))

    def _find(self, node: ast.AST, remedy: str) -> None:
        lines = self._lines[node.lineno - 1 : node.end_lineno]
        if not any(REASON.search(line) for line in lines):
            self.found.append((node.lineno, remedy))

    def _reads(self, node: ast.AST) -> bool:
        return is_call(node, CLOCK) or (isinstance(node, ast.Name) and node.id in self._readings)

    def _measures(self, node: ast.AST) -> bool:
        """Return whether its value is a time: a value that other calls derive from a time is none."""
        if isinstance(node, ast.Call) and not is_call(node, ARITHMETIC):
            return is_call(node, CLOCK)
        if isinstance(node, ast.Name):
            return node.id in self._spans
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and self._reads(node.right):
            return True
        return any(map(self._measures, ast.iter_child_nodes(node)))

    def _is_patient(self, node: ast.AST) -> bool:
        return any(
            isinstance(part, ast.Name) and (part.id in self._patient or PATIENT.fullmatch(part.id))
            for part in ast.walk(node)
        )

    def generic_visit(self, node: ast.AST) -> None:
        for field in ("body", "orelse", "finalbody"):
            if isinstance(block := getattr(node, field, None), list):
                self._visit_block(block)
        super().generic_visit(node)

    def _visit_block(self, block: list[ast.stmt]) -> None:
        """Only assignments, which read what is asserted, may stand between a sleep and its assertion."""
        slept: ast.stmt | None = None
        for statement in block:
            call = statement.value if isinstance(statement, ast.Expr) else None
            call = call.value if isinstance(call, ast.Await) else call
            if call and is_call(call, SLEEP) and number(call.args[0]) != 0:
                slept = statement
            elif slept and isinstance(statement, ast.Assert):
                self._find(slept, SLEPT)
                slept = None
            elif not isinstance(statement, ast.Assign | ast.AnnAssign):
                slept = None

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer = self._readings, self._spans, self._patient
        self._readings, self._spans, self._patient = map(set, outer)
        self.generic_visit(node)
        self._readings, self._spans, self._patient = outer

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            pair = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            bound = zip(target.elts, node.value.elts, strict=False) if pair else [(target, node.value)]
            for name, value in bound:
                if isinstance(name, ast.Name):
                    self._bind(name.id, value)
        self.generic_visit(node)

    def _bind(self, name: str, value: ast.expr) -> None:
        if self._is_patient(value):
            self._patient.add(name)
        elif self._reads(value):
            self._readings.add(name)
        elif self._measures(value):
            self._spans.add(name)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Only an upper bound of a time depends on the load."""
        for op, left, right in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False):
            less, more = (right, left) if isinstance(op, ast.Gt | ast.GtE) else (left, right)
            either = isinstance(op, ast.Eq) and self._measures(more)
            if self._asserts and (self._measures(less) or either) and not self._is_patient(more):
                self._find(node, ELAPSED)
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        self._asserts = True
        self.visit(node.test)
        self._asserts = False

    def visit_Await(self, node: ast.Await) -> None:
        if isinstance(node.value, ast.Call) and dotted(node.value.func).endswith(".keys"):
            self._find(node, KEYS)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted(node.func).rpartition(".")[2]
        limits = [keyword.value for keyword in node.keywords if LIMIT.fullmatch(keyword.arg or "")]
        if (at := LIMIT_AT.get(name)) is not None:
            limits += node.args[at : at + 1]
        if any((limit_s := number(limit)) is not None and limit_s < SHORT_S for limit in limits):
            self._find(node, SHORT)
        self.generic_visit(node)


def test_no_test_depends_on_the_clock() -> None:
    found = [
        f"tests/{file.relative_to(TESTS)}:{line} {remedy}"
        for file in sorted(TESTS.rglob("*.py"))
        for line, remedy in Rules(file.read_text()).found
    ]
    assert not found, "\n".join(found)


BAD = {
    ELAPSED: [
        "began = time.monotonic()\nassert time.monotonic() - began < 3",
        "began = time.time()\ntook = time.time() - began\nassert 3 > took",
        "assert abs(time.time() - start) < 30",
        "n, began = 1, loop.time()\ntook = loop.time() - began\nassert n == 1 and 0 < round(took) <= 4",
        "assert time.perf_counter() - began == approx(2)",
    ],
    SLEPT: [
        "async def test():\n    await asyncio.sleep(0.1)\n    assert done",
        "time.sleep(LEASE_S)\nfound = read()\nassert found",
    ],
    KEYS: ["found = await bucket.keys()", "[key] = await (await js.key_value(name)).keys()"],
    SHORT: [
        "asyncio.timeout(1)",
        "await asyncio.wait_for(done.wait(), 2.0)",
        "await until(lambda: done, 4)",
        "subprocess.run(command, timeout=0.5)",
        "connection.settimeout(1)",
        "await bus.connect(settings, timeout_s=3)",
    ],
}
GOOD = [
    "began = time.monotonic()\nassert time.monotonic() - began >= 3",
    "deadline = time.monotonic() + patience_s()\nassert time.monotonic() < deadline",
    "assert time.time() - start < LONGEST_S",
    "late = drain(until=time.monotonic() + 1)\nassert late == 1",
    "requests, began = 3, time.monotonic()\nassert requests < 4",
    "await asyncio.sleep(0)\nassert done",
    "await asyncio.sleep(1)\nawait server.start()",
    "await asyncio.sleep(1)  # clock: the outage outlasts a lease\nassert done",
    "subprocess.run(command, timeout=patience_s())",
    "await until(lambda: done)",
]


@pytest.mark.parametrize(("remedy", "source"), [(remedy, source) for remedy in BAD for source in BAD[remedy]])
def test_the_rule_finds_clock_dependence(remedy: str, source: str) -> None:
    assert [found for _, found in Rules(source).found] == [remedy]


@pytest.mark.parametrize("source", GOOD)
def test_the_rule_accepts_other_code(source: str) -> None:
    assert Rules(source).found == []


def test_an_exception_needs_a_reason() -> None:
    assert Rules("time.sleep(1)  # clock:\nassert done").found == [(1, SLEPT)]
