"""What embed sees in a segment's pictures, wherever these come from: live video, or what was recorded. No I/O.

views = views_of(head, decoded)
found = vectors_in([view.image for view in views], embedder, batch_size)
vectors = vectors_of(views, found)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import numpy as np

from services.embed.models import Embedder
from services.embed.views import View
from shared.contract.events import Vector
from shared.contract.segment import Segment
from shared.models.vectors import Vectors, pack
from shared.video.decode import Decoded, Image


def views_of(head: Segment, decoded: Decoded) -> list[View]:
    """Whole frames of a segment, each with its time."""
    return [View(p.pixels, head.start + dt.timedelta(seconds=p.offset)) for p in decoded.pictures]


def vectors_in(images: Sequence[Image], embedder: Embedder, batch_size: int) -> Vectors:
    """The vectors of images, (n, dimension), in batches of so many at most."""
    found = [embedder.embed(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return np.concatenate(found) if found else np.empty((0, embedder.dimension), np.float32)


def vectors_of(views: Iterable[View], found: Vectors) -> list[Vector]:
    """What an event says of each view. found: (n, dimension), a row a view."""
    return [_vector(view, row) for view, row in zip(views, found, strict=True)]


def _vector(view: View, row: Vectors) -> Vector:
    found = view.object
    if found is None:
        return Vector(time=view.time, vector=pack(row))
    return Vector(time=view.time, vector=pack(row), label=found.label, score=found.score, box=found.box)
