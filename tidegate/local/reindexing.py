"""Rebuilds a lost search index from EVENTS: no user has to notice and run `tidegate reindex`."""

from __future__ import annotations

import contextlib

from nats.js import JetStreamContext

from services.search.lost import is_begun
from shared import bus
from shared.contract import names, topology
from shared.runtime.errors import BusError
from shared.runtime.settings import load
from shared.runtime.telemetry import logger

SEARCH = "search"


class Reindexing:
    """Call `look` every second or so. where: SEARCH_INDEX."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._renewing = False

    async def look(self, js: JetStreamContext) -> None:
        """Have all of EVENTS delivered again if the index is missing, though events were consumed.

        Search begins an index before it takes its first event. A failure is retried at the next look: an index on an
        unresponsive disk is not lost.
        """
        with contextlib.suppress(BusError, OSError):
            if self._renewing or await self._is_lost(js):
                # It is deleted and recreated: an interrupted attempt is repeated.
                self._renewing = True
                await topology.renew_consumer(js, load(topology.TopologySettings), names.EVENTS, SEARCH)
                self._renewing = False
                logger("stack").warning("the index of search is gone: it is built again from EVENTS", index=self._where)

    async def _is_lost(self, js: JetStreamContext) -> bool:
        if "://" in self._where or is_begun(self._where):
            return False
        done = (await bus.consumer_info(js, names.EVENTS, SEARCH)).ack_floor
        return bool(done and done.consumer_seq)
