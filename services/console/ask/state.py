"""State of the page Ask."""

from __future__ import annotations

from collections.abc import Callable

from services.console.ask.answer_stream import AnswerStream
from services.console.ask.queue_status import Workers
from services.console.ask.recent import Recent
from services.console.links.links import Links
from services.console.people.asker import Asker


class Ask:
    """current: the user with the rights they have now."""

    def __init__(self, links: Links, current: Callable[[Asker], Asker | None]) -> None:
        self.workers = Workers(links.viewer)
        self.stream = AnswerStream(links.operator, self.workers, current)
        self.recent = Recent(links.viewer)

    async def run(self) -> None:
        """Listen to the workers until cancelled."""
        await self.workers.run()
