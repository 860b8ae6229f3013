"""Several site files as one. Pure.

Example:
    value, mistakes = merge([("a.yaml", {"cameras": {"lobby": …}}), ("b.yaml", {"cameras": {"gate": …}})])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.contract.reading.mistakes import Mistake, join


def merge(files: Sequence[tuple[str, Any]]) -> tuple[Any, list[Mistake]]:
    """Return (the value, a mistake for each name that two files have). Named parts are joined, others stand once."""
    if len(files) == 1:
        return files[0][1], []
    merged: dict[str, Any] = {}
    found: list[Mistake] = []
    origin: dict[str, str] = {}
    for where, value in files:
        if not isinstance(value, dict):
            found.append(Mistake(where, "an object is expected, with 'cameras' or another section"))
            continue
        for section, part in value.items():
            before = merged.get(section)
            named = isinstance(part, dict) and section in ("cameras", "groups", "readers")
            names = [join(section, name) for name in part] if named else [section]
            for name in names:
                if name in origin:
                    found.append(Mistake(name, f"it is in {origin[name]} and in {where}: give it once"))
                origin.setdefault(name, where)
            merged[section] = {**before, **part} if named and isinstance(before, dict) else part
    return merged, found
