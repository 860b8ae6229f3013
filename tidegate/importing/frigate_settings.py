"""A camera's settings in a Frigate file: its own, and those of all cameras under them. Pure.

Example:
    settings = CameraSettings(document, "lobby", report)
    settings.number("detect", "fps")          # Found(value=5, path=("cameras", "lobby", "detect", "fps")), or None

Frigate merges objects field by field; of values and lists the camera's own wins.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tidegate.importing.report import NONE, Path, Report

_MISSING = object()


class Found(NamedTuple):
    value: Any
    path: Path


class CameraSettings:
    """The merged settings of one camera. A value of a wrong type becomes a row of the table, and counts as unset."""

    def __init__(self, document: dict[str, Any], camera: str, report: Report) -> None:
        self.camera = camera
        self.report = report
        self._document = document

    def find(self, *keys: str) -> Found | None:
        """Return the nearest value that is set."""
        for base in (("cameras", self.camera), ()):
            value: Any = self._document
            for key in (*base, *keys):
                value = value.get(key, _MISSING) if isinstance(value, dict) else _MISSING
            if value is not _MISSING and value is not None:
                return Found(value, (*base, *keys))
        return None

    def names(self, *keys: str) -> list[str]:
        """Return the names of the fields of an object, of the camera and of all."""
        found: dict[str, None] = {}
        for base in (("cameras", self.camera), ()):
            value: Any = self._document
            for key in (*base, *keys):
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, dict):
                found |= dict.fromkeys(value)
        return list(found)

    def number(self, *keys: str, least: float = 0, most: float = 1e9) -> Found | None:
        found = self.find(*keys)
        if found is None:
            return None
        value = found.value
        if isinstance(value, (bool, list, dict)):
            return self._unset(found, "a number is expected")
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return self._unset(found, "a number is expected")
        if not math.isfinite(value) or not least <= value <= most:
            return self._unset(found, f"a number from {least:g} to {most:g} is expected")
        return Found(value, found.path)

    def flag(self, *keys: str) -> Found | None:
        found = self.find(*keys)
        if found is None or isinstance(found.value, bool):
            return found
        word = str(found.value).lower() if isinstance(found.value, (str, int)) else ""
        if word in ("true", "on", "yes", "1", "false", "off", "no", "0"):
            return Found(word in ("true", "on", "yes", "1"), found.path)
        return self._unset(found, "true or false is expected")

    def text(self, *keys: str) -> Found | None:
        found = self.find(*keys)
        return found if found is None or isinstance(found.value, str) else self._unset(found, "a text is expected")

    def texts(self, *keys: str) -> Found | None:
        """Return a list of texts; a single one, with commas or without, becomes a list."""
        found = self.find(*keys)
        if found is None:
            return None
        value = [part.strip() for part in found.value.split(",")] if isinstance(found.value, str) else found.value
        if not isinstance(value, list) or any(not isinstance(part, str) or not 0 < len(part) <= 64 for part in value):
            return self._unset(found, "a list of names is expected")
        return Found(list(dict.fromkeys(value)), found.path)

    def _unset(self, found: Found, expected: str) -> Found | None:
        self.report.note(found.path, NONE, f"not read: {expected}")
        return None
