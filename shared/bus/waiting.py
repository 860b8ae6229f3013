"""A service waits for JetStream: while its servers elect a leader, or are too few, none can answer.

    source = await answered(client, health, lambda: in_flight.open("EVENTS", "webhook"))

Errors that waiting does not fix are raised immediately. A reply that a stream or consumer is missing is believed. Of
16,000 replies while servers were killed, lost their stores and came back, none was wrong (nats-server 2.15.1). On the
content of a stream a reply may be wrong: `shared/contract/reading/missing.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from shared.runtime.errors import BusError, Unanswered
from shared.runtime.telemetry import Health, logger

AGAIN_S = 1.0
# It is logged once, and then at this interval.
SAY_S = 60.0
# JetStream is switched off in this account, or on this server.
_OFF = (10039, 10076)

T = TypeVar("T")


async def answered(client: Client, health: Health, ask: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `ask` once JetStream answers. Meanwhile /readyz and the log say so, and /healthz passes.

    The caller cancels it when the service stops. Raises what `ask` does; Unanswered only if the connection is closed
    for good, or the server forbids this user to ask.
    """
    ready, say_at, log = health.ready, 0.0, logger("bus")
    while True:
        health.beat()
        try:
            found = await ask()
        except Unanswered as e:
            if client.is_closed or _may_not(client):
                raise
            health.ready = f"waiting for JetStream: {e}"
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + SAY_S
                log.warning("waiting for JetStream", error=str(e))
            await asyncio.sleep(AGAIN_S)
            continue
        if say_at:
            health.ready = ready
            log.info("JetStream answers")
        return found


def unanswered(what: str, error: Exception) -> BusError:
    """Return the error for a missing reply on `what`: Unanswered if a retry may help."""
    is_off = isinstance(error, APIError) and (error.code != 503 or error.err_code in _OFF)
    if is_off or isinstance(error, nats.errors.NoRespondersError):
        return BusError(f"JetStream does not answer for {what}: is it enabled, and may this user read it?")
    reason = (isinstance(error, APIError) and error.description) or repr(error)
    return Unanswered(f"no answer for {what}: has JetStream a leader, and may this user read it? ({reason})")


def _may_not(client: Client) -> bool:
    """Whether the server has denied the request. It reports that separately, and sends no reply."""
    return "permissions violation for publish" in str(client.last_error).lower()
