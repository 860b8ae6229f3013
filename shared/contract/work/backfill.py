"""Deferred work: one job for each segment that was analysed with fewer frames than wanted. Pure.

    job = job_of(event, "cv/ssd/MEDIA/1204", stream="MEDIA", seq=1204)
    names.backfill("cv", job.camera), deferred_id(job.revises), encode(job)

An idle worker takes it, analyses all wanted frames, and publishes a revision of the event that `revises` names; or it
publishes why there will be none.

    revision(full, job.revises)                     # full: the event without degradation
    lost(job, "expired")
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contract import names
from shared.contract.events import (
    Detections,
    DetectionsRevision,
    Embeddings,
    EmbeddingsRevision,
    Lost,
    SegmentRef,
    Timing,
)
from shared.contract.names import Token
from shared.contract.reading.bounds import EARLIEST, LATEST, MOST, Count, Id, Instant, Name, Seconds, in_time
from shared.runtime.errors import BadMessage

_NO_TIME = Timing(queued_ms=0, decode_ms=0, infer_ms=0)


class Backfill(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """stream, seq: the message to process again. revises: the `ce-id` of its first event. frames: how many were
    deferred. camera, segment, start, duration, model, dimension: copied from that event; the segment itself may have
    expired.
    """

    camera: Token
    stream: Name
    seq: Annotated[int, Meta(ge=1, le=MOST)]
    revises: Id
    frames: Count
    segment: SegmentRef
    start: Instant
    duration: Seconds
    model: Name
    dimension: Annotated[int, Meta(gt=0, le=65_536)] | None = None


def job_of(first: Detections | Embeddings, id: str, *, stream: str, seq: int) -> Backfill:
    """Return the job that follows an event. id: its `ce-id`. stream, seq: the message that it came from."""
    quality = first.quality
    return Backfill(
        camera=first.camera,
        stream=stream,
        seq=seq,
        revises=id,
        frames=round(max(0.0, quality.wanted - quality.fps) * first.duration) if quality else 0,
        segment=first.segment,
        start=first.start,
        duration=first.duration,
        model=first.model,
        dimension=first.dimension if isinstance(first, Embeddings) else None,
    )


def deferred_id(first: str) -> str:
    """Return the id of the job that follows the event `first`: a repeated deferral is one job."""
    return f"{first}/deferred"


def revision_id(first: str) -> str:
    """Return the `ce-id` of the event that replaces the event `first`."""
    return f"{first}/full"


def revision(full: Detections | Embeddings, revises: str) -> DetectionsRevision | EmbeddingsRevision:
    """Return the event that replaces the event `revises`. full: the new result of the segment."""
    fields = {field: getattr(full, field) for field in full.__struct_fields__}
    kind = EmbeddingsRevision if isinstance(full, Embeddings) else DetectionsRevision
    return kind(**fields, revises=revises)


def lost(job: Backfill, why: Lost) -> DetectionsRevision | EmbeddingsRevision:
    """Return the event that announces that no revision will come."""
    of_both: dict[str, Any] = {
        "camera": job.camera,
        "segment": job.segment,
        "start": job.start,
        "duration": job.duration,
        "model": job.model,
        "timing": _NO_TIME,
        "revises": job.revises,
        "lost": why,
    }
    if job.dimension is None:
        return DetectionsRevision(**of_both, frames=[])
    return EmbeddingsRevision(**of_both, dimension=job.dimension, vectors=[])


def encode(job: Backfill) -> bytes:
    return msgspec.json.encode(job)


def decode(service: str, at: str, data: bytes) -> Backfill:
    """Return the job of a service on the subject `at`. Raises BadMessage that names the field."""
    try:
        job = msgspec.json.decode(data, type=Backfill)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadMessage(f"not what was put off: {e}") from e
    if at != names.backfill(service, job.camera):
        raise BadMessage(f"its camera is {job.camera!r}, its subject is {at!r}")
    if not in_time(job.start):
        raise BadMessage(f"not what was put off: its start {job.start} is not between {EARLIEST:%Y} and {LATEST:%Y}")
    return job
