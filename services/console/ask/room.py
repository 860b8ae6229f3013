"""State of the page Ask."""

from __future__ import annotations

from collections.abc import Callable

from services.console.ask.asking import Asking
from services.console.ask.recent import Recent
from services.console.ask.waiting import Workers
from services.console.links.links import Links
from services.console.people.asker import Asker


class Ask:
    """current: the user with the rights they have now."""

    def __init__(self, links: Links, current: Callable[[Asker], Asker | None]) -> None:
        self.workers = Workers(links.viewer)
        self.asking = Asking(links.operator, self.workers, current)
        self.recent = Recent(links.viewer)

    async def run(self) -> None:
        """Listen to the workers until cancelled."""
        await self.workers.run()
