"""State of the page Now."""

from __future__ import annotations

from services.console.cameras.state import Cameras
from services.console.console import Console
from services.console.feed.hub import Hub
from services.console.now.markers import Markers
from services.console.now.monitor import SystemMonitor
from services.console.now.series.history import History
from services.console.now.series.prometheus import Prometheus


class Now:
    """The current state, its history, and markers of what happened."""

    def __init__(self, console: Console, feed: Hub, cameras: Cameras) -> None:
        client, settings = console.links.viewer, console.settings
        cost = settings.cost_per_hour
        self.console = console
        self.monitor = SystemMonitor(console, feed, cameras.monitor)
        prometheus = Prometheus(settings.prometheus_url) if settings.prometheus_url else None
        self.history = History(self.monitor.ring, prometheus, cost_per_hour=cost)
        self.markers = Markers(client, self.monitor)
