"""Publish cameras' results: events, verification requests to vlm, and dead letters for unprocessable detections.

    await publisher.publish([CameraOuts("lobby", outs, stored)])

One camera's results go out in order, those of different cameras concurrently. A partition knows by id what was
published before a crash, and skips it. EVENTS drops what is published twice after a lost acknowledgement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.analytics import metrics
from services.analytics.camera.statements import Out, Outs
from services.analytics.partitions.partition import BadDetections, Partition
from services.analytics.partitions.sharing import OwnedPartitions
from shared import bus
from shared.bus import direct
from shared.bus.direct import Stored
from shared.contract import events, names
from shared.contract.events import Event
from shared.contract.work import jobs
from shared.runtime.errors import BusError, Unstorable
from shared.runtime.telemetry import Health, logger

# When VLM refuses a request as it is full, the incident stays unverified, and no other is requested for this long.
REQUEST_PAUSE_S = 5.0
# Without an answer from the server, a request counts as refused after this long.
REQUEST_PATIENCE_S = 2.0
# Publishing one event is retried for this long: less than the loop may take between two heartbeats.
PUBLISH_PATIENCE_S = 20.0


class CameraOuts(NamedTuple):
    """A camera's results to publish. cause: the detections that they follow from, if any."""

    camera: str
    outs: Outs
    cause: Stored | None = None


class EventPublisher:
    """See the module."""

    def __init__(self, client: Client, partitions: OwnedPartitions, health: Health) -> None:
        self._client = client
        self._js = client.jetstream()
        self._partitions = partitions
        self._health = health
        self._no_requests_until = 0.0  # monotonic seconds
        self._log = logger("analytics")

    async def publish(self, camera_outs: Iterable[CameraOuts]) -> None:
        """Publish all results, and dead-letter what partitions could not process.

        A partition whose results could not all be published is dropped, and read again from its checkpoint.
        """
        by_camera: dict[str, list[tuple[Stored | None, Out]]] = {}
        for camera, outs, cause in camera_outs:
            if outs:
                by_camera.setdefault(camera, []).extend((cause, out) for out in outs)
        bad = [b for p in self._partitions for b in p.bad]
        results = await asyncio.gather(
            *(self._publish_camera(camera, outs) for camera, outs in by_camera.items()),
            *(self._dead_letter(b) for b in bad),
            return_exceptions=True,
        )
        cameras = [*by_camera, *(b.camera for b in bad)]
        failed = {self._partitions.number(c): e for c, e in zip(cameras, results, strict=True) if e is not None}
        for number, e in failed.items():
            if not isinstance(e, BusError):
                raise e
            self._log.warning(
                "publishing failed: the partition is read again from its last checkpoint",
                partition=number,
                error=str(e),
            )
        self._partitions.drop(failed)
        for partition in self._partitions:
            partition.bad.clear()

    async def _publish_camera(self, camera: str, outs: list[tuple[Stored | None, Out]]) -> None:
        partition = self._partitions.of(camera)
        assert partition
        refused: list[tuple[str, str | None]] = []
        for cause, out in outs:
            if not self._partitions.may_publish(partition.number):
                raise BusError(f"the lease of partition {partition.number} has run out")
            trace = events.trace_of(cause.headers) if cause else None
            self._health.beat()
            if isinstance(out.what, jobs.Verify):
                if not await self._request_verification(partition, out, trace):
                    refused.append((out.what.incident, trace))
            elif await self._publish(partition, out, trace) and cause:
                metrics.LATENCY.observe(max(0.0, time.time() - cause.time.timestamp()))
        # These follow all that was computed before the refusal, so that the last event of an incident is true.
        for incident, trace in refused:
            for out in partition.refused(camera, incident):
                await self._publish(partition, out, trace)

    async def _publish(self, partition: Partition, out: Out, trace: str | None) -> bool:
        """Publish an event. Return whether it was stored now: it is new, and the server takes it."""
        event, id = out
        assert isinstance(event, Event)
        if partition.published_by(id).has(event.camera, id):
            return False
        headers = events.headers(event, id=id, source=names.source("analytics"), traceparent=trace)
        payload = events.encode(event)
        subject = events.subject(event)
        try:
            ack = await bus.publish(self._client, self._js, subject, payload, headers, patience_s=PUBLISH_PATIENCE_S)
        except Unstorable as e:  # retrying would block all later events
            self._log.error("an event can't be stored, and is left out", subject=subject, id=id[:200], error=str(e))
            metrics.UNSTORABLE.labels(event.kind).inc()
            return False
        partition.last_published = max(partition.last_published, ack.seq)
        metrics.EVENTS.labels(event.kind).inc()
        return True

    async def _request_verification(self, partition: Partition, out: Out, trace: str | None) -> bool:
        """Return whether VLM took the request. After a refusal, requests pause, so that no camera waits for VLM."""
        job = out.what
        assert isinstance(job, jobs.Verify)
        # The request's id begins like those of the incident's events; live ones begin with `analytics/`.
        prefix = out.id.removesuffix(f"verify/{job.incident}") or "analytics/"
        incident_id = f"{prefix}incidents/{job.camera}/{job.incident}"
        published = partition.published_by(out.id)
        if published.has_any(job.camera, f"{incident_id}/start/"):  # requested before
            return not published.has_any(job.camera, f"{incident_id}/unverified")
        headers = {"traceparent": trace} if trace else {}
        refused = time.monotonic() < self._no_requests_until
        try:
            if not refused:
                await bus.publish_job_now(self._client, job, headers, patience_s=REQUEST_PATIENCE_S)
        except BusError as e:
            refused = True
            if not isinstance(e, Unstorable):
                self._no_requests_until = time.monotonic() + REQUEST_PAUSE_S
            self._log.error("incidents can't be verified", camera=job.camera, incident=job.incident, error=str(e))
        metrics.VERIFICATIONS.labels("refused" if refused else "asked").inc()
        return not refused

    async def _dead_letter(self, bad: BadDetections) -> None:
        subject = names.event("detections", bad.camera)
        stored = bad.stored or await self._reread(subject, bad.seq)
        if stored is None:
            self._log.error("can't be dead-lettered: it is gone", subject=subject, seq=bad.seq, reason=bad.reason)
            return
        self._log.warning("dead-lettered", subject=stored.subject, seq=stored.seq, reason=bad.reason)
        await bus.dead_letter_stored(
            self._client, "analytics", names.EVENTS, stored, bad.reason, patience_s=PUBLISH_PATIENCE_S
        )

    async def _reread(self, subject: str, seq: int) -> Stored | None:
        """Return a message of EVENTS; None if it is no longer stored. Raises BusError."""
        try:
            stored = await direct.get(self._client, names.EVENTS, subject=subject, seq=seq)
        except NotFoundError:
            return None
        except (TimeoutError, nats.errors.Error) as e:
            raise BusError(f"{subject} {seq} can't be read again: {e!r}") from e
        return stored if stored.seq == seq else None
