"""What cameras say, published: events, questions to vlm, and dead letters for what could not be worked on.

    await outlet.say([CameraOuts("lobby", outs, stored)])

Of one camera everything goes out in order, of all cameras at once. What was said before a crash is not said again: its
partition knows it by its id. What is said twice even so, as its acknowledgement was lost, is dropped by EVENTS.
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
from services.analytics.partition import BadDetections, Partition
from services.analytics.published_ids import PublishedIds
from services.analytics.second_pass.state import is_second_pass, second_pass_id
from services.analytics.sharing import OwnedPartitions
from services.analytics.statements import Out, Outs
from shared import bus
from shared.bus import direct
from shared.bus.direct import Stored
from shared.contract import events, jobs, names
from shared.contract.events import Event
from shared.runtime.errors import BusError, Unstorable
from shared.runtime.telemetry import Health, logger

# A question that VLM refuses as it is full leaves the incident unverified, and no other is asked for this long.
ASK_AGAIN_S = 5.0
# A server that does not answer gets this long before a question counts as refused.
ASK_PATIENCE_S = 2.0
# One event is tried for this long: less than the loop may take between two beats of its health.
PUBLISH_PATIENCE_S = 20.0


class CameraOuts(NamedTuple):
    """What is to be said of a camera. cause: the detections that it follows from, if any."""

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
        self._no_questions_until = 0.0  # monotonic seconds
        self._log = logger("analytics")

    async def say(self, said: Iterable[CameraOuts]) -> None:
        """Publish all of it, and bury what partitions could not work on.

        A partition of which not all could be said is dropped, and read again from its checkpoint.
        """
        by_camera: dict[str, list[tuple[Stored | None, Out]]] = {}
        for camera, outs, cause in said:
            if outs:
                by_camera.setdefault(camera, []).extend((cause, out) for out in outs)
        bad = [b for p in self._partitions for b in p.bad]
        done = await asyncio.gather(
            *(self._say_camera(camera, outs) for camera, outs in by_camera.items()),
            *(self._dead_letter(b) for b in bad),
            return_exceptions=True,
        )
        cameras = [*by_camera, *(b.camera for b in bad)]
        failed = {self._partitions.number(c): e for c, e in zip(cameras, done, strict=True) if e is not None}
        for number, e in failed.items():
            if not isinstance(e, BusError):
                raise e
            self._log.warning("begins again from the last checkpoint", partition=number, error=str(e))
        self._partitions.drop(failed, "lost")
        for partition in self._partitions:
            partition.bad.clear()

    async def _say_camera(self, camera: str, outs: list[tuple[Stored | None, Out]]) -> None:
        partition = self._partitions.of(camera)
        assert partition
        refused: list[tuple[str, str | None]] = []
        for cause, out in outs:
            if not self._partitions.may_publish(partition.number):
                raise BusError(f"the lease of partition {partition.number} has run out")
            trace = events.trace_of(cause.headers) if cause else None
            self._health.beat()
            if isinstance(out.what, jobs.Verify):
                if not await self._ask(out, trace, partition.said_of(camera, out.id)):
                    refused.append((out.what.incident, trace))
            elif await self._publish(partition, out, trace) and cause:
                metrics.LATENCY.observe(max(0.0, time.time() - cause.time.timestamp()))
        # These come after all that was worked out before the refusal, so that what is said last of an incident is true.
        for incident, trace in refused:
            for out in partition.refused(camera, incident):
                await self._publish(partition, out, trace)

    async def _publish(self, partition: Partition, out: Out, trace: str | None) -> bool:
        """Whether it was said now: not before, and it can be stored."""
        what, id = out
        assert isinstance(what, Event)
        if partition.said_of(what.camera, id).has(id):
            return False
        headers = events.headers(what, id=id, source=names.source("analytics"), traceparent=trace)
        payload = events.encode(what)
        subject = events.subject(what)
        try:
            ack = await bus.publish(self._client, self._js, subject, payload, headers, patience_s=PUBLISH_PATIENCE_S)
        except Unstorable as e:  # trying again would hold up all that comes after it
            self._log.error("an event can't be stored, and is left out", subject=subject, id=id[:200], error=str(e))
            metrics.UNSTORABLE.labels(what.kind).inc()
            return False
        partition.told = max(partition.told, ack.seq)
        metrics.EVENTS.labels(what.kind).inc()
        return True

    async def _ask(self, out: Out, trace: str | None, said: PublishedIds) -> bool:
        """Whether VLM took the question. After a refusal none is asked for a while, so that no camera waits for it."""
        job = out.what
        assert isinstance(job, jobs.Verify)
        about = f"analytics/incidents/{job.camera}/{job.incident}"
        about = second_pass_id(about) if is_second_pass(out.id) else about
        if said.has_any(f"{about}/start/"):  # it was asked before
            return not said.has_any(f"{about}/unverified")
        headers = {"traceparent": trace} if trace else {}
        refused = time.monotonic() < self._no_questions_until
        try:
            if not refused:
                await bus.publish_job_now(self._client, job, headers, patience_s=ASK_PATIENCE_S)
        except BusError as e:
            refused = True
            if not isinstance(e, Unstorable):
                self._no_questions_until = time.monotonic() + ASK_AGAIN_S
            self._log.error("incidents can't be verified", camera=job.camera, incident=job.incident, error=str(e))
        metrics.ASKED.labels("refused" if refused else "asked").inc()
        return not refused

    async def _dead_letter(self, bad: BadDetections) -> None:
        subject = names.event("detections", bad.camera)
        stored = bad.stored or await self._read_again(subject, bad.seq)
        if stored is None:
            self._log.error("can't be dead-lettered: it is gone", subject=subject, seq=bad.seq, reason=bad.reason)
            return
        self._log.warning("dead-lettered", subject=stored.subject, seq=stored.seq, reason=bad.reason)
        await bus.dead_letter_stored(
            self._client, "analytics", names.EVENTS, stored, bad.reason, patience_s=PUBLISH_PATIENCE_S
        )

    async def _read_again(self, subject: str, seq: int) -> Stored | None:
        """A message of EVENTS; None where it is gone. Raises BusError."""
        try:
            stored = await direct.get(self._client, names.EVENTS, subject=subject, seq=seq)
        except NotFoundError:
            return None
        except (TimeoutError, nats.errors.Error) as e:
            raise BusError(f"{subject} {seq} can't be read again: {e!r}") from e
        return stored if stored.seq == seq else None
