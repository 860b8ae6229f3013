"""Runs one camera: its stream, or its substream and its main stream, under one lease and with one status."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from services.ingest import metrics
from services.ingest.camera.connection_limit import ConnectionLimit, Sign
from services.ingest.camera.status import Status
from services.ingest.camera.stop import Stop
from services.ingest.camera.stream_runner import ProcessParts, StreamRunner
from services.ingest.cutting.piece import Piece
from services.ingest.failures import Failure, one_connection
from services.ingest.streams import Stream
from shared.contract.cameras import Camera
from shared.contract.credentials import Login

_POLL_S = 0.1
# A process that takes over a camera waits for this long for its second stream, once it has video of the first.
_SECOND_S = 10.0
# The main stream of a camera that plays one stream at a time leaves the camera to the substream for this long.
_REST_S = {Sign.ENDS: 600.0, Sign.REFUSES: 30.0}


class CameraLease(NamedTuple):
    """A camera's lease, as its runner sees it.

    holds: whether this process may publish. is_owned: whether no other process has taken the camera, which then
    announces it. waits: whether another process has read it until now. start: record that we read it, each stream since
    a time in Unix seconds, or that we can't connect (None).
    """

    holds: Callable[[], bool]
    is_owned: Callable[[], bool]
    waits: Callable[[], bool]
    start: Callable[[float | None, Sequence[float]], object]


class Runner:
    """Runs a camera from `start` to `stop`. Everything is called in the event loop's thread.

    login: its credentials, or why there are none. tries: failed attempts in a row. last_cause: see `Status`.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        login: Login,
        parts: ProcessParts,
        lease: CameraLease,
        tries: int = 0,
        last_cause: str | None = None,
    ) -> None:
        self.name = name
        self.camera = camera
        self.login = login
        self.streams = [
            StreamRunner(name, stream, replace(camera, url=url, detect=None), secret, parts, self, tries)
            for stream, url, secret in _streams(camera, login.secret)
        ]
        self.status = Status(name, camera, login, parts.announcer, len(self.streams) > 1, last_cause)
        self._lease = lease
        self._is_announced = True
        self._limit = ConnectionLimit()
        # When each stream began, in Unix seconds; None if it can't connect.
        self._starts: dict[Stream, float | None] = {}
        # In monotonic seconds.
        self._main_rests_until = math.inf

    @property
    def tries(self) -> int:
        return min(stream.tries for stream in self.streams)

    @property
    def unreached_s(self) -> float:
        """Seconds since the last connection or start of any stream; 0 while one is connected."""
        return min(stream.unreached_s for stream in self.streams)

    @property
    def pending_bytes(self) -> int:
        """Bytes that are not stored yet."""
        return sum(stream.delivery.pending_bytes for stream in self.streams)

    def start(self) -> None:
        metrics.keep_series(self.name)
        for stream in self.streams:
            stream.start()

    async def stop(self, stop: Stop, flush_s: float) -> None:
        """Stop reading, publish our video for up to `flush_s`, drop the rest, and announce the reason, if any."""
        self._is_announced = stop.reason is not None
        stopping = (stream.stop(stop, stop.stores_until(n), flush_s) for n, stream in enumerate(self.streams))
        await asyncio.gather(*stopping)
        if stop.reason:
            self.status.stop(stop.reason)
        self.status.end()
        metrics.expire_series(self.name)

    def may_publish(self) -> bool:
        return self._lease.holds()

    async def until_may_connect(self, stream: Stream) -> None:
        """Wait while the substream needs the camera: it goes first, as a camera may play only one."""
        if stream is Stream.MAIN:
            while time.monotonic() < self._main_rests_until:
                await asyncio.sleep(_POLL_S)
        self._limit.begin(stream)

    def opened(self, stream: Stream) -> None:
        self._limit.opened(stream, time.monotonic())
        self._admit_main()

    def arrived(self, piece: Piece) -> None:
        self._record_start(piece.stream, piece.segment.start.timestamp())
        if self._is_announced and self._lease.is_owned():
            self.status.set_online(piece.stream, piece.segment)

    async def ended(self, stream: Stream, failure: Failure) -> Failure:
        self._admit_main()
        failure = self._explained(stream, failure)
        # Another process may give the camera back.
        while not self._lease.is_owned():
            await asyncio.sleep(_POLL_S)
        # A camera may refuse a second connection while another process has one: it is not offline.
        waited = self._lease.waits()
        self._record_start(stream, None)
        if not waited:
            self.status.set_offline(stream, failure)
        return failure

    def _explained(self, stream: Stream, failure: Failure) -> Failure:
        """Return why a stream ended, also if the camera plays one stream at a time: then the main stream makes room."""
        if len(self.streams) == 1:
            return failure
        self._limit.ended(stream, failure.cause, time.monotonic())
        sign = self._limit.explains(failure.cause)
        if sign is None:
            return failure
        if sign is Sign.ENDS or stream is Stream.MEDIA:
            self._main_rests_until = time.monotonic() + _REST_S[sign]
            self.streams[-1].let_go()
        return one_connection(failure, ends=sign is Sign.ENDS)

    def _admit_main(self) -> None:
        """Let the main stream connect, once the substream has connected or failed for the first time."""
        if self._main_rests_until == math.inf:
            self._main_rests_until = 0.0

    def _record_start(self, stream: Stream, at: float | None) -> None:
        """Record when a stream began, or that it can't. The previous process reads both until this is known of both."""
        if self._starts.get(stream) is None:
            self._starts[stream] = at
        began = [start for start in self._starts.values() if start is not None]
        is_late = bool(began) and time.time() - min(began) > _SECOND_S
        if len(self._starts) < len(self.streams) and not is_late:
            return
        if not began:
            self._lease.start(None, ())
            return
        first, *also = (self._starts.get(each.stream) or time.time() for each in self.streams)
        self._lease.start(first, also)


def _streams(camera: Camera, secret: str | None) -> list[tuple[Stream, str, str | None]]:
    """Return each stream of a camera with its URL and its credentials."""
    if camera.detect is None:
        return [(Stream.MEDIA, camera.url, secret)]
    # A password that is a part of the main stream's URL leads to no other path.
    userinfo = None if "://" in (secret or "") else secret
    return [(Stream.MEDIA, camera.detect, userinfo), (Stream.MAIN, camera.url, secret)]
