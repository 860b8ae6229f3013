"""Events that the server delivers again after a delay, and how to have them earlier: a second nak, without a delay.

The delay is for the endpoint that failed. Another endpoint shall not wait for it.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.runtime.telemetry import logger
from shared.worker.in_flight import Delivery


class _Waiting(NamedTuple):
    """reply: the subject that answers for the last delivery. until: monotonic seconds."""

    reply: str
    until: float


class Delayed:
    """See the module. The consumer's `max_ack_pending` bounds their number."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[int, _Waiting] = {}

    def add(self, delivery: Delivery, delay_s: float) -> None:
        """Record an event that was handed back with a delay."""
        now = time.monotonic()
        self._waiting = {seq: waiting for seq, waiting in self._waiting.items() if waiting.until > now}
        self._waiting[delivery.seq] = _Waiting(delivery.raw.reply, now + delay_s)

    def discard(self, delivery: Delivery) -> None:
        """Record that an event was delivered again."""
        self._waiting.pop(delivery.seq, None)

    async def release(self) -> None:
        """Have all of them delivered now. One whose nak is lost comes after its delay."""
        now, waiting = time.monotonic(), self._waiting
        self._waiting = {}
        try:
            for reply, until in waiting.values():
                if until > now:
                    await self._client.publish(reply, Msg.Ack.Nak)
        except nats.errors.Error as e:
            logger("webhook").debug("delayed events not released", error=repr(e))
