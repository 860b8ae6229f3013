"""Backfills a segment that was published as unchanged, as if frames had been deferred."""

from __future__ import annotations

from nats.aio.client import Client

from services.cv.static_scene.earlier import Earlier
from shared import bus
from shared.contract import names
from shared.contract.events import Detections, SegmentRef, Timing
from shared.contract.work import backfill
from shared.runtime.telemetry import logger

_NO_TIME = Timing(queued_ms=0, decode_ms=0, infer_ms=0)


async def defer(client: Client, segment: Earlier, id: str, model: str) -> bool:
    """Store the job, once however often this is called; return whether there is room for it.

    id: the `ce-id` of its event. model: of that event. Raises BusError.
    """
    head = segment.head
    first = Detections(
        camera=head.camera,
        segment=SegmentRef(stream=names.MEDIA, seq=segment.seq, epoch=head.epoch, n=head.n),
        start=head.start,
        duration=head.duration,
        model=model,
        frames=[],
        timing=_NO_TIME,
    )
    job = backfill.job_of(first, id, stream=names.MEDIA, seq=segment.seq)
    has_room = await bus.defer(client, "cv", job)
    if not has_room:
        logger("static_scene").warning(
            "a segment of a static scene is not backfilled: BACKFILL has no room", camera=head.camera
        )
    return has_room
