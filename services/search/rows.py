"""What the index keeps of an event: a row for each vector, and one for each label seen in a segment. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from shared.contract import names
from shared.contract.events import Box, DetectedObject, Detections, Embeddings, Event, Vector
from shared.models import vectors
from shared.runtime.errors import BadMessage


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What every row holds. Times are milliseconds since 1970.

    id: made of the event's, so that an event that is indexed twice is there once. start, end: of the segment. time: of
    the frame. seq: of the segment in MEDIA.
    """

    id: str
    camera: str
    start: int
    end: int
    time: int
    seq: int
    label: str | None
    score: float | None
    box: Box | None


class VectorRow(Row, frozen=True, kw_only=True):
    """One vector of an event. vector: little-endian float16, of `model`."""

    model: str
    dimension: int
    vector: bytes


class LabelRow(Row, frozen=True, kw_only=True):
    """The best detection of one label in one segment."""


def rows(event_id: str, subject: str, payload: bytes) -> list[VectorRow] | list[LabelRow]:
    """The rows of an event of embeddings or detections. Raises BadMessage for any other message."""
    kind, _, camera = subject.removeprefix("events.").partition(".")
    types: dict[str, type[Embeddings] | type[Detections]] = {t.kind: t for t in (Embeddings, Detections)}
    if kind not in types:
        raise BadMessage(f"{subject} holds no event that can be indexed")
    try:
        event: Event = msgspec.json.decode(payload, type=types[kind])
    except msgspec.DecodeError as e:
        raise BadMessage(f"not an event of {kind}: {e}") from e
    if event.camera != camera:
        raise BadMessage(f"the event says camera {event.camera!r}, its subject is {subject!r}")
    if not event_id:
        raise BadMessage("an event without its id, Nats-Msg-Id, can't be told from its repetition")
    return _vectors(event_id, event) if isinstance(event, Embeddings) else _labels(event_id, event)  # type: ignore[arg-type]


def _vectors(event_id: str, event: Embeddings) -> list[VectorRow]:
    if event.model != names.safe_name(event.model):
        raise BadMessage(f"model {event.model!r} is no name that Tidegate gives")
    out = []
    for n, item in enumerate(event.vectors):
        try:
            vectors.unpack(item.vector, event.dimension)
        except ValueError as e:
            raise BadMessage(f"vector {n}: {e}") from e
        out.append(
            VectorRow(
                **_common(event, f"{event_id}#{n}", item, item.time),
                model=event.model,
                dimension=event.dimension,
                vector=item.vector,
            )
        )
    return out


def _labels(event_id: str, event: Detections) -> list[LabelRow]:
    best: dict[str, LabelRow] = {}
    for frame in event.frames:
        for found in frame.objects:
            held = best.get(found.label)
            if held is not None and (held.score or 0) >= found.score:
                continue
            best[found.label] = LabelRow(**_common(event, f"{event_id}#{found.label}", found, frame.time))
    return list(best.values())


def _common(
    event: Embeddings | Detections, id: str, seen: Vector | DetectedObject, time: dt.datetime
) -> dict[str, Any]:
    """The fields that every row has. time: of the frame."""
    start = _ms(event.start)
    return {
        "id": id,
        "camera": event.camera,
        "start": start,
        "end": start + round(event.duration * 1000),
        "time": _ms(time),
        "seq": event.segment.seq,
        "label": seen.label,
        "score": seen.score,
        "box": seen.box,
    }


def _ms(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000)
