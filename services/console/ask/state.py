"""State of the page Ask."""

from __future__ import annotations

from services.console.ask.answer_stream import AnswerStream, Workers
from services.console.ask.recent import Recent
from services.console.console import Console
from services.console.now.state import Now


class Ask:
    """Questions and recent answers."""

    def __init__(self, console: Console, now: Now) -> None:
        self.console = console
        workers = Workers(console.links.viewer, now.monitor.bus.services["vlm"].fleet)
        self.stream = AnswerStream(console.links.operator, workers, console.current)
        self.recent = Recent(console.links.viewer)
