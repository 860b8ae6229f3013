"""A camera's rules as they are stored, written and drawn: their YAML, and the mistakes with their lines. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from shared.contract import rules as book
from shared.contract.reading.handwritten import LOADER
from shared.contract.reading.mistakes import Mistake, Mistakes
from shared.contract.rules import Rules

_SCALARS = (str, int, float, bool, type(None))


class WrongPart(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake. path: `rules[2].zone`; empty for the whole. line: of the text, from 1; None if unknown."""

    path: str
    text: str
    line: int | None = None


class DrawnRules(msgspec.Struct, frozen=True, kw_only=True):
    """rules: as in their schema; None if there are none, or mistakes. text: the same as YAML.

    revision: of the stored rules; 0 if there are none. error: a sentence, if there are mistakes.
    """

    rules: Rules | None = None
    text: str = ""
    mistakes: list[WrongPart] = []
    revision: int = 0
    error: str = ""


def of_rules(found: Rules, text: str | None = None) -> DrawnRules:
    """Return valid rules. text: the person's own; else it is generated."""
    return DrawnRules(rules=found, text=written(msgspec.to_builtins(found)) if text is None else text)


def of_text(text: str) -> DrawnRules:
    """Parse YAML or JSON, which may be invalid."""
    try:
        return of_rules(book.read(text.encode(), "this"), text)
    except Mistakes as e:
        return _wrong(e, text)


def of_value(value: dict[str, Any]) -> DrawnRules:
    """Check a drawn value, which may be invalid."""
    try:
        return of_rules(book.read(msgspec.json.encode(value), "this"))
    except Mistakes as e:
        try:
            return _wrong(e, written(value))
        except (RecursionError, yaml.YAMLError, ValueError):
            return _wrong(e, "")


def of_stored(data: bytes) -> DrawnRules:
    """Decode an entry of the bucket, which may have another writer."""
    try:
        return of_rules(book.decode(data))
    except Mistakes as e:
        return _wrong(e, data.decode(errors="replace"))


def written(value: Any) -> str:
    """Format as YAML: points on one line, all else in block style."""
    return "" if not value else yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _wrong(mistakes: Mistakes, text: str) -> DrawnRules:
    root = _composed(text)
    wrong = [WrongPart(path=m.path, text=m.text, line=_line(root, m)) for m in mistakes.all]
    return DrawnRules(text=text, mistakes=wrong, error=str(mistakes))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        items = list(sequence)
        flat = all(_is_flat(item) for item in items)
        node: yaml.SequenceNode = super().represent_sequence(tag, items, flow_style=flat)
        return node

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _is_flat(item: Any) -> bool:
    return isinstance(item, _SCALARS) or (
        isinstance(item, list | tuple) and all(isinstance(part, _SCALARS) for part in item)
    )


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=LOADER)
    except Exception:  # Invalid YAML has no lines to point at.
        return None


def _line(root: yaml.Node | None, mistake: Mistake) -> int | None:
    """Return the line of the part, or of its nearest existing ancestor."""
    node, path = root, mistake.path
    line = root.start_mark.line + 1 if root else None
    while node is not None and path:
        step = _step(node, path)
        if step is None:
            break
        line, node, path = step
    return line


def _step(node: yaml.Node, path: str) -> tuple[int, yaml.Node, str] | None:
    """Return (line, part, rest of the path) for the first part of a path; None if it is not there."""
    if isinstance(node, yaml.SequenceNode) and path.startswith("["):
        number, _, rest = path[1:].partition("]")
        if number.isdecimal() and int(number) < len(node.value):
            part = node.value[int(number)]
            return part.start_mark.line + 1, part, rest.removeprefix(".")
    if isinstance(node, yaml.MappingNode):
        # A label may have dots.
        keys = [(key, part) for key, part in node.value if _begins(path, str(key.value))]
        if keys:
            key, part = max(keys, key=lambda pair: len(pair[0].value))
            rest = path[len(key.value) :]
            return key.start_mark.line + 1, part, rest.removeprefix(".")
    return None


def _begins(path: str, key: str) -> bool:
    return path.startswith(key) and path[len(key) :][:1] in ("", ".", "[")
