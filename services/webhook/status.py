"""How the endpoint does, in the bucket `webhook`, for `tidegate webhook status`."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
import nats.errors
from nats.aio.client import Client

from shared.contract import names
from shared.runtime.telemetry import logger

KEY = "status"
# The interval between two writes: the minimum, and the maximum, after which no process runs.
WRITE_S = 2.0
ALIVE_S = 10.0
MOST_TEXT = 500


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """As the process that wrote last has seen it. endpoint: without path and query, which may hold secrets; empty:
    there is none. endpoint_error: why the stored one is not used. events: the kinds that are sent. delivered_at,
    failed_at: of the last success and failure, Unix seconds; None: none yet. error: of that failure. retry_at: of the
    next probe, while the endpoint fails.
    """

    endpoint: str = ""
    endpoint_error: str = ""
    events: list[str] = []
    delivered_at: float | None = None
    failed_at: float | None = None
    error: str = ""
    retry_at: float | None = None


class StatusWriter:
    """Writes a status after it has changed, and every ALIVE_S. A failure to write is no failure of the webhook."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._status = Status()
        self._changed = asyncio.Event()
        self._is_known = False  # whether there is an endpoint: nothing is written before that is clear
        self._log = logger("webhook")

    def use(self, endpoint: str, events: list[str]) -> None:
        """Record another endpoint, empty for none: the last failure was not its."""
        self._set(
            endpoint=endpoint,
            events=events,
            endpoint_error="",
            delivered_at=None,
            failed_at=None,
            error="",
            retry_at=None,
        )

    def refuse(self, error: str) -> None:
        """Record why the stored endpoint is not used; empty: it is."""
        self._set(endpoint_error=error[:MOST_TEXT])

    def succeeded(self) -> None:
        """Record a delivery."""
        self._set(delivered_at=time.time(), retry_at=None)

    def failed(self, error: str, retry_at: float | None) -> None:
        """Record a failure. error: without secrets."""
        self._set(failed_at=time.time(), error=error[:MOST_TEXT], retry_at=retry_at)

    def _set(self, **changes: object) -> None:
        self._status = msgspec.structs.replace(self._status, **changes)
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ALIVE_S if self._is_known else None):
                    await self._changed.wait()
            self._is_known = True
            self._changed.clear()
            await self._write()
            await asyncio.sleep(WRITE_S)

    async def _write(self) -> None:
        value, subject = msgspec.json.encode(self._status), f"$KV.{names.WEBHOOK}.{KEY}"
        try:
            await self._client.jetstream().publish(subject, value)
        except (TimeoutError, nats.errors.Error) as e:
            self._log.debug("status not written", error=repr(e))
