"""The differences of two values, as text for people. Pure.

Example:
    differences({"fps": 2, "tiles": None}, {"fps": 5, "tiles": "2x1"})    # ["fps 5 (was 2)", "tiles 2x1"]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.contract.reading.mistakes import join
from shared.runtime.redact import redact


def differences(before: Any, after: Any) -> list[str]:
    """Return a text for each field that differs; fields of fields by their path. An absent field equals None."""
    was, now = _flat("", before), _flat("", after)
    return [
        f"{path} {shown(now.get(path))}" + ("" if was.get(path) is None else f" (was {shown(was[path])})")
        for path in {**now, **was}
        if now.get(path) != was.get(path)
    ]


def shown(value: object) -> str:
    """Return a value as text, without credentials."""
    match value:
        case None:
            return "not set"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(shown, value))
    return redact(str(value))


def _flat(path: str, value: Any) -> dict[str, Any]:
    """Return the leaves of a value by path. A list of plain values is one leaf."""
    if isinstance(value, Mapping):
        parts = [(join(path, key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        parts = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {path: value}
    return {at: leaf for part_path, item in parts for at, leaf in _flat(part_path, item).items()}
