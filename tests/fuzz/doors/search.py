"""The doors of search: the events it indexes, its requests, and the video that it joins."""

from __future__ import annotations

from services.cv import coco
from services.search import clip
from services.search.answers import _read, _where
from services.search.clip import StoredSegment
from services.search.index import _table
from services.search.rows import VectorRow, read_event
from services.search.words import named_labels
from shared.contract.events import Detections, DetectionsRevision, Embeddings, EmbeddingsRevision
from shared.contract.questions.search import ClipQuery, Query, Unanswerable
from shared.runtime.errors import BadMessage, BadSegment, Refusal
from tests.fuzz import good, spoil
from tests.fuzz.delivery import NotDelivered, stored
from tests.fuzz.door import MB, Door
from tests.fuzz.refusal import refused


def _indexed(data: bytes) -> None:
    """Index an event as search does, up to the table for LanceDB."""
    one = stored(data, "events.revisions.*.*" if b"events.revisions." in data[:30] else "events.*.*")
    found = read_event(one.headers.get("ce-id", ""), one.subject, one.data)
    if found.rows:
        _table(found.rows, found.rows[0].dimension if isinstance(found.rows[0], VectorRow) else None, 0)
    if found.mark:
        _table([found.mark], None, 0)


def _find(data: bytes) -> None:
    found = _read(data, Query).check()
    _where(found)
    named_labels(found.text or "", coco.LABELS)


def _find_clip(data: bytes) -> None:
    _read(data, ClipQuery)


def _joined(data: bytes) -> None:
    first = good.pieces()[0]
    second = first.segment
    clip.join([StoredSegment(1, first.segment, first.payload), StoredSegment(2, second, data)])


def _finds() -> list[bytes]:
    return good.as_json(
        {
            "text": "two men and a dog",
            "cameras": ["lobby"],
            "since": good.SINCE,
            "until": good.UNTIL,
            "k": 5,
            "picture": True,
        },
        {"image": "/9j/", "min_score": 0.5, "merge_s": 1},
        {"like": "embed/1#0", "like_cameras": ["lobby"], "labels": ["person"]},
        {"vocabulary": True, "cameras": ["lobby"]},
    )


DOORS = (
    Door(
        "search.event",
        lambda: good.event_messages(Detections, Embeddings, DetectionsRevision, EmbeddingsRevision),
        _indexed,
        (NotDelivered, BadMessage),
        spoil.message(spoil.as_json),
    ),
    Door("search.find", _finds, refused(_find), (Refusal,), spoil.as_json),
    Door(
        "search.clip",
        lambda: good.as_json({"camera": "lobby", "seq": 7, "start": good.SINCE, "end": good.UNTIL}),
        refused(_find_clip),
        (Refusal,),
        spoil.as_json,
    ),
    Door(
        "search.join", good.payloads, _joined, (BadSegment, Unanswerable), spoil.as_mp4, share=0.1, most_bytes=1024 * MB
    ),
)
