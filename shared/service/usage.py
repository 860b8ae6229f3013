"""Stores a process's usage, every few minutes and at its end, and never blocks anything.

    keeper = Keeper(client, "cv", meter.take, every_s=600)
    task = asyncio.create_task(keeper.run())           # until cancelled
    await keeper.close()                               # the rest, within a second

Usage is no event: if it can't be stored immediately, for lack of a server, room or rights, it is dropped and counted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec
from nats.aio.client import Client
from prometheus_client import Counter

from shared import bus
from shared.contract import names
from shared.contract.work import usage
from shared.contract.work.usage import IngestUsage, WorkerUsage
from shared.runtime.errors import BusError
from shared.runtime.telemetry import logger

DROPPED = Counter("tidegate_usage_dropped_total", "messages on what was used that could not be stored", ["service"])

_PATIENCE_S = 10.0
_GOODBYE_S = 1.0


class Keeper:
    """take: returns the usage since its last call."""

    def __init__(
        self, client: Client, service: str, take: Callable[[], WorkerUsage | IngestUsage], *, every_s: float
    ) -> None:
        self._client = client
        self._service = service
        self._take = take
        self._every_s = every_s

    async def run(self) -> None:
        """Run until cancelled. The first interval is random, to spread processes that start together."""
        await asyncio.sleep(self._every_s * random.uniform(0.1, 1.0))  # noqa: S311 - no secret
        while True:
            # Usage during an outage is stored once the server is back.
            if self._client.is_connected:
                await self._store(self._take())
            await asyncio.sleep(self._every_s)

    async def close(self) -> None:
        """Store the rest, once the work has ended."""
        if not self._client.is_connected:
            return self._drop("the server is away")
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._store(msgspec.structs.replace(self._take(), is_last=True))
        except TimeoutError:
            self._drop("the server did not answer in time")

    async def _store(self, used: WorkerUsage | IngestUsage) -> None:
        to, id = names.usage(self._service), f"usage/{self._service}/{used.process}/{used.n}"
        try:
            await bus.publish(
                self._client,
                self._client.jetstream(),
                to,
                usage.encode(used),
                {"Nats-Msg-Id": id},
                patience_s=_PATIENCE_S,
                waits_for_room=False,
            )
        except BusError as e:
            self._drop(str(e))

    def _drop(self, why: str) -> None:
        DROPPED.labels(self._service).inc()
        logger("usage").debug("what was used is not stored", why=why)
