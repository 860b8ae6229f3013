"""Mistakes in a text by hand, each with its line. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import yaml

from shared.contract.reading.handwritten import LOADER
from shared.contract.reading.mistakes import Mistake


class WrongPart(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake. path: `rules[2].zone`; empty for the whole. line: of the text, from 1; None if unknown."""

    path: str
    text: str
    line: int | None = None


def wrong_parts(text: str, mistakes: Iterable[Mistake]) -> list[WrongPart]:
    """Return the mistakes with their lines in the text, which may be invalid."""
    root = _composed(text)
    return [WrongPart(path=m.path, text=m.text, line=_line(root, m)) for m in mistakes]


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
