"""Announces on `events.cameras.<camera>` when a camera goes online or offline, in order, also after an outage."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import deque

from nats.aio.client import Client
from nats.js import JetStreamContext

from services.ingest import metrics
from services.ingest.failures import Failure
from services.ingest.streams import Stream
from shared import bus
from shared.contract import credentials, events, names
from shared.contract.cameras import Camera
from shared.contract.credentials import Login
from shared.contract.events import VIDEO_ARRIVES, CameraStatus
from shared.contract.segment import Segment
from shared.runtime.errors import BusError
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

# Buffer this many of the newest events during an outage: they describe the current state.
_MOST_WAITING = 10_000
# The state of a stream that is not offline, next to the causes of those that are.
_ONLINE, _UNKNOWN = "online", "unknown"


class Announcer:
    """Publishes the events of all cameras in order. One for the process."""

    def __init__(self, client: Client, js: JetStreamContext, process: str) -> None:
        self.process = process
        self._client = client
        self._js = js
        self._waiting: deque[CameraStatus] = deque(maxlen=_MOST_WAITING)
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._published = 0

    def announce(self, status: CameraStatus) -> None:
        """Queue an event for publishing; never wait."""
        self._waiting.append(status)
        self._emptied.clear()
        self._filled.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            while self._waiting:
                await self._publish(self._waiting.popleft())
            self._emptied.set()
            self._filled.clear()
            await self._filled.wait()

    async def flush(self, timeout_s: float) -> None:
        """Wait until every event is published, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._emptied.wait()

    async def _publish(self, status: CameraStatus) -> None:
        self._published += 1
        headers = events.headers(status, id=f"ingest/{self.process}/{self._published}", source=names.source("ingest"))
        try:
            await bus.publish(
                self._client, self._js, events.subject(status), events.encode(status), headers, patience_s=600
            )
        except BusError as e:
            logger("announcer").warning("a camera event was lost", camera=status.camera, error=str(e))


class Status:
    """The state of one camera, which is that of the video that is analysed. Its reason includes the main stream's.

    has_main: whether it has a main stream next to its substream. last_cause: the announced causes of being offline, of
    each stream; None without one.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        login: Login,
        announcer: Announcer,
        has_main: bool,
        last_cause: str | None,
    ) -> None:
        self._streams = [Stream.MEDIA, Stream.MAIN] if has_main else [Stream.MEDIA]
        causes = last_cause.split() if last_cause else []
        self._announced = dict(zip(self._streams, causes, strict=False))
        # The last segment of each stream that is online, and why the others are offline.
        self._online: dict[Stream, Segment] = {}
        self._failures: dict[Stream, Failure] = {}
        self._name = name
        self._camera = camera
        self._login = login
        self._announcer = announcer
        self._is_counted = False
        self._log = logger("camera").bind(camera=name)

    @property
    def last_cause(self) -> str | None:
        if not self._announced:
            return None
        return " ".join(self._announced.get(stream, _UNKNOWN) for stream in self._streams)

    def set_online(self, stream: Stream, segment: Segment) -> None:
        """Announce that the video of a stream arrives, once."""
        if stream in self._online:
            return
        self._failures.pop(stream, None)
        self._online[stream] = segment
        s = segment
        text = "camera online" if stream is Stream.MEDIA else "main stream online"
        self._log.info(text, codec=s.codec, width=s.width, height=s.height, epoch=s.epoch)
        self._count()
        self._announce_change(stream, _ONLINE)

    def set_offline(self, stream: Stream, failure: Failure) -> None:
        """Announce a failure once for each cause: a camera that is tried every few seconds repeats its failure."""
        self._online.pop(stream, None)
        self._failures[stream] = failure
        self._count()
        if self._announced.get(stream) != failure.cause:
            text = "camera offline" if stream is Stream.MEDIA else "main stream offline"
            self._log.warning(text, reason=self._with_warnings(failure.reason))
        self._announce_change(stream, failure.cause)

    def stop(self, reason: str) -> None:
        """Announce that this process reads it no longer."""
        self.end()
        self._log.warning("camera offline", reason=reason)
        self._announce("offline", reason)

    def end(self) -> None:
        """Count its streams no longer."""
        self._online.clear()
        self._failures.clear()
        self._count()

    def _count(self) -> None:
        """Update the gauges by what has changed of this camera."""
        is_online = Stream.MEDIA in self._online
        if is_online != self._is_counted:
            metrics.ONLINE.inc(1 if is_online else -1)
            self._is_counted = is_online
        if Stream.MAIN in self._streams:
            metrics.MAIN_OFFLINE.labels(self._name).set(Stream.MAIN in self._failures)

    def _announce_change(self, stream: Stream, state: str) -> None:
        """Announce the camera's state if that of a stream has changed. The main stream's alone is no state of it."""
        if self._announced.get(stream) == state:
            return
        self._announced[stream] = state
        if Stream.MEDIA in self._online:
            s = self._online[Stream.MEDIA]
            more = {"epoch": s.epoch, "codec": s.codec, "width": s.width, "height": s.height}
            self._announce("online", self._with_warnings(self._reason(VIDEO_ARRIVES)), **more)
        elif Stream.MEDIA in self._failures:
            self._announce("offline", self._with_warnings(self._reason(self._failures[Stream.MEDIA].reason)))

    def _reason(self, of_media: str) -> str:
        """Return the reason of the camera's state, with that of a main stream that differs."""
        failure = self._failures.get(Stream.MAIN)
        if failure is None and Stream.MEDIA in self._failures and Stream.MAIN in self._online:
            return f"its substream: {of_media}; its main stream arrives"
        if failure is None or failure.reason == of_media:
            return of_media
        return f"{'' if of_media == VIDEO_ARRIVES else 'its substream: '}{of_media}; its main stream: {failure.reason}"

    def _with_warnings(self, reason: str) -> str:
        """Add to a reason what the camera's operator should know, online or not."""
        unchecked = self._camera.url.startswith("rtsps:") and not self._camera.verify_tls
        doubt = (
            f"its certificate is not checked: 'tidegate camera set {self._name} --verify-tls' does" if unchecked else ""
        )
        return "; ".join(filter(None, [reason, doubt, self._login.withheld]))

    def _main(self) -> str | None:
        if Stream.MAIN in self._failures:
            return "offline"
        return "online" if Stream.MAIN in self._online else None

    def _announce(self, state: str, reason: str, **more: object) -> None:
        # The path and query of a camera's address may contain a secret, under any name.
        url = self._camera.url
        public = redact(url) if self._camera.is_file else credentials.origin(url) or "rtsp://"
        status = CameraStatus(
            camera=self._name,
            time=dt.datetime.now(dt.UTC),
            state=state,  # type: ignore[arg-type]
            reason=reason,
            main=self._main(),  # type: ignore[arg-type]
            url=public,
            ingest=self._announcer.process,
            **more,  # type: ignore[arg-type]
        )
        self._announcer.announce(status)
