"""The analysis of one piece. Each step can run in another process.

Example:
    decoded = read_piece(recordings, piece, job, size)
    result = Analyzer(job).analyze(decoded)
    write_result(results, result)          # idempotent: its keys are those of the piece
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from services.cv import detectors, model_spec
from services.cv.detectors import Detector
from services.cv.looking import Wants, frames_of, joined
from services.cv.service import SCORE_FLOOR, CvService
from services.cv.tiles import Grid
from shared.contract import names
from shared.contract.events import DetectedObject, Detections, SegmentRef
from shared.video.decode import Image
from shared.worker.service import id_of
from tidegate.archive import rows
from tidegate.archive.frames.decoding import DecodedPiece, SampledSegment
from tidegate.archive.frames.embedding import PieceEmbedder
from tidegate.archive.job import NONE, DetectionSettings, Job, Piece, with_embed_size
from tidegate.archive.sync_store import SyncStore


class AnalysisTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a finished piece, or of several.

    segments, failed: how many were analysed, and how many were not. frames: passed to the detector. embedded: frames
    passed to the embedder. labels: objects by label. busy_s: seconds of one worker.
    """

    key: str
    segments: int
    failed: int
    frames: int
    embedded: int = 0
    labels: dict[str, int]
    busy_s: float


class AnalysisResult(NamedTuple):
    """The result of a piece, as Parquet files. An empty file is not written."""

    totals: AnalysisTotals
    segments: bytes
    detections: bytes
    embeddings: bytes


def object_filter(settings: DetectionSettings) -> Wants:
    return Wants(Grid.of(settings.tiles), settings.min_score, frozenset(settings.classes) or None)


class NoDetector:
    """A detector that detects nothing."""

    name = NONE
    labels: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    within: tuple[int, int] | None = None

    def detect(self, images: Sequence[Image]) -> list[list[DetectedObject]]:
        return [[] for _ in images]


class Analyzer:
    """The loaded models of a job. job: with the size of the embedder's input.

    Raises ModelError with the remedy.
    """

    def __init__(self, job: Job, *, threads: int = 1) -> None:
        min_score = min([SCORE_FLOOR, *(settings.min_score for settings in job.looks.values())])
        options = {name: getattr(job, name) for name in ("device", "format", "runtime", "precision", "batch_size")}
        options |= {"threads": threads, "min_score": min_score}
        if job.model != NONE:
            model_spec.check(job.model, job.device, job.runtime, job.precision)
        self.detector: Detector = NoDetector() if job.model == NONE else detectors.load(job.model, **options)
        self._embedder = PieceEmbedder(job, job.embed, threads=threads) if job.embed else None
        self.job = with_embed_size(job, self._embedder.embedder.size if self._embedder else None)

    def analyze(self, decoded: DecodedPiece) -> AnalysisResult:
        began = time.perf_counter()
        views = iter(self.detector.detect(decoded.images))
        vectors = list(self._embedder.rows(decoded.embed_inputs, decoded.embed_images)) if self._embedder else None
        wants = object_filter(self.job.looks[decoded.piece.camera])
        objects = [[wants.of(view) for view in joined(views, wants.grid, len(one.offsets))] for one in decoded.segments]
        busy_s = decoded.decode_s + time.perf_counter() - began
        return analysis_result(self.job, decoded.piece, self.detector.name, decoded.segments, objects, busy_s, vectors)


def analysis_result(
    job: Job,
    piece: Piece,
    model: str,
    segments: Sequence[SampledSegment],
    objects: Sequence[Sequence[Sequence[DetectedObject]]],
    busy_s: float,
    vectors: Sequence[dict[str, Any]] | None = None,
) -> AnalysisResult:
    """Return the result of a piece, wherever it was analysed.

    model: its name. objects: filtered, by segment and frame. vectors: rows; None: the job does not embed.
    """
    events = [_event(one, model, found) for one, found in zip(segments, objects, strict=True)]
    labels = Counter(o.label for _, event, _ in events for frame in event.frames for o in frame.objects)
    totals = AnalysisTotals(
        key=piece.key,
        segments=sum(one.failed is None for one in segments),
        failed=sum(one.failed is not None for one in segments),
        frames=sum(len(one.offsets) for one in segments),
        embedded=len(vectors or ()),
        labels=dict(labels),
        busy_s=round(busy_s, 3),
    )
    segment_rows = (rows.segment(job.run, id, event, failed) for id, event, failed in events)
    detection_rows = (row for id, event, _ in events for row in rows.detections(job.run, id, event))
    return AnalysisResult(
        totals,
        rows.parquet(segment_rows, rows.SEGMENTS, totals),
        rows.parquet(detection_rows, rows.DETECTIONS),
        b"" if vectors is None else rows.parquet(vectors, rows.EMBEDDINGS),
    )


def _event(
    one: SampledSegment, model: str, objects: Sequence[Sequence[DetectedObject]]
) -> tuple[str, Detections, str | None]:
    """Return (the live event's id, the event, why it is empty)."""
    head = one.segment
    event = Detections(
        camera=head.camera,
        segment=SegmentRef(stream=names.MEDIA, seq=one.seq, epoch=head.epoch, n=head.n),
        start=head.start,
        duration=head.duration,
        width=one.size[0],
        height=one.size[1],
        model=model,
        frames=frames_of(head, one.offsets, objects),
        timing=rows.NO_TIME,
    )
    return id_of(CvService.name, model, f"{names.MEDIA}/{one.seq}"), event, one.failed


def results_key(kind: str, piece_key: str) -> str:
    """Return the key of a file of rows in the results."""
    return f"{kind}/{piece_key}.parquet"


def write_result(results: SyncStore, result: AnalysisResult) -> None:
    """Write a piece's result. `segments` is last: it marks the piece as finished. Raises StoreUnavailable."""
    results.put(results_key("detections", result.totals.key), result.detections)
    if result.embeddings:
        results.put(results_key("embeddings", result.totals.key), result.embeddings)
    results.put(results_key("segments", result.totals.key), result.segments)


def finished_keys(results: SyncStore, kind: str = "segments") -> set[str]:
    """Return the keys of the finished pieces, or of another kind's finished files. Raises StoreUnavailable."""
    return {
        one.key.removeprefix(f"{kind}/").removesuffix(".parquet")
        for one in results.list_objects(kind)
        if one.key.endswith(".parquet")
    }


def read_analysis_totals(results: SyncStore, key: str) -> AnalysisTotals:
    """Return the totals of a finished piece. Raises StoreUnavailable."""
    return rows.read_metadata(results.read(results_key("segments", key)), AnalysisTotals)
