"""Publishes on `events.cameras.<camera>` when cameras go online and offline, in order, also after an outage."""

from __future__ import annotations

import asyncio
from collections import deque

from nats.aio.client import Client
from nats.js import JetStreamContext

from shared import bus
from shared.contract import events, names
from shared.contract.events import CameraStatus
from shared.runtime.errors import BusError
from shared.runtime.telemetry import logger

# Buffer this many of the newest events during an outage: they describe the current state.
_MOST_WAITING = 10_000


class Announcer:
    """Publishes camera events in order. One for the process."""

    def __init__(self, client: Client, js: JetStreamContext, process: str) -> None:
        self.process = process
        self._client = client
        self._js = js
        self._waiting: deque[CameraStatus] = deque(maxlen=_MOST_WAITING)
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._published = 0

    def announce(self, status: CameraStatus) -> None:
        """Queue an event for publishing; never wait."""
        self._waiting.append(status)
        self._emptied.clear()
        self._filled.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            while self._waiting:
                await self._publish(self._waiting.popleft())
            self._emptied.set()
            self._filled.clear()
            await self._filled.wait()

    async def flush(self, timeout_s: float) -> None:
        """Wait until every event is published, or the time is over."""
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout_s)
        except TimeoutError:
            pass

    async def _publish(self, status: CameraStatus) -> None:
        self._published += 1
        headers = events.headers(status, id=f"ingest/{self.process}/{self._published}", source=names.source("ingest"))
        try:
            await bus.publish(
                self._client, self._js, events.subject(status), events.encode(status), headers, patience_s=600
            )
        except BusError as e:
            logger("announcer").warning("a camera event was lost", camera=status.camera, error=str(e))
