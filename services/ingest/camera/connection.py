"""One connection to a stream of a camera: a thread that opens it, reads it, and hands segments to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing

from services.ingest import metrics
from services.ingest.camera.opening import meet, open_source
from services.ingest.cutting.clock import Clock
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.failures import Failure, SourceError, failure_of
from services.ingest.settings import Cutting, Reaching
from services.ingest.streams import Stream
from shared.contract.cameras import Camera

# Reading a file at full speed waits while this many of its segments are unacknowledged.
_FILE_PIECES = 4
# Burst of segments: a network that was away for a minute or two delivers its backlog.
_BURST = 120.0
# A steady camera has one segment in each target length; with short GOPs, or clock corrections, somewhat more.
_PER_LENGTH = 4.0
_UNSTEADY = (
    "the camera's segments come too fast, as its timestamps run ahead or jump, or its picture's size keeps changing: "
    "restart the camera, and update its firmware"
)


class CameraConnection(threading.Thread):
    """Runs until the stream ends or `stop`.

    In the event loop's thread it calls `on_open` once the camera sends video, `on_piece` with each segment, and then
    sets `ended`. last_packet: the monotonic time of the newest packet.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        userinfo: str | None,
        cutting: Cutting,
        reaching: Reaching,
        on_open: Callable[[], None],
        on_piece: Callable[[Piece], None],
        stream: Stream = Stream.MEDIA,
    ) -> None:
        super().__init__(name=f"camera {name}", daemon=True)
        self.last_packet = time.monotonic()
        self._camera_id = name
        self._stream = stream
        self._labels = name, stream.value
        self._camera = camera
        self._userinfo = userinfo
        self._cutting = cutting
        self._reaching = reaching
        self._on_open = on_open
        self._on_piece = on_piece
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Failure] = self._loop.create_future()
        self._stop_requested = threading.Event()
        self._abandoned = False
        live = camera.realtime or not camera.is_file
        self._room = None if live else threading.Semaphore(_FILE_PIECES)
        self._rate_limit = SegmentRateLimit(cutting.segment_s, cutting.max_bytes)
        self._hasty = False

    def stop(self) -> None:
        """End after the current packet. What has been read is handed over first."""
        self._stop_requested.set()

    def abandon(self) -> None:
        """Give no more output. A thread that hangs in a read ends once libav's limit is over."""
        self._abandoned = True
        self._stop_requested.set()

    def piece_done(self) -> None:
        """Read on: a segment of the file has been stored or dropped."""
        if self._room:
            self._room.release()

    def run(self) -> None:
        try:
            failure = self._read()
        except Exception as e:  # A camera's data can harm this camera alone.
            failure = failure_of(e, self._camera, self._userinfo)
        self._notify(self.ended.set_result, failure)

    def _read(self) -> Failure:
        meet(self._camera, self._userinfo, self._reaching)
        self.last_packet = time.monotonic()
        with closing(open_source(self._camera, self._userinfo, self._reaching)) as source:
            self._notify(self._on_open)
            clock = source.clock()
            segmenter = Segmenter(self._camera_id, source.stream, self._cutting, clock, self._hand_over)
            try:
                for packet in source.packets(self._stop_requested):
                    if self._stop_requested.is_set():
                        break
                    self.last_packet = time.monotonic()
                    segmenter.push(packet, time.time())
                    if clock.reanchors or segmenter.dropped:
                        self._count(segmenter, clock)
                    if self._hasty:
                        raise SourceError("unsteady", _UNSTEADY)
            finally:
                segmenter.finish(time.time())
                self._count(segmenter, clock)
        if self._stop_requested.is_set():
            return Failure("stopped", "stopped")
        return Failure("ended", "the stream has ended")

    def _count(self, segmenter: Segmenter, clock: Clock) -> None:
        if self._abandoned:
            return
        metrics.REANCHORS.labels(*self._labels).inc(clock.reanchors)
        clock.reanchors = 0
        for cause, count in segmenter.dropped.items():
            metrics.DROPPED_FRAMES.labels(*self._labels, cause).inc(count)
        segmenter.dropped.clear()

    def _hand_over(self, piece: Piece) -> None:
        if self._abandoned:
            return
        while self._room and not self._room.acquire(timeout=0.5):
            self.last_packet = time.monotonic()
            if self._stop_requested.is_set():
                break
        if not self._room and not self._rate_limit.admits(piece.size, time.monotonic()):
            self._hasty = True
            metrics.DROPPED.labels(*self._labels, "unsteady").inc()
            return
        self._notify(self._on_piece, piece._replace(stream=self._stream))

    def _notify(self, callback: Callable[..., None], *args: Piece | Failure) -> None:
        def call() -> None:
            if not self._abandoned:
                callback(*args)

        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # The loop is closed, so the process ends.
            self.abandon()


class SegmentRateLimit:
    """Limits a camera's segments to the pace of real time. segment_s: length that they aim at. max_bytes: of one.

    If a camera's timestamps run away or jump, or its parameter sets change with each frame, each frame becomes a
    segment: hundreds of messages a second, and work for all of them.
    """

    def __init__(self, segment_s: float, max_bytes: int) -> None:
        self._per_second = _PER_LENGTH / segment_s
        self._max_bytes = max_bytes
        self._room = _BURST
        self._last: float | None = None

    def admits(self, size: int, now: float) -> bool:
        """Count a segment of `size` bytes. now: seconds, monotonic. False if too many have come."""
        if self._last is not None:
            self._room = min(_BURST, self._room + (now - self._last) * self._per_second)
        self._last = now
        # Segments cut by the byte limit are bounded by the camera's bit rate.
        if size * 2 < self._max_bytes:
            self._room -= 1
        return self._room >= 0
