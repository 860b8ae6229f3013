"""The current state: heartbeats, stored segments, events, JetStream's answers and the scalers' explanations.

It only reads, with the rights of `console-viewer`. It costs the video path nothing: of segments it gets only headers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nats.errors
from nats.aio.msg import Msg

from services.console.cameras.monitor import CameraMonitor
from services.console.console import Console
from services.console.feed.hub import FeedEvent, Hub
from services.console.links.subscriptions import subscribed
from services.console.now.attention import attention
from services.console.now.bus_monitor import BusMonitor
from services.console.now.camera_states import MOST_LISTED
from services.console.now.model import Now, ServiceNow
from services.console.now.polling import Polling
from services.console.now.reasons import reason
from services.console.now.replicas import ReplicaNow
from services.console.now.series.ring import STEP_S, Ring, Sample
from services.console.now.services import OneService
from services.console.web.alike import alike
from shared.client import explain
from shared.contract import names
from shared.runtime import problems
from shared.runtime.errors import TidegateError
from shared.runtime.tasks import supervise
from shared.runtime.telemetry import logger
from shared.runtime.ticks import until_tick

EVERY_S = 1.0
# The interval of polls that no page has requested: the history needs one for each of its steps.
REST_S = STEP_S
# A page that requests the state does so about once a second.
WATCHED_S = 10.0
# The interval of requests to the scaler, and without a page: the history has none of its answers.
EXPLAIN_S, EXPLAIN_REST_S = 2.0, 20.0
# Retry interval while no scaler answers; after MISSED_S a scaler that once answered counts as missing.
NO_SCALER_S = 10.0
MISSED_S = 30.0
MOST_OUTAGES = 1000

log = logger("console")


class Outage(NamedTuple):
    """A time without the server or its streams. until: None while it lasts."""

    since: dt.datetime
    until: dt.datetime | None


class SystemMonitor:
    """ring: the history. outages: those that the console observed, the newest last."""

    def __init__(self, console: Console, feed: Hub, cameras: CameraMonitor) -> None:
        began = time.monotonic()
        self.bus = BusMonitor(began)
        self.ring = Ring(self.bus.services)
        self.outages: deque[Outage] = deque(maxlen=MOST_OUTAGES)
        self.since = _wall()
        self._client = client = console.links.viewer
        self._console = console
        self._feed = feed
        self._cameras = cameras
        # Of a replica; 0: not configured.
        self._cost_per_hour = console.settings.cost_per_hour
        self._polling = Polling(client, self.bus)
        self._answered_at: float | None = None
        self._connection = client.stats["reconnects"]
        self._polled_at = self.since
        self._requested_at = began
        self._is_requested = asyncio.Event()
        self._sums = {name: _Sums(began, s) for name, s in self.bus.services.items()}

    async def run(self) -> None:
        """Run until cancelled. Raises BusError once the connection is closed for good."""
        self._feed.taps.append(self._event)
        callbacks = {"scale.>": self._beat, names.stored(names.media(">")): self._segment}
        async with subscribed(self._client, callbacks):
            await supervise(self._poll(), self._explain(), self._sample())

    def now(self, sees: Set[str] | None = None) -> Now:
        """Return the state for an asker who sees these cameras; None: all, and with them the services."""
        at, wall = time.monotonic(), _wall()
        self._requested_at = at
        self._is_requested.set()
        camera_states, sees_all = self.bus.camera_states, sees is None
        ids = [id for id in self._console.camera_ids if sees is None or id in sees]
        seen = camera_states.cameras({id: self._cameras.status(id) for id in ids}, at)
        found = [self._service(s, at) for s in self.bus.services.values() if sees_all and s.is_there(at)]
        is_scaler_missing = self._answered_at is not None and at - self._answered_at > MISSED_S
        path = self._console.settings.console_problems
        processes = problems.read(Path(path)) if path and sees_all else []
        needs = attention(
            found,
            seen,
            connected=self.is_reached,
            scaler=not (is_scaler_missing and sees_all),
            problems=processes,
        )
        return Now(
            time=wall,
            since=self.since,
            connected=self.is_reached,
            segments=round(camera_states.segments.per_second(at), 3) if sees_all else None,
            bytes=round(camera_states.bytes.per_second(at)) if sees_all else None,
            services=found,
            attention=needs,
            cameras=seen[:MOST_LISTED],
            cameras_more=max(0, len(seen) - MOST_LISTED),
            online=sum(camera.state == "online" for camera in seen),
            cost_per_hour=self._cost_per_hour or None,
        )

    def replicas(self, service: str) -> list[ReplicaNow]:
        """Return the live replicas of a service."""
        return self.bus.services[service].fleet.replicas(time.monotonic())

    @property
    def is_reached(self) -> bool:
        """Whether the server is connected and its streams answer."""
        return bool(self._client.is_connected) and self._polling.is_answered

    def _service(self, service: OneService, at: float) -> ServiceNow:
        return service.now(at, self._cost_per_hour or None)

    async def _beat(self, message: Msg) -> None:
        self.bus.beat(message.subject, message.data, time.monotonic(), _wall())

    async def _segment(self, message: Msg) -> None:
        self.bus.segment(message.subject.removeprefix("stored."), message.headers, time.monotonic())

    def _event(self, event: FeedEvent) -> None:
        self.bus.event(event.kind, event.camera, event.data, time.monotonic())

    async def _poll(self) -> None:
        while True:
            began = time.monotonic()
            await self._polling.poll()
            self._record_outage()
            self.bus.camera_states.forget_removed(self._console.camera_ids)
            for service in self.bus.services.values():
                service.fleet.tick(time.monotonic())
            await self._rest(began, EVERY_S, REST_S)

    async def _rest(self, began: float, every_s: float, rest_s: float) -> None:
        """Wait until `every_s` after `began`; and until the next tick of `rest_s`, while no page requests the state."""
        await asyncio.sleep(max(0.0, began + every_s - time.monotonic()))
        if began - self._requested_at > WATCHED_S:
            self._is_requested.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(until_tick(rest_s, time.time())):
                    await self._is_requested.wait()

    def _record_outage(self) -> None:
        lasts = bool(self.outages) and self.outages[-1].until is None
        connection = self._client.stats["reconnects"]
        if not self.is_reached and not lasts:
            self.outages.append(Outage(_wall(), None))
        elif self.is_reached and lasts:
            self.outages[-1] = self.outages[-1]._replace(until=_wall())
        elif connection != self._connection:
            # The connection was lost and restored between two polls.
            self.outages.append(Outage(self._polled_at, _wall()))
        self._connection, self._polled_at = connection, _wall()

    async def _explain(self) -> None:
        """Send one request at a time: each needs its own subscription, and a connection has few."""
        services = [s for s in self.bus.services.values() if s.record.scaled_object or s.record.name == "ingest"]
        while True:
            began, pause = time.monotonic(), EXPLAIN_S
            for service in services:
                if not self._client.is_connected:
                    break
                try:
                    service.reason = reason(await explain.ask(self._client, service.record.name))
                except (TidegateError, nats.errors.Error) as e:
                    log.debug("no scaler has answered", service=service.record.name, error=str(e) or repr(e))
                    pause = NO_SCALER_S
                    break
                self._answered_at = service.reason_at = time.monotonic()
            await self._rest(began, pause, EXPLAIN_REST_S)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(STEP_S - time.time() % STEP_S)
            at = time.monotonic()
            for name, service in self.bus.services.items():
                if service.is_there(at):
                    sample = self._sums[name].sample(at, self._service(service, at), self._cost_per_hour)
                    self.ring.add(name, sample, time.time())
                else:
                    self._sums[name] = _Sums(at, service)


class _Sums:
    """A service's sums at the previous sample: rates are their growth."""

    def __init__(self, at: float, service: OneService) -> None:
        self._service = service
        self._at, self._spent = at, service.fleet.spent
        self._left_out = self._backfilled = 0

    def sample(self, at: float, now: ServiceNow, cost_per_hour: float) -> Sample:
        fleet, past_s = self._service.fleet, max(1e-3, at - self._at)
        has_heartbeat = self._service.record.heartbeat
        rates = {
            f: (getattr(fleet.spent, f) - getattr(self._spent, f)) / past_s for f in ("busy_s", "idle_s", "used_s")
        }
        left_out = fleet.frames_wanted - fleet.frames_analysed
        sample = alike(
            Sample,
            now,
            arriving=now.event_rate if now.name == "ingest" else now.arriving,
            busy=rates["busy_s"] if has_heartbeat else None,
            idle=rates["idle_s"] if has_heartbeat else None,
            cost=rates["used_s"] * cost_per_hour if has_heartbeat and cost_per_hour else None,
            deferred=max(0, left_out - self._left_out) / past_s if has_heartbeat else None,
            left_out=now.deferred_share if has_heartbeat else None,
            made_good=(fleet.backfilled - self._backfilled) / past_s if has_heartbeat else None,
        )
        self._at, self._spent = at, fleet.spent
        self._left_out, self._backfilled = left_out, fleet.backfilled
        return sample


def _wall() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
