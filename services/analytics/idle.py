"""Waiting for the next event while nothing else can have results.

    idle = Idle(client, changed)
    await idle.wait(has_deadlines)      # after a step that found nothing to read

EVENTS republishes what it stores. After a subscription there we read once more: an event may have come before it.
"""

from __future__ import annotations

import asyncio
import time

from nats.aio.client import Client

from shared.bus.wakeups import Wakeups
from shared.contract import names
from shared.runtime.telemetry import logger
from shared.runtime.ticks import until_tick

# The interval between two reads of EVENTS, while deadlines may pass.
POLL_S = 0.1
# The same while only an event, or a change of a bucket, has results. It bounds what a lost wakeup costs.
REST_S = 5.0

REPUBLISHED = tuple(names.stored(names.event(kind, "*")) for kind in ("detections", "verdicts"))


class Idle:
    """See the module. changed: set when a bucket changes; it also ends the wait."""

    def __init__(self, client: Client, changed: asyncio.Event) -> None:
        self._wakeups = Wakeups(client)
        self._changed = changed
        self._listens = self._overslept = False
        self._is_notified = True

    def record_read(self) -> None:
        """Record that there was something to read: without a notification we may not listen, and poll from now on."""
        if self._overslept and not self._changed.is_set():
            self._is_notified = False
            logger("analytics").warning("no notification of a stored event: EVENTS is polled instead")
        self._overslept = False

    async def wait(self, *, may_rest: bool) -> None:
        """Wait for POLL_S; if we may rest and listen already, until something happens."""
        self._overslept = False
        listened, self._listens = self._listens, may_rest and self._is_notified
        if self._listens and listened:
            try:
                async with asyncio.timeout(until_tick(REST_S, time.time())):
                    await self._changed.wait()
            except TimeoutError:
                self._overslept = True
            else:
                self._listens = False
            return
        await asyncio.sleep(POLL_S)
        if self._listens:
            self._changed.clear()
            await self._wakeups.arm(REPUBLISHED, self._changed.set)
