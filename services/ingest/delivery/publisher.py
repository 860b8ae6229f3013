"""Publishes segments until JetStream acknowledges them, with a bound on what is in flight over all cameras."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.ingest import metrics
from services.ingest.cutting.piece import Piece
from shared.bus import PUBLISH_TIMEOUT_S, UNACKNOWLEDGED, can_never_be_stored, header_bytes
from shared.contract import names
from shared.contract.segment import to_headers
from shared.runtime.backoff import Backoff
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger, traceparent_of, tracer

# Bytes in flight: what 80 cameras of 4 Mbit/s send in 0.6 s, if a message and its acknowledgement take 0.3 s each.
# The client has room for more while it reconnects, so that other publishers have room, too.
MAX_IN_FLIGHT = 24 * 1024 * 1024
# If this many bytes wait in the client, the network takes less than we send. With 24 MB there, lease renewals took 3 to
# 7 s on a link of 8 MB/s, and they time out after 1.7 s.
MAX_QUEUED = 2 * 1024 * 1024
DELAYS = Backoff(first_s=0.1, longest_s=2.0)
# Interval of checks whether the network has taken what waits for it.
_CONGESTED_POLL_S = 0.005
# Interval of checks whether sending is allowed again.
_POLL_S = 0.05
# A segment that waits longer is not explained by a busy moment.
_PATIENCE_S = 10.0
# The reason for waiting if no publish has failed.
_AWAY = "NATS is away, or does not store the leases of cameras: its disk may be full"


class Publisher:
    """Publishes segments. One for the process, so that the bound on what is in flight holds for all cameras."""

    def __init__(
        self, client: Client, js: JetStreamContext, on_stored: Callable[[Piece], None] = lambda piece: None
    ) -> None:
        """on_stored: called for each stored segment."""
        self._client = client
        self._js = js
        self._on_stored = on_stored
        self._in_flight = InFlightLimit(MAX_IN_FLIGHT, self._is_congested)
        self._trouble: str | None = None
        self._reason = _AWAY
        self._since: dict[str, float] = {}
        self._log = logger("publisher")

    async def send(self, piece: Piece, key_seq: int | None, allowed: Callable[[], bool]) -> int | None:
        """Publish a segment, however long it takes. Returns its stream sequence, or None if it can never be stored.

        key_seq: sequence of the segment that starts the GOP, for a dependent one. allowed: checked before each try;
        nothing is sent while it is false.
        """
        segment = piece.segment
        with tracer().start_as_current_span("ingest") as span:
            span.set_attribute("camera", segment.camera)
            span.set_attribute("segment", segment.message_id)
            headers = to_headers(segment)
            if key_seq is not None:
                headers["Key-Seq"] = str(key_seq)
            if traceparent := traceparent_of(span):
                headers["traceparent"] = traceparent
            self._since[segment.message_id] = time.monotonic()
            try:
                seq = await self._until_stored(piece, headers, allowed)
            finally:
                del self._since[segment.message_id]
        if seq is not None:
            metrics.PUBLISH.observe(max(0.0, time.time() - piece.cut))
            self._on_stored(piece)
        return seq

    def waiting(self) -> str | None:
        """Return why segments are not stored, None if they are. Sets the metric."""
        longest_s = time.monotonic() - min(self._since.values()) if self._since else 0.0
        metrics.WAITING.set(longest_s)
        return (
            None
            if longest_s < _PATIENCE_S
            else f"a segment has waited for {longest_s:.0f} s to be stored: {self._reason}"
        )

    async def _until_stored(self, piece: Piece, headers: dict[str, str], allowed: Callable[[], bool]) -> int | None:
        # The server's limit includes all headers: nats-py adds `Nats-Expected-Stream`, of less than 64 bytes.
        size = piece.size + header_bytes(headers) + 64
        tries = 0
        while True:
            if not self._may_send(allowed):
                await asyncio.sleep(_POLL_S)
                continue
            # Over the limit the server closes the client for good; another server may have another limit.
            if size > self._client.max_payload:
                return None
            try:
                async with self._in_flight.room(size):
                    # The wait for room may have been long.
                    if not self._may_send(allowed):
                        continue
                    ack = await self._js.publish(
                        piece.subject, piece.payload, stream=names.MEDIA, headers=headers, timeout=PUBLISH_TIMEOUT_S
                    )
            except nats.js.errors.APIError as e:
                if can_never_be_stored(e):
                    return None
                self._record_failure(f"jetstream_{e.err_code}", e.description or str(e))
            except nats.errors.ConnectionClosedError:
                raise
            except TimeoutError:
                self._record_failure("unacknowledged", UNACKNOWLEDGED)
            except (OSError, nats.errors.Error) as e:
                self._record_failure(type(e).__name__, redact(str(e)))
            else:
                self._record_success()
                return ack.seq
            tries += 1
            await asyncio.sleep(DELAYS.after(tries))

    def _may_send(self, allowed: Callable[[], bool]) -> bool:
        return allowed() and self._client.is_connected

    def _is_congested(self) -> bool:
        return self._client.is_connected and self._client.pending_data_size > MAX_QUEUED

    def _record_failure(self, cause: str, text: str) -> None:
        metrics.PUBLISH_ERRORS.labels(cause).inc()
        self._reason = text
        if cause != self._trouble:
            self._trouble = cause
            self._log.warning("JetStream does not take segments: cameras buffer", cause=cause, error=text)

    def _record_success(self) -> None:
        if self._trouble:
            self._log.info("JetStream takes segments again", after=self._trouble)
            self._trouble, self._reason = None, _AWAY


class InFlightLimit:
    """Room for `max_bytes` in flight to JetStream, first come, first served. A larger message goes alone.

    The further away the server is, the more is in flight: as much as cameras send in a round trip. is_congested:
    whether something already waits for the network. That has a tighter bound, as lease renewals queue behind it.
    """

    def __init__(self, max_bytes: int, is_congested: Callable[[], bool]) -> None:
        self._max_bytes = max_bytes
        self._is_congested = is_congested
        self._bytes = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[None]:
        """Wait for room for `size` bytes, and occupy it for the block."""
        async with self._turn:
            while self._bytes and self._bytes + size > self._max_bytes:
                self._freed.clear()
                await self._freed.wait()
            while self._is_congested():
                await asyncio.sleep(_CONGESTED_POLL_S)
            self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._freed.set()
