"""The rules of the house: which folder may import which, no circles, short functions, clean text."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.source_files import facts, files, imported

# In one process, each file is parsed once.
pytestmark = pytest.mark.xdist_group("house")
PRODUCT = ("shared", "services", "tidegate")
OURS = (*PRODUCT, "tools", "bench", "tests")
# A package of this many modules and folders has a table of them in its docstring.
MANY = 5
LINES = 50
TEXT = {
    ".cfg",
    ".css",
    ".html",
    ".js",
    ".json",
    ".md",
    ".proto",
    ".py",
    ".pyi",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}
# Tab, line feed, and no carriage return either.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# The first line of an example: an assignment, a call, a block.
CODE = re.compile(r" *(?:[\w., ]+ = |await |(?:async )?(?:with|for) .*:(?: \.\.\.|  |$)|[\w.]+\(.*\)(?:  |$))", re.M)


def order(package: str) -> dict[str, int]:
    """The row of every name in the table of a package's docstring, counted from the top."""
    rows = re.findall(r"^\| (`.+?) \|", facts(f"{package}/__init__.py").docstring or "", re.MULTILINE)
    return {name: n for n, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def part(file: str, package: str) -> str:
    """Return the part of a package that a file belongs to: a folder, or a module next to the folders."""
    return file.removeprefix(f"{package}/").split("/")[0].removesuffix(".py")


def packages() -> list[str]:
    """Return the folders of the product and of the tools that are packages."""
    return [file.removesuffix("/__init__.py") for file in files(*PRODUCT, "tools") if file.endswith("/__init__.py")]


def modules(package: str) -> set[str]:
    """Return the names of a package's modules and folders, `__init__` and `__main__` excluded."""
    inside = [file for file in files(package) if file.count("/") == package.count("/") + 1]
    folders = [path.parent.name for path in (ROOT / package).glob("*/__init__.py")]
    return {part(file, package) for file in inside if "__" not in file} | set(folders)


@pytest.mark.parametrize("package", packages())
def test_every_module_is_in_its_table_and_every_row_exists(package: str) -> None:
    table, names = order(package).keys(), modules(package)
    if table or len(names) >= MANY:
        beside = {path.name for path in (ROOT / package).iterdir() if path.is_dir()}
        assert names <= table <= names | beside


@pytest.mark.parametrize("package", packages())
def test_a_module_imports_only_those_above_it_in_its_table(package: str) -> None:
    place = order(package)
    wrong = [
        f"{file} imports {other}"
        for file in files(package)
        for other in imported(file)
        if other.startswith(f"{package}/")
        and place.get(part(other, package), -1) > place.get(part(file, package), len(place))
    ]
    assert not wrong, f"the order is in {package}/__init__.py"


@pytest.mark.parametrize("package", ["shared", "tidegate"])
def test_contributing_has_the_order_of_the_package(package: str) -> None:
    rows = re.findall(rf"^\| `{package}/(\w+)/` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert rows == list(order(package))


def test_services_import_shared_and_not_each_other() -> None:
    may = {"shared": ("shared",), "services": ("shared",), "tidegate": PRODUCT}
    wrong = []
    for file in files(*PRODUCT):
        top, *rest = file.split("/")
        own = f"{top}/{rest[0]}/" if top == "services" else f"{top}/"
        allowed = (own, *(f"{other}/" for other in may[top]))
        wrong += [f"{file} imports {other}" for other in imported(file) if not other.startswith(allowed)]
    assert not wrong


def test_no_imports_are_circular() -> None:
    try:
        TopologicalSorter({file: imported(file) for file in files(*OURS)}).prepare()
    except CycleError as e:
        pytest.fail("a circle of imports: " + " -> ".join(e.args[1]))


def test_nothing_imports_a_module_of_tests() -> None:
    """Helpers live in support modules next to the tests."""
    wrong = [
        f"{file} imports {other}"
        for file in files("tests", "bench", "tools")
        for other in imported(file)
        if "/test_" in other
    ]
    assert not wrong


def test_no_two_test_files_have_the_same_name() -> None:
    """Tables of risks, versions and costs name a file without its folder."""
    names = [file.rpartition("/")[2] for file in files("tests") if "/test_" in file]
    assert {name for name in names if names.count(name) > 1} == set()


def test_a_file_of_tests_has_at_most_400_lines() -> None:
    long = [file for file in files("tests") if "/test_" in file and (ROOT / file).read_text().count("\n") > 400]
    assert long == []


def test_every_function_fits_a_screen() -> None:
    spans = {
        f"{file}:{line} {name}": lines
        for file in files(*PRODUCT, "tools")
        for line, name, lines in facts(file).functions
    }
    assert {name: lines for name, lines in spans.items() if lines > LINES} == {}


def test_every_file_says_in_its_first_line_what_it_is_for() -> None:
    silent = [file for file in files(*OURS) if not facts(file).is_empty and not facts(file).docstring]
    assert not silent


def test_code_in_the_docstring_of_a_module_is_indented_and_compiles() -> None:
    """The formatter removes an indent that all lines share, and a wrap of prose joins lines without one."""
    wrong = []
    for file in files(*PRODUCT):
        for block in re.split(r"\n\n|\n(?:Example|Usage):\n", facts(file).docstring or "")[1:]:
            if not CODE.match(block):
                continue
            try:
                compile(textwrap.dedent(block), file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            except SyntaxError as e:
                wrong.append(f"{file}: {e}")
            if not block.startswith("    "):
                wrong.append(f"{file}: {block}")
    assert not wrong


def texts() -> Iterator[Path]:
    for folder in (*OURS, "docs", "deploy", ".ci", ".github"):
        yield from (ROOT / folder).rglob("*")
    yield from ROOT.iterdir()


def test_no_text_holds_control_characters() -> None:
    """An editor shows a backspace as nothing, where `\\b` was meant."""
    wrong = []
    for path in texts():
        if path.is_file() and path.suffix in TEXT:
            lines = path.read_bytes().decode().split("\n")
            wrong += [f"{path.relative_to(ROOT)}:{n}" for n, line in enumerate(lines, 1) if CONTROL.search(line)]
    assert not wrong
