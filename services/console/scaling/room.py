"""What the routes of the page Scaling share."""

from __future__ import annotations

from services.console.links.links import Links
from services.console.scaling.now import Now
from services.console.scaling.whatif import WhatIf


class Scaling:
    """now: what the scalers say. whatif: simulations that run, and those that ended."""

    def __init__(self, links: Links) -> None:
        self.now = Now(links.viewer)
        self.whatif = WhatIf()

    async def run(self) -> None:
        """Until cancelled; then no simulation runs."""
        await self.whatif.run()
