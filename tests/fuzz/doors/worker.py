"""The doors of the worker loop: deferred work, and usage."""

from __future__ import annotations

import zlib

from shared.contract import events, names
from shared.contract.work import backfill, usage
from shared.contract.work.usage import CameraUsage, IngestUsage, WorkerUsage
from shared.runtime.errors import BadMessage
from tests.fuzz import good, spoil
from tests.fuzz.door import Door
from tidegate.audit.arrivals import WorkerMeasurements
from tidegate.client.usage import Book

AT = 1_796_000_000


def _job(data: bytes) -> None:
    subject, _, payload = spoil.read_wire(data)
    job = backfill.decode("cv", subject.decode(errors="replace"), payload)
    lost = backfill.lost(job, "expired")
    assert events.decode(events.encode(lost), type(lost), events.subject(lost)).revises == job.revises


def _jobs() -> list[bytes]:
    of_segments = [e for e in good.every_event() if isinstance(e, events.Detections | events.Embeddings)]
    jobs = [backfill.job_of(event, f"cv/m/MEDIA/{n}", stream="MEDIA", seq=1 + n) for n, event in enumerate(of_segments)]
    return [spoil.wire(names.backfill("cv", job.camera).encode(), [], backfill.encode(job)) for job in jobs]


def _book(data: bytes) -> None:
    """Also uncompressed data, which no publisher sends."""
    subject, _, payload = spoil.read_wire(data)
    book = Book()
    for packed in (zlib.compress(payload, 1), payload):
        book.take(subject.decode(errors="replace"), AT, packed)
    for service in ("cv", "vlm"):
        if used := book.of(service):
            assert len(used.arrivals) == len(used.known) and (used.arrivals >= 0).all()
            WorkerMeasurements.of(used.workers)
    assert len(book.cameras) <= 100_000


def _used() -> list[bytes]:
    minute = AT // usage.MINUTE_S
    worker = WorkerUsage(
        process="p", n=3, since=AT - 600, until=AT, arrivals={"cv": {minute - 3: 60}}, processed=60, working_s=9.5
    )
    camera = CameraUsage(first=minute - 2, segments=[60, 59], seconds=119, megabytes=60.0, frames=2975)
    ingest = IngestUsage(process="i", n=1, since=AT - 600, until=AT, cameras={"lobby": camera}, is_last=True)
    messages = (("cv", worker), ("vlm", worker), ("ingest", ingest))
    return [spoil.wire(names.usage(s).encode(), [], zlib.decompress(usage.encode(m))) for s, m in messages]


DOORS = (
    Door("worker.backfill", _jobs, _job, (BadMessage,), spoil.message(spoil.as_json)),
    Door("worker.usage", _used, _book, (), spoil.message(spoil.as_json)),
)
