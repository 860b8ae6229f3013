"""The present state, gathered for the live view and for the report after a run.

    async with Monitor(admin, lambda: stack.autoscaler.state) as monitor:
        monitor.snapshot()      # present cameras, workers and queue
        monitor.samples         # their history, twice a second

This costs the video path nothing: it counts segments by their headers, which JetStream sends without the payload.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from shared.client.rates import Latencies, Latest, Rate
from shared.contract import cameras, events, names, segment
from shared.contract.events import CameraStatus, Detections, VideoStatus
from shared.contract.work import stats
from shared.contract.work.stats import WorkerStats
from shared.runtime.errors import BadMessage, BusError, SettingError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger
from tidegate.local.scaling.autoscaler import ScalerState

SAMPLE_S = 0.5
# Over an hour of `tidegate up`; far more than the demo's minutes and a half.
MOST_SAMPLES = 10_000
# A worker that is silent for this long has ended.
SILENCE_S = 3.0
# Maximum workers shown: their names come from their own messages.
MOST_WORKERS = 500
# The time for a server that is unreachable at the start.
PATIENCE_S = 30.0

T = TypeVar("T")


class CameraNow(msgspec.Struct, frozen=True, kw_only=True):
    """state: `connecting`, `online`, `unreadable`, `offline` or `disabled`. Rates in frames a second, latencies in
    seconds.

    fps_wanted: analysed without a capacity shortage. seen: objects of the latest analysed frame, by label; empty once
    analysis has stopped. p50, p99: from a frame's wall clock to its event's arrival.
    """

    id: str
    state: str
    reason: str
    fps_in: float
    fps_analysed: float
    fps_wanted: float = 0.0
    seen: dict[str, int]
    p50: float | None
    p99: float | None


class WorkerNow(msgspec.Struct, frozen=True, kw_only=True):
    """busy: fraction of the last seconds in which its device computed, 0 to 1."""

    replica: str
    state: str
    busy: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One instant. at: seconds since the monitor began. Rates in segments a second. deferred: fraction of frames.

    needed: workers, if these are more than the maximum; else 0.
    """

    at: float
    segments_in: float
    segments_out: float
    pending: int | None
    ack_pending: int | None
    desired: int
    replicas: int
    cameras_online: int
    deferred: float = 0.0
    needed: int = 0


class SystemNow(msgspec.Struct, frozen=True, kw_only=True):
    """cameras: in the order of arrival."""

    cameras: list[CameraNow]
    workers: list[WorkerNow]
    scaler: ScalerState
    latest: Sample


class _Camera:
    def __init__(self) -> None:
        self.enabled = True
        self.status: CameraStatus | None = None
        self.video: VideoStatus | None = None
        self.frames_in = Rate()
        self.frames_analysed = Rate()
        self.frames_wanted = Rate()
        self.latencies = Latencies()
        self.seen = Latest()

    def detected(self, event: Detections, at: float, wall: float) -> None:
        self.frames_analysed.add(at, len(event.frames))
        self.frames_wanted.add(at, frames_wanted(event))
        for frame in event.frames:
            self.latencies.add(at, wall - frame.time.timestamp())
        if event.frames:
            labels = dict(Counter(o.label for o in event.frames[-1].objects).most_common())
            self.seen.add(at, labels, start=event.start.timestamp(), duration=event.duration)

    def now(self, id: str, at: float) -> CameraNow:
        state: str = "disabled" if not self.enabled else self.status.state if self.status else "connecting"
        online = state == "online"
        reason = self.status.reason if self.status and state == "offline" else ""
        if online and self.video and self.video.lasts(dt.datetime.now(dt.UTC)):
            state, reason = self.video.state, self.video.reason
        return CameraNow(
            id=id,
            state=state,
            reason=reason,
            fps_in=self.frames_in.per_second(at),
            fps_analysed=self.frames_analysed.per_second(at),
            fps_wanted=self.frames_wanted.per_second(at),
            seen=self.seen.now(at) if online else {},
            p50=self.latencies.quantile(0.50, at),
            p99=self.latencies.quantile(0.99, at),
        )


def frames_wanted(event: Detections) -> int:
    """Return how many frames were wanted."""
    return event.quality.frames_wanted(len(event.frames)) if event.quality else len(event.frames)


class _Worker:
    """The busy fraction between two heartbeats some seconds apart."""

    def __init__(self) -> None:
        self.busy = Rate(window_s=4.0)
        self.last: WorkerStats | None = None
        self.at = 0.0

    def beat(self, beat: WorkerStats, at: float) -> None:
        # A restarted worker counts from zero again.
        gained = beat.busy_s - self.last.busy_s if self.last and self.last.pid == beat.pid else 0.0
        self.busy.add(at, max(0.0, gained))
        self.last, self.at = beat, at

    def now(self, replica: str, at: float) -> WorkerNow:
        state = self.last.state if self.last else "loading"
        return WorkerNow(replica=replica, state=state, busy=min(1.0, self.busy.per_second(at)))


async def _answered(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return the server's answer to `ask`, retried while it is unreachable: a dead server is restarted.

    Raises BusError after PATIENCE_S.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except NotFoundError:
            raise
        except (TimeoutError, nats.errors.Error) as e:
            if time.monotonic() >= deadline:
                raise BusError(f"JetStream has not answered for {PATIENCE_S:.0f} s: see the log of its server") from e
            await asyncio.sleep(SAMPLE_S)


class Monitor:
    """See the module. client: one that may read everything. scaler: the autoscaler's last state."""

    def __init__(self, client: Client, scaler: Callable[[], ScalerState]) -> None:
        self._client = client
        self._js = client.jetstream()
        self._scaler = scaler
        self._cameras: dict[str, _Camera] = {}
        self._statuses: dict[str, CameraStatus] = {}
        self._videos: dict[str, VideoStatus] = {}
        self._workers: dict[str, _Worker] = {}
        self._segments_in = Rate()
        self._segments_out = Rate()
        self._frames_analysed = Rate()
        self._frames_wanted = Rate()
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriptions: list[Any] = []
        self._log = logger("monitor")
        self._began = time.monotonic()
        # Wall clock of the samples' zero, Unix seconds.
        self.began = time.time()
        self.samples: list[Sample] = []

    async def __aenter__(self) -> Monitor:
        self._subscriptions = [
            await self._follow("media.>", self._segment, DeliverPolicy.NEW, headers_only=True),
            await self._follow("events.cameras.>", self._status, DeliverPolicy.LAST_PER_SUBJECT),
            await self._follow("events.video.>", self._video, DeliverPolicy.LAST_PER_SUBJECT),
            await self._client.subscribe("events.detections.>", cb=self._on(self._detections)),
            await self._client.subscribe(names.stats("cv", ">"), cb=self._on(self._beat)),
        ]
        self._tasks = [asyncio.create_task(self._watch_cameras()), asyncio.create_task(self._sample())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(*self._tasks)
        for subscription in self._subscriptions:
            with suppress(TimeoutError, nats.errors.Error, NotFoundError):
                await subscription.unsubscribe()

    async def _follow(
        self, subject: str, handle: Callable[[Msg], None], policy: DeliverPolicy, headers_only: bool | None = None
    ) -> Any:
        """Subscribe to what JetStream stores of `subject`."""
        callback = self._on(handle)

        def ask() -> Coroutine[Any, Any, Any]:
            config = ConsumerConfig(deliver_policy=policy, headers_only=headers_only)
            return self._js.subscribe(subject, cb=callback, ordered_consumer=True, config=config)

        return await _answered(ask)

    @property
    def elapsed(self) -> float:
        """Return seconds since the monitor began."""
        return time.monotonic() - self._began

    def snapshot(self) -> SystemNow:
        at = time.monotonic()
        for replica, worker in list(self._workers.items()):
            if at - worker.at > SILENCE_S:
                del self._workers[replica]
        return SystemNow(
            cameras=[camera.now(id, at) for id, camera in self._cameras.items()],
            workers=[worker.now(replica, at) for replica, worker in sorted(self._workers.items())],
            scaler=self._scaler(),
            latest=self._instant(),
        )

    def _on(self, take: Callable[[Msg], None]) -> Callable[[Msg], Coroutine[Any, Any, None]]:
        """Wrap a handler: an unreadable message is another program's, and no reason to stop."""

        async def receive(message: Msg) -> None:
            try:
                take(message)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadMessage) as e:
                self._log.debug("not understood", subject=message.subject, error=str(e))

        return receive

    def _segment(self, message: Msg) -> None:
        head = segment.from_headers(message.headers)
        at = time.monotonic()
        self._segments_in.add(at)
        if camera := self._cameras.get(head.camera):
            camera.frames_in.add(at, head.frames)

    def _status(self, message: Msg) -> None:
        status = events.decode(message.data, CameraStatus, message.subject)
        self._statuses[status.camera] = status
        if camera := self._cameras.get(status.camera):
            camera.status = status

    def _video(self, message: Msg) -> None:
        video = events.decode(message.data, VideoStatus, message.subject)
        self._videos[video.camera] = video
        if camera := self._cameras.get(video.camera):
            camera.video = video

    def _detections(self, message: Msg) -> None:
        event = events.decode(message.data, Detections, message.subject)
        at = time.monotonic()
        self._segments_out.add(at)
        self._frames_analysed.add(at, len(event.frames))
        self._frames_wanted.add(at, frames_wanted(event))
        if camera := self._cameras.get(event.camera):
            camera.detected(event, at, time.time())

    def _beat(self, message: Msg) -> None:
        # The subject names the service, whatever the payload says.
        beat = stats.decode(message.data)
        if beat.replica in self._workers or len(self._workers) < MOST_WORKERS:
            self._workers.setdefault(beat.replica, _Worker()).beat(beat, time.monotonic())

    async def _watch_cameras(self) -> None:
        """Follow the bucket of cameras: removed ones leave the view immediately."""
        bucket = await _answered(lambda: self._js.key_value(names.CAMERAS))
        watcher = await _answered(bucket.watchall)
        async for entry in watcher:
            if entry is None or names.is_removed(entry.key):
                continue
            if entry.operation in ("DEL", "PURGE"):
                self._cameras.pop(entry.key, None)
                self._statuses.pop(entry.key, None)
                self._videos.pop(entry.key, None)
                continue
            camera = self._cameras.setdefault(entry.key, _Camera())
            camera.status, camera.video = self._statuses.get(entry.key), self._videos.get(entry.key)
            with suppress(SettingError):
                camera.enabled = cameras.decode(entry.value or b"").enabled

    async def _sample(self) -> None:
        while True:
            self.samples.append(self._instant())
            del self.samples[:-MOST_SAMPLES]
            await asyncio.sleep(SAMPLE_S)

    def _instant(self) -> Sample:
        at = time.monotonic()
        scaler = self._scaler()
        wanted = self._frames_wanted.per_second(at)
        online = (c.enabled and c.status is not None and c.status.state == "online" for c in self._cameras.values())
        short = scaler.shortage
        return Sample(
            at=round(at - self._began, 3),
            segments_in=round(self._segments_in.per_second(at), 2),
            segments_out=round(self._segments_out.per_second(at), 2),
            pending=scaler.pending,
            ack_pending=scaler.ack_pending,
            desired=scaler.desired,
            replicas=scaler.replicas,
            cameras_online=sum(online),
            deferred=round(1 - self._frames_analysed.per_second(at) / wanted, 3) if wanted else 0.0,
            needed=short.needed if short and short.cause == "maximum" else 0,
        )
