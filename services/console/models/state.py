"""State of the page Models."""

from __future__ import annotations

from pathlib import Path

from services.console.console import Console
from services.console.models.library import Library
from services.console.now.state import Now


class ModelsPage:
    """library: the measured models. monitor: what runs."""

    def __init__(self, console: Console, now: Now) -> None:
        folder = console.settings.console_models
        self.console = console
        self.library = Library(Path(folder) if folder else None)
        self.monitor = now.monitor
