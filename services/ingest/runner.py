"""Runs one camera: reconnects, publishes its segments, and announces when it goes online or offline."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable

from services.ingest import metrics
from services.ingest.announcer import Announcer
from services.ingest.connect_queue import ConnectQueue
from services.ingest.connection import Connection
from services.ingest.delivery import APART_S, HANDED_OVER, Delivery
from services.ingest.failures import Failure
from services.ingest.outbox import Outboxes
from services.ingest.publisher import Publisher
from services.ingest.segmenter import Piece
from services.ingest.settings import Cutting, IngestSettings, Reaching
from shared.bus.lease_state import Loss
from shared.contract import credentials
from shared.contract.cameras import Camera
from shared.contract.credentials import Login
from shared.contract.events import VIDEO_ARRIVES, CameraStatus
from shared.contract.memory import MB
from shared.runtime.backoff import Backoff
from shared.runtime.redact import redact
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


class Runner:
    """Runs a camera from `start` to `stop`. Everything is called in the event loop's thread.

    login: its credentials, or why there are none. max_payload: the server's limit on a message. allowed: checked before
    each try to publish.

    on_begin: called with the start of each segment, in Unix seconds, and with None if connecting fails. Returns whether
    another process has filmed the camera until now.

    leaving: another process has taken it, and has no video of it yet. It does not reconnect, and is not announced.

    last_cause, tries: the last announced cause of being offline, and failed attempts in a row; may be set before
    `start`.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        login: Login,
        settings: IngestSettings,
        max_payload: int,
        publisher: Publisher,
        outboxes: Outboxes[Piece],
        connect_queue: ConnectQueue,
        announcer: Announcer,
        allowed: Callable[[], bool],
        on_begin: Callable[[float | None], bool],
    ) -> None:
        self.name = name
        self.camera = camera
        self.login = login
        self._timeout_s = settings.ingest_timeout_s
        self._reaching = Reaching(settings.ingest_timeout_s, settings.ingest_ca)
        self._cutting = Cutting(settings.ingest_segment_s, max_payload - _HEADER_BYTES)
        self._connect_queue = connect_queue
        self._announcer = announcer
        self._delivery = Delivery(
            name, publisher, outboxes, int(settings.ingest_buffer_mb * MB), allowed, self._on_piece_done
        )
        self._connection: Connection | None = None
        self._opening = False
        # Unix seconds, up to which we have its video.
        self._reached = 0.0
        self._hanging: list[Connection] = []
        self._ended: asyncio.Future[Failure] | None = None
        self._online = False
        self.tries = 0
        self.leaving = False
        self._on_begin = on_begin
        self._unreached_since: float | None = time.monotonic()
        self.last_cause: str | None = None
        self._online_since = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._log = logger("camera").bind(camera=name)

    @property
    def unreached_s(self) -> float:
        """Seconds since its last connection or start; 0 while connected, and for a file that is played once."""
        if self._unreached_since is None or self._plays_once():
            return 0.0
        return time.monotonic() - self._unreached_since

    @property
    def has_unstored_video(self) -> bool:
        """Whether some video is not stored yet."""
        return self._delivery.pending_bytes > 0

    def start(self) -> None:
        metrics.keep_series(self.name)
        self._tasks = [asyncio.create_task(self._delivery.run()), asyncio.create_task(self._connect_for_ever())]

    async def stop(self, reason: str | None, flush_s: float, loss: Loss | None = None) -> None:
        """Stop reading, publish what was read for up to `flush_s`, and announce `reason`, unless it is None.

        loss: how another process got the camera: video from then on is dropped, and all of it if that process has had
        the camera all the time.
        """
        loss = loss or Loss()
        delivering, connecting = self._tasks
        cause = "stopped" if reason else HANDED_OVER if self.leaving or not loss.was_ours else "lease_lost"
        self.leaving = reason is None
        if not loss.was_ours:
            self._abandon_connection()
        await end(connecting)
        if self._connection and flush_s:
            await self._read_until(loss.until, min(_STOP_S, flush_s))
        self._abandon_connection()
        is_ours = reason is not None or (flush_s > 0 and loss.was_ours and self._delivery.hand_over(loss.until, cause))
        if is_ours:
            # No process has the video that is dropped from here on.
            cause = "stopped" if reason else "lease_lost"
        if is_ours and flush_s:
            # It ends by itself if the connection to NATS is closed for good.
            flush = asyncio.create_task(self._delivery.flush(flush_s))
            await asyncio.wait({flush, delivering}, return_when=asyncio.FIRST_COMPLETED)
            await end(flush)
        await end(delivering)
        left = self._delivery.give_up(cause)
        if left and is_ours:
            self._log.warning("dropped what could not be stored in time: raise INGEST_GRACE_S", segments=left)
        if reason:
            self._set_offline(Failure("stopped", reason))
        elif self._online:
            metrics.ONLINE.dec()
        metrics.expire_series(self.name)

    async def _read_until(self, until: float | None, most_s: float) -> None:
        """Take what the connection reads until then, for up to `most_s`, and then what it has read. None: until now."""
        assert self._connection and self._ended
        deadline = time.monotonic() + most_s
        while until and self._reached < until - APART_S and not self._ended.done() and time.monotonic() < deadline:
            await asyncio.wait([self._ended], timeout=_POLL_S)
        if until is None or self._reached < until - APART_S:
            self._connection.stop()
            await asyncio.wait([self._ended], timeout=most_s)

    def _abandon_connection(self) -> None:
        """Ignore its further output: that would stay in the outbox for ever, or be announced."""
        if self._connection:
            self._connection.abandon()
            self._connection = None

    def on_open(self, connection: Connection) -> None:
        if connection is self._connection:
            self._unreached_since = None
            self._end_attempt(failed=False)

    def on_piece(self, connection: Connection, piece: Piece) -> None:
        if connection is not self._connection:
            return
        start = piece.segment.start.timestamp()
        self._reached = start + piece.segment.duration
        self._delivery.put(piece)
        self._on_begin(start)
        if not self._online and not self.leaving:
            self._set_online(piece)

    def on_end(self, connection: Connection, failure: Failure) -> None:
        if connection is self._connection and self._ended and not self._ended.done():
            self._ended.set_result(failure)

    async def _connect_for_ever(self) -> None:
        while True:
            await self._connect_queue.begin(self.tries)
            self._opening = True
            try:
                failure = await self._connect_once()
            finally:
                self._end_attempt(failed=True)
                self._unreached_since = self._unreached_since or time.monotonic()
            while self.leaving:
                await asyncio.sleep(_POLL_S)
            online_s = time.monotonic() - self._online_since if self._online else 0.0
            # A camera may refuse a second connection while another process has one: it is not offline.
            if not self._on_begin(None):
                self._set_offline(failure)
            if failure.cause == "ended" and self._plays_once():
                return
            metrics.RECONNECTS.labels(self.name, failure.cause).inc()
            self.tries = 1 if online_s >= HEALED_S else self.tries + 1
            wait = RECONNECTS.after(self.tries)
            self._log.debug("reconnecting", reason=failure.reason, wait_s=round(wait, 2))
            await asyncio.sleep(wait)
            while len(self._hanging) >= _MOST_HANGING:
                await asyncio.sleep(1.0)
                self._hanging = [c for c in self._hanging if c.is_alive()]

    async def _connect_once(self) -> Failure:
        self._ended = asyncio.get_running_loop().create_future()
        connection = self._connection = Connection(
            self.name, self.camera, self.login.secret, self._cutting, self._reaching, self
        )
        try:
            connection.start()
        except RuntimeError as e:  # There are no more threads: there may be later.
            return Failure("error", f"its thread can't be started: {e}")
        while True:
            done, _ = await asyncio.wait([self._ended], timeout=min(1.0, self._timeout_s / 4))
            if done:
                return self._ended.result()
            silent_s = time.monotonic() - connection.last_packet
            # libav's own limits come first. They don't cover name resolution, and data that trickles in.
            if silent_s > self._timeout_s * 1.2:
                connection.abandon()
                self._hanging = [c for c in [*self._hanging, connection] if c.is_alive()]
                return Failure("timeout", f"nothing has come from the camera for {silent_s:.0f} s: check its network")

    def _end_attempt(self, *, failed: bool) -> None:
        if self._opening:
            self._opening = False
            self._connect_queue.end(failed=failed)

    def _plays_once(self) -> bool:
        return self.camera.is_file and not self.camera.loop

    def _on_piece_done(self) -> None:
        if self._connection:
            self._connection.piece_done()

    def _set_online(self, piece: Piece) -> None:
        self._online, self._online_since = True, time.monotonic()
        metrics.ONLINE.inc()
        s = piece.segment
        self._log.info("camera online", codec=s.codec, width=s.width, height=s.height, epoch=s.epoch)
        self._announcer.announce(
            self._status(
                "online",
                self._with_warnings(VIDEO_ARRIVES),
                epoch=s.epoch,
                codec=s.codec,
                width=s.width,
                height=s.height,
            )
        )

    def _set_offline(self, failure: Failure) -> None:
        """Announce the failure once for each cause: a camera that is tried every few seconds repeats its failure."""
        if failure.cause == self.last_cause and not self._online:
            return
        if self._online:
            metrics.ONLINE.dec()
        self._online, self.last_cause = False, failure.cause
        reason = self._with_warnings(failure.reason) if failure.cause != "stopped" else failure.reason
        self._log.warning("camera offline", reason=reason)
        self._announcer.announce(self._status("offline", reason))

    def _with_warnings(self, reason: str) -> str:
        """Add to a reason what the camera's operator should know, online or not."""
        unchecked = self.camera.url.startswith("rtsps:") and not self.camera.verify_tls
        doubt = (
            f"its certificate is not checked: 'tidegate camera set {self.name} --verify-tls' does" if unchecked else ""
        )
        return "; ".join(filter(None, [reason, doubt, self.login.withheld]))

    def _status(self, state: str, reason: str, **more: object) -> CameraStatus:
        return CameraStatus(
            camera=self.name,
            time=dt.datetime.now(dt.UTC),
            state=state,  # type: ignore[arg-type]
            reason=reason,
            url=_public(self.camera),
            ingest=self._announcer.process,
            **more,  # type: ignore[arg-type]
        )


def _public(camera: Camera) -> str:
    """Return a camera's public address: its path and query may contain a secret, under any name."""
    return redact(camera.url) if camera.is_file else credentials.origin(camera.url) or "rtsp://"
