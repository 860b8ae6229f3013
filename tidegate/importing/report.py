"""The table of an import: each field of the input once, and what becomes of it. Pure.

Example:
    report = Report({"detect": {"fps": 5}})
    report.note(("detect", "fps"), MAPPED, "fps")
    report.rows()                              # [Row(field="detect.fps", status="mapped", text="fps")]

A field is a value, a list of plain values, or an empty list or object.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Path = tuple[str | int, ...]

MAPPED = "mapped"
APPROXIMATED = "approximated"
DEFAULT = "default anyway"
NONE = "no counterpart"
STATUSES = (MAPPED, APPROXIMATED, DEFAULT, NONE)
# A longer text of many cameras' differences is cut.
_MOST_TEXTS = 3
_MOST_NAME = 80


class Row(NamedTuple):
    """field: its path. status: of STATUSES. text: the field of the site file, the difference, or the replacement."""

    field: str
    status: str
    text: str


class Variable(NamedTuple):
    """A variable to set before the site is applied. purpose: in words."""

    name: str
    purpose: str


class Report:
    """Collects what becomes of each field. No value is in it, as any may be a password."""

    def __init__(self, value: Any) -> None:
        self._found: dict[Path, list[tuple[str, str]]] = {path: [] for path in leaves(value)}
        self._below: dict[Path, list[Path]] = {}
        for path in self._found:
            for length in range(len(path) + 1):
                self._below.setdefault(path[:length], []).append(path)
        self.notes: list[str] = []
        self._variables: dict[str, str] = {}

    def note(self, path: Path, status: str, text: str) -> None:
        """State what becomes of a field, or of every field below it. Several cameras may do so for a common field."""
        for leaf in [path] if path in self._found else self.below(path):
            entry = (status, text)
            if entry not in self._found[leaf]:
                self._found[leaf].append(entry)

    def rest(self, path: Path, status: str, text: str) -> None:
        """State what becomes of those fields below a path of which nothing is stated yet."""
        for leaf in self.below(path):
            if not self._found[leaf]:
                self._found[leaf].append((status, text))

    def remark(self, text: str) -> None:
        """Add a remark that concerns no field."""
        if text not in self.notes:
            self.notes.append(text)

    def variable(self, name: str, purpose: str) -> str:
        """Return a reference to a variable, which becomes one of those to set."""
        self._variables.setdefault(name, purpose)
        return f"${{{name}}}"

    @property
    def variables(self) -> list[Variable]:
        return [Variable(name, purpose) for name, purpose in sorted(self._variables.items())]

    def below(self, path: Path) -> list[Path]:
        return self._below.get(path, [])

    def open(self) -> Iterator[Path]:
        """Yield fields of which nothing is stated yet."""
        yield from (path for path, found in self._found.items() if not found)

    def rows(self) -> list[Row]:
        """Return a row for each field, in the order of the input."""
        return [Row(shown(path), *_merged(found)) for path, found in self._found.items()]


def _merged(found: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return (status, text) of a field that several cameras use: it is approximated where they differ."""
    if not found:
        return NONE, "not read"
    statuses = {status for status, _ in found}
    texts = [text for _, text in found]
    more = f"; and {len(texts) - _MOST_TEXTS} more" if len(texts) > _MOST_TEXTS else ""
    if MAPPED in statuses and statuses <= {MAPPED, DEFAULT}:
        status = MAPPED
    elif statuses & {MAPPED, APPROXIMATED}:
        status = APPROXIMATED
    else:
        status = NONE if NONE in statuses else DEFAULT
    return status, "; ".join(texts[:_MOST_TEXTS]) + more


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of rows of each status."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in STATUSES}


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each field."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    elif path:
        yield path


def shown(path: Path) -> str:
    """Return a path as text. A name with other characters than letters, digits, - and _ is in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            part = part if len(part) <= _MOST_NAME else f"{part[:_MOST_NAME]}…"
            name = part if re.fullmatch(r"[\w-]+", part) else repr(part)
            text += f".{name}" if text else name
    return text
