"""The doors of the worker loop: what was put off."""

from __future__ import annotations

from shared.contract import backfill, events, names
from shared.runtime.errors import BadMessage
from tests.fuzz import good, spoil
from tests.fuzz.door import Door


def _job(data: bytes) -> None:
    subject, _, payload = spoil.read_wire(data)
    job = backfill.decode("cv", subject.decode(errors="replace"), payload)
    lost = backfill.lost(job, "expired")
    assert events.decode(events.encode(lost), type(lost), events.subject(lost)).revises == job.revises


def _jobs() -> list[bytes]:
    of_segments = [e for e in good.said() if isinstance(e, events.Detections | events.Embeddings)]
    jobs = [
        backfill.put_off(event, f"cv/m/MEDIA/{n}", stream="MEDIA", seq=1 + n) for n, event in enumerate(of_segments)
    ]
    return [spoil.wire(names.backfill("cv", job.camera).encode(), [], backfill.encode(job)) for job in jobs]


DOORS = (Door("worker.backfill", _jobs, _job, (BadMessage,), spoil.message(spoil.as_json)),)
