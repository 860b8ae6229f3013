"""The pictures of a message, of any stream, and their vectors. No I/O.

Example:
    views = views_of(head, decoded)
    found = vectors_in([view.image for view in views], embedder, batch_size)
    vectors = vectors_of(views, found)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from services.embed.models import Embedder
from shared.contract.events import DetectedObject, SegmentRef, Vector
from shared.contract.segment import Segment
from shared.elastic.costs import DecodeWork
from shared.elastic.sampling_plan import SamplingPlan
from shared.models.vectors import Vectors, pack
from shared.video.decode import Decoded, Image


class Repeated(Protocol):
    """The vectors of an earlier event. id: its `ce-id`."""

    @property
    def id(self) -> str: ...

    def vectors(self, views: Sequence[View]) -> list[Vector]:
        """Return the vectors of views with the same pictures."""


class Check(Protocol):
    """The check of one segment. repeated: None if it needs an inference."""

    @property
    def repeated(self) -> Repeated | None: ...


class View(NamedTuple):
    """A picture. image: of the model's size. time: its frame's wall clock. object: of the crop, None for the frame."""

    image: Image
    time: dt.datetime
    object: DetectedObject | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """The pictures of one segment, and its data for the event. plan, decoded: see `worker.service.Degradable`.

    check: whether it needs an inference; None if it always does.
    """

    camera: str
    segment: SegmentRef
    start: dt.datetime
    duration: float
    views: list[View]
    plan: SamplingPlan | None = None
    decoded: DecodeWork | None = None
    check: Check | None = None

    @property
    def weight(self) -> int:
        return len(self.images)

    @property
    def repeated(self) -> Repeated | None:
        """The earlier vectors that answer for it."""
        return self.check.repeated if self.check else None

    @property
    def images(self) -> list[Image]:
        """The model's inputs."""
        return [] if self.repeated else [view.image for view in self.views]


def views_of(head: Segment, decoded: Decoded) -> list[View]:
    """Return the whole frames of a segment, each with its time."""
    return [View(p.pixels, head.start + dt.timedelta(seconds=p.offset)) for p in decoded.pictures]


def vectors_in(images: Sequence[Image], embedder: Embedder, batch_size: int) -> Vectors:
    """Return the vectors of images, (n, dimension), in batches of at most `batch_size`."""
    found = [embedder.embed(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate(found) if found else np.empty((0, embedder.dimension), np.float32)


def vectors_of(views: Iterable[View], found: Vectors) -> list[Vector]:
    """Return the vectors of an event. found: (n, dimension), one row per view."""
    return [_vector(view, row) for view, row in zip(views, found, strict=True)]


def _vector(view: View, row: Vectors) -> Vector:
    found = view.object
    if found is None:
        return Vector(time=view.time, vector=pack(row))
    return Vector(time=view.time, vector=pack(row), label=found.label, score=found.score, box=found.box)
