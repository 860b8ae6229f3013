"""Names for the site file: letters, digits, - and _, each once. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_MOST = 48


def tokens(names: Iterable[str]) -> dict[str, str]:
    """Return the token of each name: itself if it is one, else with other characters replaced, and a number."""
    found: dict[str, str] = {}
    used: set[str] = set()
    numbers: Counter[str] = Counter()
    ordered = sorted(dict.fromkeys(names), key=lambda name: (_token(name) != name, name))
    for name in ordered:
        base = token = _token(name)
        while token in used:
            numbers[base] += 1
            token = f"{base}-{numbers[base]}"
        used.add(token)
        found[name] = token
    return found


def _token(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:_MOST] or "_"
