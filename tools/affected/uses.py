"""What one file names: imports, and strings that may name a module, a file or a folder. Pure."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Collection, Mapping

import msgspec

# Here any word of a string may be a name or a path. The product's strings are mostly sentences for people.
CALLERS = ("tests/", "bench/", "tools/")
# The calls whose arguments are paths.
PATHS = ("Path", "joinpath", "with_name", "open")
_ROOT = re.compile(r"Path\(__file__\)(?:\.resolve\(\))?(?P<up>(?:\.parent)+|\.parents\[(?P<index>\d+)\])")
_IMPORT = re.compile(r"\b(?:from|import) +([\w.]+)(?: +import +([\w, ]+|\([\w,\s]+\)))?")
# In a manifest or on a page: the command after the program's name.
_COMMAND = re.compile(r"\btidegate[\"',\s\[\]-]+(\w+)")
_WORD = re.compile(r"[\w.*/-]+")


class Uses(msgspec.Struct):
    """The names that a file uses.

    imports: modules, and what may be modules in them. started: after `-m`. words: of strings, with `*` for an unknown
    part. paths: joined by `/`, or an argument of Path; `.` is the whole tree. records: modules named as data: the
    keyword `module`, or MODULE. reads_records: whether such data is read. lists_packages: whether it lists the modules
    of its imports. loads_by_name: whether a package loads its own modules.
    """

    imports: set[str] = set()
    started: set[str] = set()
    words: set[str] = set()
    paths: set[str] = set()
    records: set[str] = set()
    reads_records: bool = False
    lists_packages: bool = False
    loads_by_name: bool = False


def read(file: str, source: str) -> Uses:
    """Return the uses of a file, by its path from the root. Other languages name only commands. Raises SyntaxError."""
    if not file.endswith(".py"):
        return Uses(words={*_COMMAND.findall(source)})
    return _Reader(file, ast.parse(source, file)).uses


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _Reader(ast.NodeVisitor):
    def __init__(self, file: str, tree: ast.Module) -> None:
        self.uses, self._file = Uses(), file
        assigned = {ast.unparse(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
        self._texts = {
            k: v.value for k, v in assigned.items() if isinstance(v, ast.Constant) and isinstance(v.value, str)
        }
        self._roots = {name for name, value in assigned.items() if self._is_root(value)}
        self._choices = _choices(tree, assigned) if self._roots else {}
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        self.uses.imports |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self._file.split("/")[: -node.level] if node.level else []
        module = ".".join([*above, *filter(None, [node.module])])
        self.uses.imports |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        self._roots |= {alias.asname or alias.name for alias in node.names if alias.name == "ROOT"}

    def visit_Expr(self, node: ast.Expr) -> None:
        # A docstring names nothing that the code uses.
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._read(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._read(self._text(node))
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not self._is_search_path(node):
                self.visit(part.value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Div):
            self._join(node)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if function in PATHS:
            self.uses.paths |= {self._text(argument) for argument in node.args}
        self._start(node.args)
        if function == "relative_to":
            self.visit(node.func)
        elif function != "join" or not self._is_search_path(node.func):
            self.generic_visit(node)

    def visit_List(self, node: ast.List | ast.Tuple) -> None:
        self._start(node.elts)
        self.generic_visit(node)

    visit_Tuple = visit_List

    def visit_Assign(self, node: ast.Assign) -> None:
        if ast.unparse(node.targets[0]) == "MODULE":
            self.uses.records.add(self._text(node.value))
        else:
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg == "module":
            self.uses.records.add(self._text(node.value))
        # A process that starts in the root reads only what its command names.
        if node.arg not in ("module", "cwd") or not isinstance(node.value, ast.Constant | ast.Name):
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        self.uses.reads_records |= node.id == "MODULE"
        self.uses.loads_by_name |= node.id == "__name__" and self._file.endswith("/__init__.py")
        if node.id in self._roots and isinstance(node.ctx, ast.Load):
            self.uses.paths.add(".")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.uses.reads_records |= node.attr.lower() == "module"
        self.uses.lists_packages |= node.attr == "__path__"
        self.visit(node.value)

    def _is_search_path(self, node: ast.expr) -> bool:
        """Return whether it joins folders of Python's search path; what is run is named elsewhere."""
        return "os.pathsep" in ast.unparse(node)

    def _is_root(self, node: ast.expr) -> bool:
        if not (found := _ROOT.fullmatch(ast.unparse(node))):
            return False
        return int(found["index"] or found["up"].count(".") - 1) == self._file.count("/")

    def _text(self, node: ast.expr) -> str:
        """Return the expression as a string, with `*` for each unknown part."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Name(id="__name__"):
                return module_of(self._file)
            case ast.Name(id=name):
                return self._texts.get(name, "*")
            case ast.JoinedStr(values=parts):
                return "".join(map(self._text, parts))
            case ast.FormattedValue(value=value):
                return self._text(value)
        return "*"

    def _join(self, node: ast.expr) -> None:
        parts: list[ast.expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if not isinstance(node.right, ast.Constant):
                self.visit(node.right)
            parts.insert(0, node.right)
            node = node.left
        self.uses.paths |= {"/".join(path) for path in itertools.product(*map(self._alternatives, parts))}
        # The root followed by a literal is that path; followed by anything else it is the whole tree.
        is_literal = not any(text.startswith("*") for text in self._alternatives(parts[0]))
        if not is_literal and self._is_root(node):
            self.uses.paths.add(".")
        if not (is_literal and isinstance(node, ast.Name)):
            self.visit(node)

    def _alternatives(self, node: ast.expr) -> Collection[str]:
        return self._choices.get(ast.unparse(node)) or (self._text(node),)

    def _start(self, arguments: list[ast.expr]) -> None:
        texts = map(self._text, arguments)
        self.uses.started |= {name for flag, name in itertools.pairwise(texts) if flag == "-m"}

    def _read(self, text: str) -> None:
        words = _WORD.findall(re.sub(r"\{[^{}]*\}", "*", text))
        if self._file.startswith(CALLERS) or words == [text]:
            self.uses.words |= {word.rstrip(".") for word in words}
        for module, names in _IMPORT.findall(text):
            self.uses.imports |= {module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))}


def _choices(tree: ast.Module, assigned: Mapping[str, ast.expr]) -> dict[str, set[str]]:
    """Return the strings that each loop variable takes, if nothing else in the file sets it."""
    found: dict[str, set[str]] = {}
    unknown = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            unknown.add(node.arg)
        elif isinstance(node, ast.Assign):
            unknown |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            values = assigned.get(node.iter.id) if isinstance(node.iter, ast.Name) else node.iter
            elements = values.elts if isinstance(values, ast.Tuple | ast.List) else []
            texts = {e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)}
            if isinstance(node.target, ast.Name) and texts and len(texts) == len(elements):
                found.setdefault(node.target.id, set()).update(texts)
            else:
                unknown |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
    return {name: texts for name, texts in found.items() if name not in unknown}
