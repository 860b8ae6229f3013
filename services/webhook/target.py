"""An endpoint in use. Each has a breaker of its own: what a former one answered says nothing about it."""

from __future__ import annotations

import asyncio
import time

from services.webhook.endpoint import Endpoint, Failed, Names
from services.webhook.formats import FORMATS
from services.webhook.outgoing import Outgoing, read
from shared.contract.endpoint import EndpointSettings
from shared.runtime.backoff import Backoff, Breaker
from shared.worker.in_flight import Delivery

# An endpoint may request longer delays than ours, up to ten minutes.
PROBES = Backoff(first_s=1.0, longest_s=30.0, longest_requested_s=600.0)


class Target:
    """See the module. kinds: of events that it gets. paused: set while it fails, and once it is replaced."""

    def __init__(self, settings: EndpointSettings, *, timeout_s: float, names: Names) -> None:
        self.settings = settings
        self.where = settings.where
        self.kinds = frozenset(settings.events)
        self.breaker = Breaker(PROBES)
        self.opened_at = 0.0  # wall clock, seconds
        self.paused = asyncio.Event()
        self.replaced = asyncio.Event()
        self._endpoint = Endpoint(settings, timeout_s=timeout_s, names=names)
        self._endpoint.open()
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def request(self, delivery: Delivery) -> Outgoing:
        """Return the request of an event. Raises BadMessage if it is none."""
        return FORMATS[self.settings.format](read(delivery.subject, delivery.headers, delivery.data))

    async def post(self, outgoing: Outgoing) -> None:
        """Post as the endpoint does. Raises Failed."""
        self._requests += 1
        self._idle.clear()
        try:
            await self._endpoint.post(outgoing)
        finally:
            self._requests -= 1
            if not self._requests:
                self._idle.set()

    def failed(self, error: Failed, *, of: int, begun: float) -> bool:
        """Record a failed request; return whether it opened the breaker."""
        requested_s = error.requested_s if error.certain else None
        opens = self.breaker.failed(str(error), of=of, begun=begun, certain=error.certain, requested_s=requested_s)
        if opens:
            self.opened_at = time.time()
            self.paused.set()
        return opens

    def answered(self, begun: float) -> bool:
        """Record an answered request; return whether it closed the breaker."""
        closes = self.breaker.succeeded(begun)
        if closes and not self.replaced.is_set():
            self.paused.clear()
        return closes

    async def retire(self) -> None:
        """Begin no more requests, and close after those that run."""
        self.replaced.set()
        self.paused.set()
        try:
            await self._idle.wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """End its connections, and requests that run."""
        await self._endpoint.close()
