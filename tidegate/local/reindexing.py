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


async def look(js: JetStreamContext, where: str) -> None:
    """Have all of EVENTS delivered again where the index has no beginning, though it had events. where: SEARCH_INDEX.

    Search begins an index before it takes a first event. What can't be asked or done now is tried at the next look.
    """
    if "://" in where or is_begun(where):
        return
    with contextlib.suppress(BusError):
        done = (await bus.consumer_info(js, names.EVENTS, SEARCH)).ack_floor
        if done and done.consumer_seq:
            await topology.renew_consumer(js, load(topology.TopologySettings), names.EVENTS, SEARCH)
            logger("stack").warning("the index of search is gone: it is built again from EVENTS", index=where)
