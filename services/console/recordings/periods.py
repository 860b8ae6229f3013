"""The cameras with recordings, and their periods: polled for pages that offer clips."""

from __future__ import annotations

import asyncio
import datetime as dt

from shared.bus.client import Connection
from shared.bus.requests import NobodyAnswers
from shared.client import recordings
from shared.runtime.errors import TidegateError, connection_closed
from shared.runtime.telemetry import logger

EVERY_S = 60.0
# Retry interval without an answer: a recorder may start soon.
RETRY_S = 10.0


class RecordingPeriods:
    """See the module. client: the viewer's connection."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._spans: dict[str, tuple[dt.datetime, dt.datetime]] = {}
        self._log = logger("recordings")

    def has(self, camera: str, time: dt.datetime) -> bool:
        """Whether there may be a recording of a time: a camera's period may have holes."""
        since, until = self._spans.get(camera, (time, time))
        return since <= time < until

    async def run(self) -> None:
        """Run until cancelled. Raises BusError once the connection is closed."""
        while not self._client.is_closed:
            try:
                found = await recordings.totals(self._client)
                self._spans = {one.camera: (one.first, one.last) for one in found if one.first and one.last}
                await asyncio.sleep(EVERY_S)
            except NobodyAnswers:
                self._spans = {}
                await asyncio.sleep(RETRY_S)
            except TidegateError as e:
                self._log.debug("recordings not known", error=str(e))
                await asyncio.sleep(RETRY_S)
        raise connection_closed()
