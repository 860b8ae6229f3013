"""The Python files of this repository: their functions, and which of them import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.support.paths import ROOT

GENERATED = tuple(
    f"{module}.{ending}"
    for module in ("services/scaler/externalscaler_pb2", "services/cv/detectors/kserve/inference_pb2")
    for ending in ("py", "pyi")
)


def files(*folders: str) -> list[str]:
    """Their Python files as paths from the root, without generated ones."""
    found = [path.relative_to(ROOT).as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(set(found) - set(GENERATED))


class Facts(NamedTuple):
    """The facts that the rules need of a file. functions: line, name and number of lines of each."""

    is_empty: bool
    docstring: str | None
    imports: list[ast.Import | ast.ImportFrom]
    functions: list[tuple[int, str, int]]


@cache
def facts(file: str) -> Facts:
    """Keep no tree: a million nodes would slow every later garbage collection."""
    tree = ast.parse((ROOT / file).read_text())
    found = Facts(not tree.body, ast.get_docstring(tree), [], [])
    for node in statements(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.imports.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.functions.append((node.lineno, node.name, (node.end_lineno or 0) - node.lineno + 1))
    return found


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement below a node. Expressions have none, and are most of a tree."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        for inner in getattr(node, field, ()):
            yield inner
            yield from statements(inner)


@cache
def file_of(name: str) -> str | None:
    """The file of a module of ours, by its dotted name."""
    path = name.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if (ROOT / file).is_file()), None)


@cache
def imported(file: str) -> frozenset[str]:
    """The files of ours that a file names in its imports, wherever in it they stand."""
    found: set[str | None] = set()
    for node in facts(file).imports:
        if isinstance(node, ast.Import):
            found |= {file_of(alias.name) for alias in node.names}
        elif node.module:
            assert not node.level, f"{file}:{node.lineno} imports relative to itself"
            modules = {file_of(f"{node.module}.{alias.name}") for alias in node.names}
            # A name that is no module comes from the package's own file.
            found |= {file_of(node.module)} if None in modules else set()
            found |= modules
    return frozenset(found - {None, file})  # type: ignore[arg-type]
