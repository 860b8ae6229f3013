"""The doors, a file a room. A lease has none: its value is compared, and never read."""

from __future__ import annotations

import importlib

from tests.fuzz.door import Door


def of(room: str) -> tuple[Door, ...]:
    """The doors of a room. Each is called `<room>.<what>`."""
    found: tuple[Door, ...] = importlib.import_module(f"{__name__}.{room}").DOORS
    return found
