"""The running parts of the page Now, which answer its requests.

now = Now(links.viewer, cameras, hub.taps, settings)
running = asyncio.create_task(now.run())
now.monitor.now(asker.sees)
"""

from __future__ import annotations

from nats.aio.client import Client

from services.console.now.history import History
from services.console.now.markers import Markers
from services.console.now.monitor import Cameras, SystemMonitor, Taps
from services.console.now.prometheus import Prometheus
from services.console.settings import ConsoleSettings


class Now:
    """See the module. client: the viewers' connection. cameras: their bucket. taps: callbacks for every event."""

    def __init__(self, client: Client, cameras: Cameras, taps: Taps, settings: ConsoleSettings) -> None:
        cost = settings.cost_per_hour
        self.monitor = SystemMonitor(client, cameras, taps, cost_per_hour=cost)
        prometheus = Prometheus(settings.prometheus_url) if settings.prometheus_url else None
        self.history = History(self.monitor.ring, prometheus, cost_per_hour=cost)
        self.markers = Markers(client, self.monitor)

    async def run(self) -> None:
        """Run until cancelled."""
        await self.monitor.run()
