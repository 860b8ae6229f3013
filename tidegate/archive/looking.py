"""One piece: looked at, and written. Each step can be a process of its own.

opened = reading.opened(recordings, piece, job, size)
seen = Eyes(job).see(opened)
keep(results, seen)          # under the piece's key: doing it twice changes nothing
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from services.cv import detectors
from services.cv.detectors import Detector
from services.cv.looking import Wants, frames_of, joined, objects_in
from services.cv.service import SCORE_FLOOR, CvService
from services.cv.tiles import Grid
from shared.contract import names
from shared.contract.events import DetectedObject, Detections, SegmentRef
from shared.video.decode import Image
from shared.worker.service import id_of
from tidegate.archive import rows
from tidegate.archive.embedding import Embedding
from tidegate.archive.job import NONE, Job, Look, Piece, with_size
from tidegate.archive.place import Place
from tidegate.archive.reading import Opened, Part


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a piece that was done. segments, failed: how many were looked at, and were not.

    frames: in which objects were looked for. embedded: frames that were embedded. labels: objects by label. busy_s:
    seconds of one worker.
    """

    key: str
    segments: int
    failed: int
    frames: int
    embedded: int = 0
    labels: dict[str, int]
    busy_s: float


class Seen(NamedTuple):
    """As Parquet, empty where it is not made."""

    looked: Looked
    segments: bytes
    detections: bytes
    embeddings: bytes


def wants(look: Look) -> Wants:
    return Wants(Grid.of(look.tiles), look.min_score, frozenset(look.classes) or None)


class Blind:
    """In the place of a detector, where nothing is to be detected."""

    name = NONE
    labels: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    def detect(self, images: Sequence[Image]) -> list[list[DetectedObject]]:
        return [[] for _ in images]


class Eyes:
    """Models that are ready, and what they see. job: with the size of the embedder's pictures.

    Raises ModelError with the remedy.
    """

    def __init__(self, job: Job, *, threads: int = 1) -> None:
        least = min([SCORE_FLOOR, *(look.min_score for look in job.looks.values())])
        given = {"device": job.device, "threads": threads, "min_score": least, "batch_size": job.batch_size}
        self.detector: Detector = Blind() if job.model == NONE else detectors.load(job.model, **given)
        self._embedding = Embedding(job, job.embed, threads=threads) if job.embed else None
        self.job = with_size(job, self._embedding.embedder.size if self._embedding else None)

    def see(self, opened: Opened) -> Seen:
        began = time.perf_counter()
        found = objects_in(opened.images, self.detector, self.job.batch_size)
        vectors = list(self._embedding.rows(opened.shown, opened.views)) if self._embedding else None
        wanted, views = wants(self.job.looks[opened.piece.camera]), iter(found)
        objects = [[wanted.of(one) for one in joined(views, wanted.grid, len(part.offsets))] for part in opened.parts]
        busy_s = opened.decode_s + time.perf_counter() - began
        return seen_of(self.job, opened.piece, self.detector.name, opened.parts, objects, busy_s, vectors)


def seen_of(
    job: Job,
    piece: Piece,
    model: str,
    parts: Sequence[Part],
    objects: Sequence[Sequence[Sequence[DetectedObject]]],
    busy_s: float,
    vectors: Sequence[dict[str, Any]] | None = None,
) -> Seen:
    """What was seen of a piece, wherever that was. model: its name. objects: by part and frame, those that are wanted.
    vectors: rows, None where nothing is embedded.
    """
    events = [_event(part, model, found) for part, found in zip(parts, objects, strict=True)]
    labels = Counter(o.label for _, event, _ in events for frame in event.frames for o in frame.objects)
    looked = Looked(
        key=piece.key,
        segments=sum(part.failed is None for part in parts),
        failed=sum(part.failed is not None for part in parts),
        frames=sum(len(part.offsets) for part in parts),
        embedded=len(vectors or ()),
        labels=dict(labels),
        busy_s=round(busy_s, 3),
    )
    segments = (rows.segment(job.run, id, event, failed) for id, event, failed in events)
    detected = (row for id, event, _ in events for row in rows.detections(job.run, id, event))
    return Seen(
        looked,
        rows.parquet(segments, rows.SEGMENTS, looked),
        rows.parquet(detected, rows.DETECTIONS),
        b"" if vectors is None else rows.parquet(vectors, rows.EMBEDDINGS),
    )


def _event(part: Part, model: str, objects: Sequence[Sequence[DetectedObject]]) -> tuple[str, Detections, str | None]:
    """(the live event's id, the event, why it is empty)."""
    head = part.segment
    event = Detections(
        camera=head.camera,
        segment=SegmentRef(stream=names.MEDIA, seq=part.seq, epoch=head.epoch, n=head.n),
        start=head.start,
        duration=head.duration,
        width=part.size[0],
        height=part.size[1],
        model=model,
        frames=frames_of(head, part.offsets, objects),
        timing=rows.NO_TIME,
    )
    return id_of(CvService.name, model, f"{names.MEDIA}/{part.seq}"), event, part.failed


def key_of(kind: str, piece_key: str) -> str:
    """Where rows of a kind are, below the results."""
    return f"{kind}/{piece_key}.parquet"


def keep(results: Place, seen: Seen) -> None:
    """Write what was seen. `segments` last: a piece whose segments are there is done. Raises Unkept."""
    results.put(key_of("detections", seen.looked.key), seen.detections)
    if seen.embeddings:
        results.put(key_of("embeddings", seen.looked.key), seen.embeddings)
    results.put(key_of("segments", seen.looked.key), seen.segments)


def done(results: Place, kind: str = "segments") -> set[str]:
    """Keys of the pieces that are done, or of what else has an object of its own. Raises Unkept."""
    return {
        held.key.removeprefix(f"{kind}/").removesuffix(".parquet")
        for held in results.held(kind)
        if held.key.endswith(".parquet")
    }


def looked(results: Place, key: str) -> Looked:
    """What is known of a piece that is done. Raises Unkept."""
    return rows.about(results.read(key_of("segments", key)), Looked)
