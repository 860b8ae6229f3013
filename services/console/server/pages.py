"""The state of every page, in the order in which one uses another."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from services.console.ask.state import Ask
from services.console.cameras.state import Cameras
from services.console.console import Console
from services.console.feed.hub import Hub
from services.console.find.state import Find
from services.console.models.state import ModelsPage
from services.console.now.state import Now
from services.console.oidc.provider import Provider
from services.console.recordings.state import Recordings
from services.console.review.state import Review
from services.console.scaling.state import Scaling
from services.console.site.state import SitePage
from services.console.system.state import System
from services.console.video.state import Video


class Pages:
    """Each has the name of its folder: its routes get it as `page`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.feed = Hub(console.links.viewer)
        self.video = Video(console)
        self.cameras = Cameras(console, self.feed)
        self.now = Now(console, self.feed, self.cameras)
        self.recordings = Recordings(console)
        self.review = Review(console, self.feed, self.video, self.recordings)
        self.find = Find(console, self.recordings)
        self.ask = Ask(console, self.now)
        self.scaling = Scaling(console)
        self.models = ModelsPage(console, self.now)
        self.site = SitePage(console)
        self.system = System(console, self.video, self.now)
        self.oidc = Provider(console.settings)

    def running(self) -> list[Coroutine[Any, Any, None]]:
        """Return the background work, which runs as long as the console."""
        return [
            *(mirror.run() for mirror in self.console.mirrors.values()),
            self.feed.run(),
            self.video.decoders.run(),
            self.cameras.monitor.run(),
            self.now.monitor.run(),
            self.recordings.periods.run(),
            self.review.reader.run(),
            self.scaling.whatif.run(),
            self.site.applying.run(),
        ]
