"""The rows that the index stores of an event, and a filter of rows. Pure.

An event has one row for each vector, or one for each label seen in a segment.

If a revision exists, its rows replace those of the first event, and a mark records this. The first event may come after
its revision, and each of them again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from shared.contract import names
from shared.contract.events import (
    Box,
    DetectedObject,
    Detections,
    DetectionsRevision,
    Embeddings,
    EmbeddingsRevision,
    Past,
    PastDetections,
    PastEmbeddings,
    Vector,
    decode,
)
from shared.models import vectors
from shared.runtime.errors import BadMessage

_REVISIONS = (EmbeddingsRevision, DetectionsRevision)
_PAST = (PastEmbeddings, PastDetections)
_KINDS: dict[str, type[Embeddings | Detections]] = {t.kind: t for t in (Embeddings, Detections, *_REVISIONS, *_PAST)}
MOST_ID = 512
# float16 moves the length of a vector less than this.
MOST_OFF = 0.1


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of every row. Times are milliseconds since 1970.

    id: derived from the event's, so that indexing an event twice stores it once. start, end: of the segment. time: of
    the frame. seq: of the segment in MEDIA. run: that found it in a recording; None for live events.
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
    run: str | None = None


class VectorRow(Row, frozen=True, kw_only=True):
    """One vector of an event. vector: little-endian float16, of `model`."""

    model: str
    dimension: int
    vector: bytes


class LabelRow(Row, frozen=True, kw_only=True):
    """The best detection of one label in one segment."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One row that the index found. score: a vector's cosine, or a detection's score. id: a vector's, else None."""

    camera: str
    start: dt.datetime
    end: dt.datetime
    time: dt.datetime
    seq: int
    score: float
    id: str | None = None
    label: str | None = None
    box: Box | None = None
    run: str | None = None


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A filter of rows; an empty field excludes nothing. since, until: milliseconds since 1970.

    seqs: sequences of segments in MEDIA. runs: of `tidegate reanalyze`.
    """

    cameras: Sequence[str] = ()
    since: int | None = None
    until: int | None = None
    labels: Sequence[str] = ()
    runs: Sequence[str] = ()
    min_score: float | None = None
    seqs: Sequence[int] = ()
    ids: Sequence[str] = ()


class IndexedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event's rows of a segment. first: `key_of` the segment's first event.

    mark: a row with that key, which records that these rows replace that event's; None for the first event itself.
    """

    rows: Sequence[Row] = ()
    first: str = ""
    mark: Row | None = None


def key_of(kind: type[Embeddings | Detections], event_id: str) -> str:
    """Return the name of an event's rows: their table, and its id.

    Each kind of event has a service of its own. A revision replaces rows of its own kind alone, whatever id it names.
    """
    return f"{'vectors' if issubclass(kind, Embeddings) else 'labels'}/{event_id}"


def read_event(event_id: str, subject: str, payload: bytes) -> IndexedEvent:
    """Read an event of embeddings or detections, or a revision of one. Raises BadMessage for any other message.

    event_id: its ce-id. Rows of the two kinds have tables of their own, so that the rows of one kind are never taken
    for a repetition of the other.
    """
    kind = names.kind_of(subject)
    if kind not in _KINDS:
        raise BadMessage(f"{subject} holds no event that can be indexed")
    event = decode(payload, _KINDS[kind], subject)
    if not event_id:
        raise BadMessage("an event without its id, ce-id, can't be told from its repetition")
    if len(event_id) > MOST_ID:
        raise BadMessage(f"its ce-id has {len(event_id)} characters, where {MOST_ID} are the most")
    first, mark = key_of(type(event), event_id), None
    if isinstance(event, _REVISIONS):
        if event.lost:
            return IndexedEvent()
        if len(event.revises) > MOST_ID:
            raise BadMessage(f"what it revises has an id of {len(event.revises)} characters: {MOST_ID} are the most")
        first = key_of(type(event), event.revises)
        mark = Row(**_of_segment(event, first), time=_ms(event.start), label=None, score=None, box=None)
    rows = _vectors(event_id, event) if isinstance(event, Embeddings) else _labels(event_id, event)
    return IndexedEvent(rows=rows, first=first, mark=mark)


def _vectors(event_id: str, event: Embeddings) -> list[VectorRow]:
    if event.model != names.safe_name(event.model):
        raise BadMessage(f"model {event.model!r} is no name that Tidegate gives")
    out = []
    for n, item in enumerate(event.vectors):
        try:
            length = float(np.linalg.norm(vectors.unpack(item.vector, event.dimension)))
        except ValueError as e:
            raise BadMessage(f"vector {n}: {e}") from e
        # Cosines are compared: a vector of no length has none.
        if abs(length - 1) > MOST_OFF:
            raise BadMessage(f"vector {n} has a length of {length:g}, where 1 is expected")
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
            current = best.get(found.label)
            if current is not None and (current.score or 0) >= found.score:
                continue
            best[found.label] = LabelRow(**_common(event, f"{event_id}#{found.label}", found, frame.time))
    return list(best.values())


def _common(
    event: Embeddings | Detections, id: str, seen: Vector | DetectedObject, time: dt.datetime
) -> dict[str, Any]:
    """Return the fields of every row. time: of the frame."""
    seen_as = {"label": seen.label, "score": seen.score, "box": seen.box}
    return {**_of_segment(event, id), "time": _ms(time), **seen_as}


def _of_segment(event: Embeddings | Detections, id: str) -> dict[str, Any]:
    start = _ms(event.start)
    return {
        "id": id,
        "camera": event.camera,
        "start": start,
        "end": start + round(event.duration * 1000),
        "seq": event.segment.seq,
        "run": event.run if isinstance(event, Past) else None,
    }


def _ms(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000)


def sql(where: Where) -> str:
    """Return the condition in SQL; empty for all rows."""
    parts = [
        in_("camera", where.cameras),
        in_("label", where.labels),
        in_("run", where.runs),
        in_("seq", where.seqs),
        in_("id", where.ids),
        f"time >= {where.since}" if where.since is not None else "",
        f"time < {where.until}" if where.until is not None else "",
        f"score >= {where.min_score}" if where.min_score is not None else "",
    ]
    return " AND ".join(p for p in parts if p)


def in_(column: str, values: Sequence[object]) -> str:
    """Return the condition that a column has one of these values; empty if there are none."""
    literals = (str(v) if isinstance(v, int) else "'" + str(v).replace("'", "''") + "'" for v in values)
    return f"{column} IN ({', '.join(literals)})" if values else ""
