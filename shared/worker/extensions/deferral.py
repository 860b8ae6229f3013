"""Work deferred while capacity is short: before its event is published, the job of its backfill is stored."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Generic

from nats.aio.client import Client

from shared import bus
from shared.contract import events, names
from shared.contract.events import Detections, DetectionsRevision, Embeddings, EmbeddingsRevision, Event, Lost
from shared.contract.work import backfill
from shared.contract.work.backfill import Backfill
from shared.runtime import telemetry
from shared.worker import metrics
from shared.worker.counts import WorkCounts
from shared.worker.extension import Extension
from shared.worker.loop import Loop
from shared.worker.service import Message, P, R


class RevisionPublisher:
    """Publishes how jobs end, and counts it. service: the name of the service."""

    def __init__(self, client: Client, service: str, counts: WorkCounts) -> None:
        self._client = client
        self._service = service
        self._counts = counts

    async def publish(
        self, job: Backfill, revision: DetectionsRevision | EmbeddingsRevision, result: str, traceparent: str | None
    ) -> bool:
        """Publish a revision, and count its result; return whether it is new. Raises BusError."""
        id, source = backfill.revision_id(job.revises), names.source(self._service)
        headers = events.headers(revision, id=id, source=source, traceparent=traceparent)
        ack = await bus.publish(
            self._client, self._client.jetstream(), events.subject(revision), events.encode(revision), headers
        )
        metrics.BACKFILL.labels(self._service, "duplicate" if ack.duplicate else result).inc()
        return not ack.duplicate

    async def publish_lost(self, job: Backfill, why: Lost, traceparent: str | None) -> None:
        """Publish that no revision will come, and count the frames. Raises BusError."""
        if await self.publish(job, backfill.lost(job, why), why, traceparent):
            self._counts.frames_never += job.frames
            metrics.FRAMES_NEVER.labels(self._service).inc(job.frames)


class Deferral(Extension[P], Generic[P, R]):
    """Stores the jobs of a worker that has a consumer of BACKFILL."""

    def __init__(self, loop: Loop[P, R]) -> None:
        self._client = loop.client
        self._service = loop.service.name
        self._revisions = RevisionPublisher(loop.client, loop.service.name, loop.counts)

    @contextlib.asynccontextmanager
    async def publishing(self, message: Message, event: Event, id: str) -> AsyncIterator[None]:
        """Store the job of an event that has a `quality` before it: none must exist without its job.

        If the stream has no room for the job, publish it as lost after the event. Raises BusError.
        """
        if not isinstance(event, Detections | Embeddings) or event.quality is None:
            yield
            return
        job = backfill.job_of(event, id, stream=message.stream, seq=message.seq)
        traceparent = telemetry.traceparent_of(message.span)
        has_room = await bus.defer(
            self._client, self._service, job, {"traceparent": traceparent} if traceparent else {}
        )
        yield
        if not has_room:
            await self._revisions.publish_lost(job, "no_room", traceparent)
