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
    """The state of one camera. last_cause: the announced cause of being offline, None without one."""

    def __init__(self, name: str, camera: Camera, login: Login, announcer: Announcer, last_cause: str | None) -> None:
        self.last_cause = last_cause
        self._name = name
        self._camera = camera
        self._login = login
        self._announcer = announcer
        self._online = False
        self._log = logger("camera").bind(camera=name)

    def set_online(self, segment: Segment) -> None:
        """Announce that its video arrives, once."""
        if self._online:
            return
        self._online = True
        metrics.ONLINE.inc()
        s = segment
        self._log.info("camera online", codec=s.codec, width=s.width, height=s.height, epoch=s.epoch)
        more = {"epoch": s.epoch, "codec": s.codec, "width": s.width, "height": s.height}
        self._announce("online", self._with_warnings(VIDEO_ARRIVES), **more)

    def set_offline(self, failure: Failure) -> None:
        """Announce the failure once for each cause: a camera that is tried every few seconds repeats its failure."""
        if failure.cause == self.last_cause and not self._online:
            return
        self.end()
        self.last_cause = failure.cause
        reason = self._with_warnings(failure.reason) if failure.cause != "stopped" else failure.reason
        self._log.warning("camera offline", reason=reason)
        self._announce("offline", reason)

    def end(self) -> None:
        """Count it as online no longer."""
        if self._online:
            metrics.ONLINE.dec()
        self._online = False

    def _with_warnings(self, reason: str) -> str:
        """Add to a reason what the camera's operator should know, online or not."""
        unchecked = self._camera.url.startswith("rtsps:") and not self._camera.verify_tls
        doubt = (
            f"its certificate is not checked: 'tidegate camera set {self._name} --verify-tls' does" if unchecked else ""
        )
        return "; ".join(filter(None, [reason, doubt, self._login.withheld]))

    def _announce(self, state: str, reason: str, **more: object) -> None:
        # The path and query of a camera's address may contain a secret, under any name.
        url = self._camera.url
        public = redact(url) if self._camera.is_file else credentials.origin(url) or "rtsp://"
        status = CameraStatus(
            camera=self._name,
            time=dt.datetime.now(dt.UTC),
            state=state,  # type: ignore[arg-type]
            reason=reason,
            url=public,
            ingest=self._announcer.process,
            **more,  # type: ignore[arg-type]
        )
        self._announcer.announce(status)
