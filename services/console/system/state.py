"""State of the page System, cached for a moment for all viewers."""

from __future__ import annotations

from services.console.console import Console
from services.console.now.state import Now
from services.console.system.doctor import Doctor
from services.console.system.states import StreamState, states
from services.console.system.versions import Versions, versions, workers
from services.console.video.state import Video
from services.console.web.cached_value import CachedValue

_STATES_S = 1.0
_VERSIONS_S = 2.0


class System:
    """Streams, versions and checks."""

    def __init__(self, console: Console, video: Video, now: Now) -> None:
        self.console = console
        self.decoders = video.decoders
        self._services = now.monitor.bus.services.values()
        self.streams: CachedValue[list[StreamState]] = CachedValue(self._states, _STATES_S)
        self.versions: CachedValue[Versions] = CachedValue(self._versions, _VERSIONS_S)
        self.doctor = Doctor(console, self.streams)

    async def _states(self) -> list[StreamState]:
        return await states(self.console.links.viewer, self.console.links.admin)

    async def _versions(self) -> Versions:
        return await versions(self.console.links.viewer, workers(self._services))
