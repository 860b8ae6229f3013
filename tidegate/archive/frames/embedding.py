"""Vectors of one piece: of the frames that embed takes of live video, under the ids of its live events.

Example:
    source, pictures = decode_for_embedding(wholes, n, job.embed)
    rows = PieceEmbedder(job, job.embed, threads=1).rows([source], pictures)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from services.embed import models
from services.embed.models import Embedder
from services.embed.sampling import is_first_since, shows
from services.embed.service import EmbedService
from services.embed.views import View, vectors_in, vectors_of, views_of
from shared.contract import names
from shared.contract.events import Embeddings, SegmentRef
from shared.contract.segment import Segment
from shared.recordings.cutting import OriginalSegment
from shared.video.decode import Image, decode
from shared.worker.service import id_of
from tidegate.archive import rows
from tidegate.archive.job import Embed, Job


class EmbedInput(NamedTuple):
    """The frames to embed on behalf of a segment.

    of: that segment's sequence number. segment, seq: the segment that holds the frames, mostly the same. times: of the
    frames.
    """

    of: int
    segment: Segment
    seq: int
    times: tuple[dt.datetime, ...]


def decode_for_embedding(
    wholes: Sequence[OriginalSegment], n: int, embed: Embed
) -> tuple[EmbedInput | None, list[Image]]:
    """Decode the frames to embed on behalf of the n-th segment of a file: (None, []) if there are none.

    Raises BadSegment if they can't be decoded.
    """
    assert embed.size
    source = wholes[n] if embed.fps > 1 else _keyframe(wholes, n, embed.fps)
    if source is None:
        return None, []
    instants: dict[str, Any] = {"fps": embed.fps} if embed.fps > 1 else {"at": [0.0]}
    head = source.segment
    found = decode(source.payload, before=source.before, size=embed.size, frames=head.frames, **instants)
    views = views_of(head, found)
    return EmbedInput(wholes[n].seq, head, source.seq, tuple(v.time for v in views)), [v.image for v in views]


def _keyframe(wholes: Sequence[OriginalSegment], n: int, fps: float) -> OriginalSegment | None:
    """Return the segment whose first frame is embedded on behalf of the n-th, if any."""
    whole = wholes[n]
    has_frame = shows(whole.segment, fps)
    if has_frame is not None:
        return whole if has_frame else None
    key = wholes[n - len(whole.before)]
    return key if is_first_since(key.segment, whole.segment, fps) else None


class PieceEmbedder:
    """A loaded embedding model, and the rows that it produces. Raises ModelError with the remedy."""

    def __init__(self, job: Job, embed: Embed, *, threads: int) -> None:
        self._run, self._batch_size = job.run, embed.batch_size
        self.embedder: Embedder = models.load(
            embed.model,
            pretrained=embed.pretrained,
            device=embed.device,
            threads=threads,
            batch_size=embed.batch_size,
        )

    def rows(self, inputs: Sequence[EmbedInput], pictures: Sequence[Image]) -> Iterator[dict[str, Any]]:
        """Yield the rows of `embeddings`. pictures: those of all inputs, concatenated."""
        vectors = vectors_in(pictures, self.embedder, self._batch_size)
        at = 0
        for one in inputs:
            end = at + len(one.times)
            views = [View(image, time) for image, time in zip(pictures[at:end], one.times, strict=True)]
            head = one.segment
            event = Embeddings(
                camera=head.camera,
                segment=SegmentRef(stream=names.MEDIA, seq=one.seq, epoch=head.epoch, n=head.n),
                start=head.start,
                duration=head.duration,
                model=self.embedder.name,
                dimension=self.embedder.dimension,
                vectors=vectors_of(views, vectors[at:end]),
                timing=rows.NO_TIME,
            )
            id = id_of(EmbedService.name, event.model, f"{names.MEDIA}/{one.of}")
            yield from rows.embeddings(self._run, id, event)
            at = end
