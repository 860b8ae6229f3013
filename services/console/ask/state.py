"""State of the page Ask."""

from __future__ import annotations

from services.console.ask.answer_stream import AnswerStream
from services.console.ask.queue_status import Workers
from services.console.ask.recent import Recent
from services.console.console import Console


class Ask:
    """Questions, the workers that answer them, and recent answers."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.workers = Workers(console.links.viewer)
        self.stream = AnswerStream(console.links.operator, self.workers, console.current)
        self.recent = Recent(console.links.viewer)

    async def run(self) -> None:
        """Run until cancelled."""
        await self.workers.run()
