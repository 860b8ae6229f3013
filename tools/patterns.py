"""The regular expressions of the code, and whether the cost of each is linear in the length of a text.

    python -m tools.patterns              # a table: where each is, and the cost of 64 and 128 kB crafted for it

Patterns are read from the source, so the list includes a new one automatically. `superlinear` judges a pattern by its
structure, and errs on the safe side. The cost is superlinear if
- a repetition contains another, and the end of one round is ambiguous;
- two repetitions follow each other, and a character may belong to either;
- a repetition is tried at each position, the rest may fail, and another match may begin within what it reads.
"""

from __future__ import annotations

import ast
import importlib
import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
FOLDERS = ("shared", "services", "tidegate")
# ANCHORED methods try one position of a text; FREE ones try each. msgspec searches for a field's pattern.
ANCHORED = ("match", "fullmatch")
FREE = ("search", "sub", "subn", "split", "findall", "finditer", "compile", "Meta")
# The cost of a repetition of at most this many characters is bounded, whatever the text's length.
SHORT = 200
# A sample of characters that distinguishes character classes.
LETTERS = frozenset(map(chr, [*range(0x250), 0x661, 0x1680, 0x2028, 0x3000, 0x4E00, 0xD800, 0x1F600]))


class Pattern(NamedTuple):
    """A pattern in the source. where: file and line. anchored: whether it is tried at one position of a text only."""

    where: str
    text: str | bytes
    flags: int
    anchored: bool


class _Part(NamedTuple):
    """What one element of a pattern reads: characters of a set, from `least` to `most` times.

    letters: the set; empty for a look-around, which may fail. rounds: of a repeated group, its elements. choice: the
    outermost optional group that contains it: if that fails, the pattern continues without it.
    """

    letters: frozenset[str]
    least: int
    most: float
    rounds: tuple[tuple[_Part, ...], ...] = ()
    choice: object = None

    @property
    def is_long(self) -> bool:
        return self.most > SHORT


def patterns() -> list[Pattern]:
    """Return all patterns of the code."""
    return [pattern for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) for pattern in _of(path)]


def _of(path: Path) -> Iterator[Pattern]:
    tree = ast.parse(path.read_text())
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    used = _methods(tree)
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.Call) or (found := _pattern(node)) is None:
                continue
            how, expression, flags = found
            name = ast.unparse(parent.targets[0]) if isinstance(parent, ast.Assign) else ""
            methods = used.get(name, {how}) if how == "compile" else {how}
            text = _value(expression, module)
            number = int(_value(flags, module)) if flags else 0
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            yield Pattern(where, text, number, methods <= set(ANCHORED))


def _pattern(call: ast.Call) -> tuple[str, ast.expr, ast.expr | None] | None:
    """Return (method, pattern, flags) of a call that has a pattern."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="re"), attr=how) if how in (*ANCHORED, *FREE):
            flags = next((k.value for k in call.keywords if k.arg == "flags"), None)
            more = call.args[2] if how in ("match", "search", "fullmatch") and len(call.args) > 2 else flags
            return how, call.args[0], call.args[1] if how == "compile" and len(call.args) > 1 else more
        case ast.Name(id="Meta"):
            expression = next((k.value for k in call.keywords if k.arg == "pattern"), None)
            return ("Meta", expression, None) if expression else None
    return None


def _methods(tree: ast.Module) -> dict[str, set[str]]:
    """Return the methods that a module calls on each name, such as `fullmatch` of a compiled pattern."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in (*ANCHORED, *FREE):
            found.setdefault(node.value.id, set()).add(node.attr)
    return found


def _value(node: ast.expr, module: str) -> Any:
    """Return the value of an expression in its module. An expression that depends on a call raises."""
    if isinstance(node, ast.Constant):
        return node.value
    scope = vars(importlib.import_module(module))
    # Coverage looks for a file, except if the name is in brackets.
    return eval(compile(ast.Expression(node), f"<{module}>", "eval"), scope)  # noqa: S307 - of our own source


# ---- what a pattern reads


def _sequences(parsed: Any, flags: int) -> list[tuple[_Part, ...]]:
    """Return every path through a pattern, as the sequence of parts that it reads."""
    sequences: list[tuple[_Part, ...]] = [()]
    for kind, value in parsed:
        heads = _alternatives(kind, value, flags)
        sequences = [way + head for way in sequences for head in heads]
        if len(sequences) > 5000:
            raise ValueError("it has too many alternatives to be judged")
    return sequences


def _alternatives(kind: Any, value: Any, flags: int) -> list[tuple[_Part, ...]]:
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        # A look-ahead is judged as if it were tried at each position.
        inner = [] if kind is op.AT else _sequences(value[1], flags)
        if any(part.is_long for way in inner for part in way):
            raise ValueError("it looks ahead for something of any length")
        return [(_Part(frozenset(), 0, 0),)]
    if kind is op.SUBPATTERN:
        return _sequences(value[3], (flags | value[1]) & ~value[2])
    if kind is op.ATOMIC_GROUP:
        return _sequences(value, flags)
    if kind is op.BRANCH:
        return [way for branch in value[1] for way in _sequences(branch, flags)]
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least, most, body = value
        return _repeated(least, most, body, flags)
    if kind in (op.GROUPREF, op.GROUPREF_EXISTS):
        raise ValueError("it refers to a group")
    return [(_Part(_letters(kind, value, flags), 1, 1),)]


def _repeated(least: int, most: Any, body: Any, flags: int) -> list[tuple[_Part, ...]]:
    rounds = _sequences(body, flags)
    times = math.inf if most is op.MAXREPEAT else most
    if times == 1 and least == 0:
        choice = object()
        return [*(tuple(part._replace(choice=choice) for part in way) for way in rounds), ()]
    if times == 1:
        return rounds
    if all(len(way) == 1 and way[0].most == 1 and not way[0].rounds for way in rounds):
        return [(_Part(frozenset().union(*(way[0].letters for way in rounds)), least, times),)]
    letters = frozenset().union(*(part.letters for way in rounds for part in way))
    return [(_Part(letters, least, times, tuple(rounds)),)]


def _letters(kind: Any, value: Any, flags: int) -> frozenset[str]:
    """Return the characters of LETTERS that one element matches, according to the engine itself."""
    state = parser.State()
    state.flags = flags
    element = parser.SubPattern(state, [(kind, value)])
    from re import _compiler as compiler  # type: ignore[attr-defined]

    found = compiler.compile(element, flags)
    return frozenset(c for c in LETTERS if found.fullmatch(c))


# ---- what it costs


def superlinear(pattern: Pattern) -> str:
    """Return why the cost may be superlinear; empty if it is linear."""
    text = pattern.text.decode("latin-1") if isinstance(pattern.text, bytes) else pattern.text
    parsed = parser.parse(text, pattern.flags)
    flags = parsed.state.flags | (0 if isinstance(pattern.text, str) else re.ASCII)
    try:
        sequences = _sequences(parsed, flags)
    except ValueError as e:
        return str(e)
    begins = bool(parsed) and parsed[0] in ((op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING))
    anchored = pattern.anchored or (begins and not flags & re.MULTILINE)
    return next((problem for way in sequences if (problem := _of_way(way, anchored))), "")


def _of_way(way: Sequence[_Part], anchored: bool) -> str:
    for n, part in enumerate(way):
        if not part.is_long:
            continue
        if part.rounds and not _has_certain_end(part.rounds):
            return "a repetition contains another, and the end of a round is ambiguous"
        rest = [other for other in way[n + 1 :] if other.choice in (None, part.choice)]
        if not any(other.least or not other.letters for other in rest):
            continue  # no later part can fail
        if not anchored and not _begins_elsewhere(way[:n], part):
            return "it is tried at each position, and read again from each"
        if _shares(part, rest):
            return "two repetitions follow each other, and a character may belong to either"
    return ""


def _has_certain_end(rounds: Sequence[Sequence[_Part]]) -> bool:
    """Return whether it is certain where a round ends.

    Either a character at its end or its beginning occurs nowhere else in it, or each round has a fixed length and they
    differ in their first character.
    """
    if not all(rounds) or any(_of_way(way, anchored=True) for way in rounds):
        return False
    for at, others in ((-1, slice(None, -1)), (0, slice(1, None))):
        edges = [way[at] for way in rounds]
        inside = frozenset().union(*(part.letters for way in rounds for part in way[others]))
        if all(p.least == p.most == 1 and p.letters and not p.letters & inside for p in edges):
            return True
    firsts = [way[0].letters for way in rounds]
    differ = len(frozenset().union(*firsts)) == sum(map(len, firsts))
    return differ and all(p.least == p.most and p.letters for way in rounds for p in way)


def _begins_elsewhere(before: Sequence[_Part], part: _Part) -> bool:
    """Return whether a part before the repetition has no character that it can read: no two matches overlap then."""
    return any(p.least and p.letters and not p.letters & part.letters for p in before)


def _shares(part: _Part, rest: Sequence[_Part]) -> bool:
    """Return whether a repetition and a later one may divide the same characters in several ways."""
    for other in rest:
        if other.is_long and other.letters & part.letters:
            return True
        if other.least and other.letters and not other.letters & part.letters:
            return False
    return False


# ---- what it takes


def crafted(pattern: Pattern, size: int) -> list[str]:
    """Return texts of about `size` characters that each of a pattern's repetitions reads before it fails."""
    text = pattern.text.decode("latin-1") if isinstance(pattern.text, bytes) else pattern.text
    parsed = parser.parse(text, pattern.flags)
    found = {"a" * size, " " * size}
    for way in _sequences(parsed, parsed.state.flags)[:50]:
        head = "".join(min(p.letters) * max(1, p.least) for p in way if p.letters)
        found |= {head * (size // max(1, len(head)))}
        for n, part in enumerate(way):
            if part.letters:
                start = "".join(min(p.letters) * p.least for p in way[:n] if p.letters)
                found |= {start + max(part.letters) * size + end for end in ("", "\0")}
    return sorted(t.replace("\ud800", "a").replace("\U0001f600", "b") for t in found)


def milliseconds(pattern: Pattern, size: int) -> float:
    """Return the processor's milliseconds for the most expensive of these texts."""
    compiled: Any = re.compile(pattern.text, pattern.flags)
    worst = 0.0
    for text in crafted(pattern, size):
        data: Any = text.encode("latin-1", "replace") if isinstance(pattern.text, bytes) else text
        began = time.process_time()
        compiled.fullmatch(data) if pattern.anchored else compiled.sub(data[:0], data)
        worst = max(worst, time.process_time() - began)
    return worst * 1e3


def main() -> None:
    print(f"{'pattern at':<44}{'64 kB':>9}{'128 kB':>9}  pattern")
    for pattern in patterns():
        times = "".join(f"{milliseconds(pattern, size * 1024):>6.1f} ms" for size in (64, 128))
        verdict = superlinear(pattern) and "  SUPERLINEAR"
        print(f"{pattern.where:<44}{times}  {pattern.text!r:.80}{verdict}", flush=True)


if __name__ == "__main__":
    main()
