"""Reports whether cameras' segments can be read, and decides which unreadable ones are dead-lettered."""

from __future__ import annotations

import datetime as dt
import secrets
import time

from shared import bus
from shared.contract import catalog, deadletters, events, names
from shared.contract.events import VideoStatus
from shared.runtime.errors import BadSegment, BusError, SettingError
from shared.runtime.tasks import Background, end
from shared.runtime.telemetry import logger
from shared.worker import metrics
from shared.worker.extension import Extension
from shared.worker.extensions.unreadable import Trouble, UnreadableCameras
from shared.worker.loop import Loop
from shared.worker.service import Message, P, R

# The endless streams of cameras. Jobs are excluded: each has its own answer or dead letter.
_STREAMS = (names.MEDIA, names.EVENTS)


class StreamHealthReporter(Extension[P]):
    """A service publishes these events only if its catalog record has them; all services count."""

    def __init__(self, loop: Loop[P, R]) -> None:
        self._client = loop.client
        self._js = loop.client.jetstream()
        self._service = service = loop.service.name
        self._replica = loop.settings.replica
        self._cameras = UnreadableCameras(time.time)
        self._process = secrets.token_hex(4)
        self._published = 0
        self._publishing = Background()
        self._may_publish = _may_publish(service)
        self._log = logger("worker")

    def failed(self, message: Message, error: Exception) -> bool:
        """Return False for one of many failures that are alike: it is counted, which is enough."""
        if not isinstance(error, BadSegment) or message.stream not in _STREAMS:
            return True
        is_evidence = self._cameras.record_failure(_camera(message), error)
        # A user requested the replay, and shall see its result.
        if is_evidence or deadletters.REPLAY_OF in message.headers:
            return True
        metrics.UNREADABLE_SKIPPED.labels(self._service).inc()
        return False

    def prepared(self, message: Message, prepared: P) -> None:
        if message.stream in _STREAMS:
            self._cameras.record_success(_camera(message))

    async def beat(self) -> None:
        """Publish due reports, concurrently with the loop."""
        for trouble in self._cameras.due():
            details = {"camera": trouble.camera, "reason": trouble.reason, "segments": trouble.segments}
            self._log.warning(f"camera is {trouble.state}", **details)
            if self._may_publish:
                self._publishing.start(self._publish(self._event(trouble)))

    async def close(self) -> None:
        """Stop: another replica publishes what is left, or nobody does."""
        await end(*self._publishing.tasks)

    def _event(self, trouble: Trouble) -> VideoStatus:
        return VideoStatus(
            camera=trouble.camera,
            time=dt.datetime.now(dt.UTC),
            state=trouble.state,
            cause=trouble.cause,
            reason=trouble.reason,
            since=dt.datetime.fromtimestamp(trouble.since, dt.UTC),
            segments=trouble.segments,
            service=self._service,
            replica=self._replica,
        )

    async def _publish(self, status: VideoStatus) -> None:
        self._published += 1
        id = f"{self._service}/video/{self._process}/{self._published}"
        headers = events.headers(status, id=id, source=names.source(self._service))
        try:
            await bus.publish(
                self._client, self._client.jetstream(), events.subject(status), events.encode(status), headers
            )
        except BusError as e:
            self._log.warning("the event of an unreadable camera was not published", camera=status.camera, error=str(e))


def _camera(message: Message) -> str:
    """Return `lobby` for `media.lobby` and `events.detections.lobby`."""
    return message.subject.rpartition(".")[2]


def _may_publish(service: str) -> bool:
    try:
        return any(names.overlap(names.event(VideoStatus.kind, "*"), p) for p in catalog.find(service).publishes)
    except SettingError:
        return False
