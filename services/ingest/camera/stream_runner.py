"""Runs one stream of a camera: keeps it connected, and publishes its segments."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, Protocol

from services.ingest import metrics
from services.ingest.camera.connect_queue import ConnectQueue
from services.ingest.camera.connection import CameraConnection
from services.ingest.camera.status import Announcer
from services.ingest.camera.stop import NOTHING, Stop
from services.ingest.cutting.piece import Piece
from services.ingest.delivery.camera_delivery import APART_S, CameraDelivery
from services.ingest.delivery.outbox import Outboxes
from services.ingest.delivery.publisher import Publisher
from services.ingest.failures import Failure
from services.ingest.settings import Cutting, IngestSettings, Reaching
from services.ingest.streams import Stream
from shared.contract.cameras import Camera
from shared.contract.memory import MB
from shared.runtime.backoff import Backoff
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger

# A segment's headers take at most this much, the traceparent included.
_HEADER_BYTES = 1024
_POLL_S = 0.1
# Grace for a connection to stop: a live camera's thread notices with the next packet.
_STOP_S = 1.0
# With this many threads hanging in a read, a camera does not reconnect until one of them has ended.
_MOST_HANGING = 2
# Jitter: cameras that went away together, as with their switch, must not reconnect together.
RECONNECTS = Backoff(first_s=0.5, longest_s=30.0, jitter=1.0)
# After this much video, a connection's end counts as a new failure: the delays restart.
HEALED_S = 30.0


class ProcessParts(NamedTuple):
    """What all cameras of a process share. max_payload: the server's limit on a message."""

    settings: IngestSettings
    max_payload: int
    publisher: Publisher
    outboxes: Outboxes
    connect_queue: ConnectQueue
    announcer: Announcer


class StreamOwner(Protocol):
    """The camera of a stream. All of it is called in the event loop's thread."""

    def may_publish(self) -> bool: ...

    async def until_may_connect(self, stream: Stream) -> None: ...

    def opened(self, stream: Stream) -> None: ...

    def arrived(self, piece: Piece) -> None: ...

    async def ended(self, stream: Stream, failure: Failure) -> Failure:
        """Return why it really ended."""
        ...


class StreamRunner:
    """Runs a stream from `start` to `stop`. Everything is called in the event loop's thread.

    camera: its settings, with the stream's own URL. secret: its credentials. tries: failed attempts in a row.
    """

    def __init__(
        self,
        name: str,
        stream: Stream,
        camera: Camera,
        secret: str | None,
        parts: ProcessParts,
        owner: StreamOwner,
        tries: int,
    ) -> None:
        self.stream = stream
        self.tries = tries
        self._name = name
        self._camera = camera
        self._secret = secret
        self._owner = owner
        settings = parts.settings
        buffer_bytes = int(settings.ingest_buffer_mb * MB)
        self.delivery = CameraDelivery(
            name, parts.publisher, parts.outboxes, buffer_bytes, owner.may_publish, self._on_piece_done, stream
        )
        self._reaching = Reaching(settings.ingest_timeout_s, settings.ingest_ca)
        self._cutting = Cutting(settings.ingest_segment_s, parts.max_payload - _HEADER_BYTES)
        self._connect_queue = parts.connect_queue
        self._connection: CameraConnection | None = None
        self._opening = False
        self._hanging: list[CameraConnection] = []
        # Unix seconds, up to which we have its video.
        self._reached = 0.0
        # Monotonic seconds.
        self._unreached_since: float | None = time.monotonic()
        self._first_piece_at: float | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._log = logger("camera").bind(camera=name, stream=stream.value)

    @property
    def unreached_s(self) -> float:
        """Seconds since its last connection or start; 0 while connected, and for a file that is played once."""
        if self._unreached_since is None or self._plays_once():
            return 0.0
        return time.monotonic() - self._unreached_since

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self.delivery.run()), asyncio.create_task(self._connect_for_ever())]

    def let_go(self) -> None:
        """End the present connection: the camera's other stream needs it."""
        if self._connection:
            self._connection.stop()

    async def stop(self, stop: Stop, until: float | None, flush_s: float) -> None:
        """Stop reading, publish our video for up to `flush_s`, and drop the rest. until: see `Stop.stores_until`."""
        delivering, connecting = self._tasks
        if until == NOTHING:
            self._abandon_connection()
        await end(connecting)
        if self._connection:
            await self._read_until(self._connection, until, min(_STOP_S, flush_s))
        self._abandon_connection()
        cause, is_ours = stop.dropped_as, until != NOTHING
        if is_ours and not stop.reason:
            is_ours = self.delivery.hand_over(until, cause)
        if is_ours:
            # No process has the video that is dropped from here on.
            cause = "stopped" if stop.reason else "lease_lost"
            # The delivery ends by itself if the connection to NATS is closed for good.
            flush = asyncio.create_task(self.delivery.flush())
            await asyncio.wait({flush, delivering}, timeout=flush_s, return_when=asyncio.FIRST_COMPLETED)
            await end(flush)
        await end(delivering)
        left = self.delivery.give_up(cause)
        if left and is_ours:
            self._log.warning("dropped what could not be stored in time: raise INGEST_GRACE_S", segments=left)

    async def _read_until(self, connection: CameraConnection, until: float | None, most_s: float) -> None:
        """Take what the connection reads until then, for up to `most_s`, and then what it has read. None: until now."""
        ended, deadline = connection.ended, time.monotonic() + most_s
        while until and self._reached < until - APART_S and not ended.done() and time.monotonic() < deadline:
            await asyncio.wait([ended], timeout=_POLL_S)
        if until is None or self._reached < until - APART_S:
            connection.stop()
            await asyncio.wait([ended], timeout=most_s)

    def _abandon_connection(self) -> None:
        """Ignore its further output: that would stay in the outbox for ever, or be announced."""
        if self._connection:
            self._connection.abandon()
            self._connection = None

    async def _connect_for_ever(self) -> None:
        while True:
            await self._owner.until_may_connect(self.stream)
            await self._connect_queue.begin(self.tries)
            self._opening, self._first_piece_at = True, None
            try:
                failure = await self._connect_once()
            finally:
                self._end_attempt(failed=True)
                self._unreached_since = self._unreached_since or time.monotonic()
            failure = await self._owner.ended(self.stream, failure)
            if failure.cause == "ended" and self._plays_once():
                return
            metrics.RECONNECTS.labels(self._name, self.stream.value, failure.cause).inc()
            is_healed = self._first_piece_at is not None and time.monotonic() - self._first_piece_at >= HEALED_S
            self.tries = 1 if is_healed else self.tries + 1
            wait = RECONNECTS.after(self.tries)
            self._log.debug("reconnecting", reason=failure.reason, wait_s=round(wait, 2))
            await asyncio.sleep(wait)
            while len(self._hanging) >= _MOST_HANGING:
                await asyncio.sleep(1.0)
                self._hanging = [c for c in self._hanging if c.is_alive()]

    async def _connect_once(self) -> Failure:
        connection = self._connection = CameraConnection(
            self._name,
            self._camera,
            self._secret,
            self._cutting,
            self._reaching,
            self._on_open,
            self._on_piece,
            self.stream,
        )
        try:
            connection.start()
        except RuntimeError as e:  # There are no more threads: there may be later.
            return Failure("error", f"its thread can't be started: {e}")
        timeout_s = self._reaching.timeout_s
        while not connection.ended.done():
            await asyncio.wait([connection.ended], timeout=min(1.0, timeout_s / 4))
            silent_s = time.monotonic() - connection.last_packet
            # libav's own limits come first. They don't cover name resolution, and data that trickles in.
            if silent_s > timeout_s * 1.2 and not connection.ended.done():
                connection.abandon()
                self._hanging = [c for c in [*self._hanging, connection] if c.is_alive()]
                return Failure("timeout", f"nothing has come from the camera for {silent_s:.0f} s: check its network")
        return connection.ended.result()

    def _end_attempt(self, *, failed: bool) -> None:
        if self._opening:
            self._opening = False
            self._connect_queue.end(failed=failed)

    def _plays_once(self) -> bool:
        return self._camera.is_file and not self._camera.loop

    def _on_open(self) -> None:
        self._unreached_since = None
        self._end_attempt(failed=False)
        self._owner.opened(self.stream)

    def _on_piece(self, piece: Piece) -> None:
        self._first_piece_at = self._first_piece_at or time.monotonic()
        self._reached = piece.segment.start.timestamp() + piece.segment.duration
        self.delivery.put(piece)
        self._owner.arrived(piece)

    def _on_piece_done(self) -> None:
        if self._connection:
            self._connection.piece_done()
