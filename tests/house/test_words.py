"""House rules for words: no identifier is a retired name, and each docstring begins with a short sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.xdist_group("house")
PRODUCT = ("bench", "services", "shared", "tidegate", "tools")
GENERATED = ("services/cv/detectors/kserve/inference_pb2.py", "services/scaler/externalscaler_pb2.py")
# These still bind retired names. Remove an entry once it is clean.
NOT_YET: tuple[str, ...] = ()
# Retired class names. Some are everyday words as other names.
CLASSES = {
    "Due",
    "Glance",
    "Glimpse",
    "Held",
    "Hold",
    "Kept",
    "Look",
    "Outlet",
    "Quiet",
    "Readability",
    "Said",
    "Singles",
    "Thrift",
    "Together",
    "Way",
}
# Retired names of any kind, in any case, with or without surrounding underscores.
NAMES = {
    "anew",
    "asked",
    "bends",
    "buried",
    "bury",
    "given",
    "glance",
    "glimpse",
    "gone",
    "gulp",
    "kept",
    "looked",
    "made",
    "made_good",
    "outlet",
    "put_off",
    "quiet_bed",
    "said",
    "second_look",
    "thrift",
    "told",
    "worked",
}
WORDS = 25
# The end of a docstring's first sentence.
SENTENCE = re.compile(r"(?<=[.:])\s|\n\n")
RETIRED = re.compile(rf"\b_*(?:{'|'.join(CLASSES | NAMES)})_*\b", re.IGNORECASE)


def violations(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, problem) of a module's source."""
    tree = ast.parse(source)
    for node in _definitions(tree):
        first = SENTENCE.split(ast.get_docstring(node) or "")[0]
        if (count := len(first.split())) > WORDS:
            yield getattr(node, "lineno", 1), f"a first sentence of {count} words"
    # Walking over expressions is slow, and few files contain a retired word at all.
    if RETIRED.search(source):
        yield from ((line, f"the retired name {name}") for line, name in _bindings(tree) if _is_retired(name))


def _definitions(node: ast.AST) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        for inner in getattr(node, field, ()):
            if isinstance(inner, ast.AST):
                yield from _definitions(inner)


def _bindings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of each binding, except fields of msgspec structs, which are contracts."""
    fields: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name, body=body):
                yield node.lineno, name
                if _is_struct(node):
                    fields |= {statement.target for statement in body if isinstance(statement, ast.AnnAssign)}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.alias(name=name, asname=renamed):
                yield node.lineno, (renamed or name).rpartition(".")[2]
            case ast.Name(id=name, ctx=ast.Store()) if node not in fields:
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield node.lineno, name


def _is_struct(node: ast.ClassDef) -> bool:
    """Return whether a class is a struct, by its base or by class options."""
    return bool(node.keywords) or any("Struct" in ast.unparse(base) for base in node.bases)


def _is_retired(name: str) -> bool:
    return name.strip("_") in CLASSES or name.strip("_").lower() in NAMES


def test_no_retired_name_and_no_long_first_sentence() -> None:
    files = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    paths = {path.relative_to(ROOT).as_posix(): path for path in files}
    wrong = [
        f"{file}:{line}: {problem}"
        for file, path in paths.items()
        if file not in GENERATED and not file.startswith(NOT_YET)
        for line, problem in violations(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class Glance: ...", "the retired name Glance"),
        ("class _Look: ...", "the retired name _Look"),
        ("def told(): ...", "the retired name told"),
        ("def f(asked): ...", "the retired name asked"),
        ("_ASKED = 1", "the retired name _ASKED"),
        ("[kept for kept in ()]", "the retired name kept"),
        ("self.put_off = 1", "the retired name put_off"),
        ("from a import said as gone", "the retired name gone"),
        ("class A(NamedTuple):\n    kept: int", "the retired name kept"),
        (f'"""{"word " * WORDS}end."""', f"a first sentence of {WORDS + 1} words"),
        (f'if 1:\n    async def f():\n        """{"word " * (WORDS + 1)}"""', f"a first sentence of {WORDS + 1} words"),
    ],
)
def test_a_retired_name_or_a_long_sentence_is_found(source: str, problem: str) -> None:
    assert [found for _, found in violations(source)][-1:] == [problem]


@pytest.mark.parametrize(
    "source",
    [
        "class A(msgspec.Struct):\n    kept: int",
        "class A(B, frozen=True):\n    told: int",
        "f(asked=1).said",
        "way = look = due = 'said'",
        f'"""{"word " * (WORDS - 1)}end. {"word " * WORDS}"""',
    ],
)
def test_a_field_a_use_and_an_everyday_word_are_accepted(source: str) -> None:
    assert not list(violations(source))
