"""The data of the page System, cached for a moment for all viewers."""

from __future__ import annotations

from services.console.links.links import Links
from services.console.people.store import People
from services.console.settings import ConsoleSettings
from services.console.system.cached_value import CachedValue
from services.console.system.doctor import Doctor
from services.console.system.states import StreamState, states
from services.console.system.versions import Replicas, Versions, versions
from shared.bus.mirror import Mirror

_STATES_S = 1.0
_VERSIONS_S = 2.0


class System:
    """See the module."""

    def __init__(self, links: Links, settings: ConsoleSettings, cameras: Mirror, people: People) -> None:
        self._links = links
        self._replicas = Replicas(links.viewer)
        self.streams: CachedValue[list[StreamState]] = CachedValue(self._states, _STATES_S)
        self.versions: CachedValue[Versions] = CachedValue(self._versions, _VERSIONS_S)
        self.doctor = Doctor(links, settings, cameras, people, self.streams)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._replicas.run()

    async def _states(self) -> list[StreamState]:
        return await states(self._links.viewer, self._links.admin)

    async def _versions(self) -> Versions:
        return await versions(self._links.viewer, self._replicas.now())
