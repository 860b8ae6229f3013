"""Says of cameras whether their segments can be read, and which of those that can't are buried."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time

from nats.aio.client import Client

from shared import bus
from shared.contract import catalog, deadletters, events, names
from shared.contract.events import VideoStatus
from shared.runtime.errors import BadSegment, BusError, SettingError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger
from shared.worker import metrics
from shared.worker.service import Message
from shared.worker.unreadable import Trouble, UnreadableCameras

# What cameras send without an end. A job is asked for, and each of them has its own answer or dead letter.
_STREAMS = (names.MEDIA, names.EVENTS)


class StreamHealthReporter:
    """One for the worker. service: only one whose record publishes these events says them; all of them count."""

    def __init__(self, client: Client, service: str, replica: str) -> None:
        self._client = client
        self._js = client.jetstream()
        self._service = service
        self._replica = replica
        self._cameras = UnreadableCameras(time.time)
        self._process = secrets.token_hex(4)
        self._said = 0
        self._saying: set[asyncio.Task[None]] = set()
        self._may_say = _may_say(service)
        self._log = logger("worker")

    def failed(self, message: Message, error: Exception) -> bool:
        """Whether a message that failed is buried. One that is not has been counted, and needs no more than that."""
        if not isinstance(error, BadSegment) or message.stream not in _STREAMS:
            return True
        is_evidence = self._cameras.failed(_camera(message), error)
        # Somebody has asked for a replay, and shall see what comes of it.
        if is_evidence or deadletters.REPLAY_OF in message.headers:
            return True
        metrics.PASSED_OVER.labels(self._service).inc()
        return False

    def worked(self, message: Message) -> None:
        """A message could be prepared."""
        if message.stream in _STREAMS:
            self._cameras.worked(_camera(message))

    def say(self) -> None:
        """Publish what is due, beside the loop."""
        for trouble in self._cameras.due():
            told = {"camera": trouble.camera, "reason": trouble.reason, "segments": trouble.segments}
            self._log.warning(f"camera is {trouble.state}", **told)
            if self._may_say:
                task = asyncio.create_task(self._publish(self._event(trouble)))
                self._saying.add(task)
                task.add_done_callback(self._saying.discard)

    async def close(self) -> None:
        """What is not published by now is said by another replica, or no more."""
        await end(*self._saying)

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
        self._said += 1
        id = f"{self._service}/video/{self._process}/{self._said}"
        headers = events.headers(status, id=id, source=names.source(self._service))
        try:
            await bus.publish(self._client, self._js, events.subject(status), events.encode(status), headers)
        except BusError as e:
            self._log.warning("a camera's trouble was not said", camera=status.camera, error=str(e))


def _camera(message: Message) -> str:
    """`lobby` of `media.lobby` and `events.detections.lobby`."""
    return message.subject.rpartition(".")[2]


def _may_say(service: str) -> bool:
    try:
        return any(names.overlap(names.event(VideoStatus.kind, "*"), p) for p in catalog.find(service).publishes)
    except SettingError:
        return False
