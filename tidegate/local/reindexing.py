"""Search's index, built again from EVENTS where it is gone: nobody has to see that and run `tidegate reindex`."""

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
        """Have all of EVENTS delivered again where the index has no beginning, though it had events.

        Search begins an index before it takes a first event. What can't be seen, asked or done now is tried at the next
        look: an index on a disk that does not answer is not gone.
        """
        with contextlib.suppress(BusError, OSError):
            if self._renewing or await self._is_lost(js):
                # It is deleted and made: one that was cut off in between is done again.
                self._renewing = True
                await topology.renew_consumer(js, load(topology.TopologySettings), names.EVENTS, SEARCH)
                self._renewing = False
                logger("stack").warning("the index of search is gone: it is built again from EVENTS", index=self._where)

    async def _is_lost(self, js: JetStreamContext) -> bool:
        if "://" in self._where or is_begun(self._where):
            return False
        done = (await bus.consumer_info(js, names.EVENTS, SEARCH)).ack_floor
        return bool(done and done.consumer_seq)
