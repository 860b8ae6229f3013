"""Which files a test reaches, and which tests a change reaches. Pure.

A file is a node. It points to what it imports anywhere, starts by name or reads by path; a folder stands for its files.
The graph errs on the side of more tests: a name in a string counts as used, and a file that no test names reaches all.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tools.affected.uses import CALLERS, Uses, module_of

# They decide how every test runs.
EVERYTHING = re.compile(r"pyproject\.toml|Makefile|requirements/.*")
# What imports GROUP runs commands. A test reaches those that it names, or all if it names none.
COMMANDS, GROUP = "tidegate/commands/__init__.py", "tidegate.commands.tidegate"
# They read the module of a service's record, and start no service but the one that runs.
STARTS_NOTHING = ("shared/contract/catalog.py", "shared/service/process.py", "tidegate/local/scaling/scaled_objects.py")
# A single word is a folder only if it begins with a dot.
FOLDER = re.compile(r"\.\w|.*/.")


class Affected(NamedTuple):
    """The tests that a change reaches. tests: each with a changed file and its node. doubts: why all tests count."""

    tests: dict[str, tuple[str, str]]
    doubts: list[str]


class Graph:
    """The graph of a tree. files: all of them. uses: of each Python file, and of each text that may name commands."""

    def __init__(self, files: Iterable[str], uses: Mapping[str, Uses]) -> None:
        self._files, self._uses = set(files), uses
        self._folders = {folder for file in self._files for folder in folders(file)}
        self._modules = {module_of(file): file for file in uses if file.endswith(".py")}
        self._tops = {file.partition("/")[0] for file in self._modules.values() if "/" in file}
        self._groups = {file for file, used in uses.items() if GROUP in used.imports}
        self._edges: dict[str, set[str]] = {}
        self.tests = sorted(file for file in self._files if re.fullmatch(r"tests/(.*/)?test_\w+\.py", file))
        # Each node that a test reaches, with the node that points to it.
        self.dependencies = {test: self._walk(test) for test in self.tests}

    def affected(self, changed: Iterable[str]) -> Affected:
        tests: dict[str, tuple[str, str]] = {}
        doubts = []
        for file in changed:
            nodes = _nodes(file)
            # A module is no data: if nothing imports it, only what reads the whole tree notices.
            is_named = file.endswith(".py") and "/" in file
            for test, dependencies in self.dependencies.items():
                if node := next((node for node in nodes if node in dependencies), None):
                    tests.setdefault(test, (file, node))
                    is_named |= node != "./"
            if EVERYTHING.fullmatch(file):
                doubts.append(f"{file} decides how every test runs")
            elif not is_named:
                doubts.append(f"no test names {file}")
        return Affected(tests, doubts)

    def why(self, test: str, node: str) -> list[str]:
        """Return the nodes from `node` to the test, each named by the next."""
        chain = [node]
        while chain[-1] != test:
            chain.append(self.dependencies[test][chain[-1]])
        return chain

    def _walk(self, test: str) -> dict[str, str]:
        above = (f"{folder}/conftest.py" for folder in folders(test))
        found = {test: "", **{file: test for file in above if file in self._uses}}
        left = list(found)
        while left:
            node = left.pop()
            new = self._edges_of(node) - found.keys()
            found |= dict.fromkeys(new, node)
            left += new
            if not left and (running := self._groups & found.keys()):
                left = [command for command in self._commands(found) if command not in found]
                found |= dict.fromkeys(left, min(running))
        return found

    def _commands(self, found: Mapping[str, str]) -> list[str]:
        """Return the commands that the test, its helpers or the texts that it reads name."""
        commands = {module_of(file).rpartition(".")[2].removesuffix("_"): file for file in self._within(COMMANDS)}
        texts = [f for f in self._uses if not f.endswith(".py") and not found.keys().isdisjoint(_nodes(f))]
        callers = [file for file in found if file in self._uses and file.startswith(CALLERS)]
        words = {word for file in (*callers, *texts) for word in self._uses[file].words}
        return [file for name, file in commands.items() if name in words or not words & commands.keys()]

    def _edges_of(self, node: str) -> set[str]:
        if node not in self._edges:
            self._edges[node] = set(self._find(node, self._uses[node])) - {node} if node in self._uses else set()
        return self._edges[node]

    def _find(self, file: str, uses: Uses) -> Iterator[str]:
        yield from (package for f in folders(file) if (package := f"{f}/__init__.py") in self._uses)
        imported = [found for name in uses.imports if (found := self._modules.get(name))]
        yield from imported
        for name in uses.started:
            yield from self._run(name, 1)
        for path in uses.paths:
            yield from self._at(file, path, may_be_folder=True)
        if uses.lists_packages:
            yield from (module for package in imported for module in self._within(package))
        if uses.reads_records and file not in STARTS_NOTHING:
            for name in {name for other in (file, *imported) for name in self._uses[other].records}:
                yield from self._run(name, 1)
        if file == COMMANDS:
            return
        if uses.loads_by_name:
            yield from self._within(file)
        for word in uses.words:
            yield from self._run(word, 2)
            if file.startswith(CALLERS):
                yield from self._at(file, word, may_be_folder=bool(FOLDER.match(word)))

    def _within(self, package: str) -> Iterator[str]:
        """Yield the modules of a package, by its `__init__`."""
        folder, name = posixpath.split(package)
        if name == "__init__.py":
            yield from (f for m, f in self._modules.items() if m.rpartition(".")[0] == folder.replace("/", "."))

    def _run(self, name: str, least: int) -> Iterator[str]:
        """Yield the longest prefix of a dotted name that is a module, with its `__main__`; all matches of a pattern."""
        parts = name.split(".")
        if parts[0] not in self._tops:
            return
        if "*" in name:
            pattern = re.compile(re.escape(name).replace(r"\*", "[^.]*"))
            found = [module for module in self._modules if pattern.fullmatch(module)]
        else:
            shorter = (".".join(parts[:n]) for n in range(len(parts), least - 1, -1))
            found = [module for module in shorter if module in self._modules][:1]
        for module in found:
            yield from filter(None, map(self._modules.get, (module, f"{module}.__main__")))

    def _at(self, file: str, path: str, may_be_folder: bool) -> Iterator[str]:
        """Yield the node at a path, up to its first unknown part, from the root or from a folder of `file`."""
        literal = re.match(r"(?:\*/)*([^*]*)(?:/|$)", path)
        if path.startswith("/") or not literal or not literal[1]:
            return
        for folder in folders(file):
            place = posixpath.normpath(posixpath.join(folder, literal[1]))
            if place in self._files:
                yield place
            elif may_be_folder and place in self._folders and (place == ".") == (literal[1] == "."):
                yield f"{place}/"


def _nodes(file: str) -> list[str]:
    """Return the nodes of a file: itself, and its folders."""
    return [file, *(f"{folder}/" for folder in folders(file))]


def folders(file: str) -> list[str]:
    """Return the folders that contain a file, the nearest first; the last is `.`, the root."""
    parts = file.split("/")[:-1]
    return [*("/".join(parts[:n]) for n in range(len(parts), 0, -1)), "."]
