"""A camera's rules as they are stored, written and drawn: their YAML, and the mistakes with their lines. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from services.console.web.wrong_parts import WrongPart, wrong_parts
from shared.contract import rules as book
from shared.contract.reading.mistakes import Mistakes
from shared.contract.rules import Rules

_SCALARS = (str, int, float, bool, type(None))


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
    return DrawnRules(text=text, mistakes=wrong_parts(text, mistakes.all), error=str(mistakes))


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
