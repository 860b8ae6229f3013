"""Checks on custom resources, whose published schemas let a misspelt field pass."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

Document = dict[str, Any]

# Below these, keys are arbitrary.
OPEN = ("annotations", "labels", "limits", "tags", "taints", "values")


@cache
def _published_fields(package: Path) -> frozenset[str]:
    """Every field that any kind of a package of @kubernetes-models has."""
    declared = (path.read_text() for path in package.rglob("*.d.ts"))
    return frozenset(name for text in declared for name in re.findall(r'^ {4}"(\w+)"\??:', text, re.MULTILINE))


def unknown_fields(package: Path, document: Document) -> list[str]:
    """The fields of a custom resource that no kind of its package has."""
    return [name for name in _fields(document["spec"]) if name not in _published_fields(package)]


def _fields(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for each in value for name in _fields(each)]
    if not isinstance(value, dict):
        return []
    return [*value, *(name for key, each in value.items() if key not in OPEN for name in _fields(each))]


def seconds(duration: str) -> int:
    """Of a duration as Go writes it: 1h30m, 90s."""
    units = {"h": 3600, "m": 60, "s": 1}
    assert re.fullmatch(r"(\d+[hms])+", duration), duration
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))
