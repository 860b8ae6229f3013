"""embed's functions for the worker loop: pictures of a message, vectors of a batch of these, and the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from services.embed.models import Embedder
from services.embed.views import Views, vectors_in, vectors_of
from shared.contract.events import Embeddings
from shared.models.vectors import Vectors
from shared.worker import Message, result_id


class ViewSource(Protocol):
    """Reads the pictures of messages: `Segments` or `Detected`."""

    async def read(self, message: Message) -> Views: ...


class SkipPolicy(Protocol):
    """Decides which segments need no inference."""

    async def check(self, message: Message, views: Views, id: str) -> Views:
        """Return the views with their check. id: of their event."""


class EmbedService:
    """One per process. skip: None if each segment has an inference."""

    name = "embed"
    skip: SkipPolicy | None = None

    def __init__(self, source: ViewSource, embedder: Embedder, *, batch_size: int) -> None:
        self.model = embedder.name
        self._source = source
        self._embedder = embedder
        self._batch_size = batch_size

    async def prepare(self, message: Message) -> Views:
        views = await self._source.read(message)
        return await self.skip.check(message, views, result_id(self, message)) if self.skip else views

    def infer(self, batch: Sequence[Views]) -> list[Vectors]:
        """Return vectors (n, dimension) of each item's n images. Batches cross items, and split large ones."""
        images = [image for item in batch for image in item.images]
        vectors = vectors_in(images, self._embedder, self._batch_size)
        ends = np.cumsum([item.weight for item in batch])
        return np.split(vectors, ends[:-1])

    def event(self, message: Message, prepared: Views, result: Vectors) -> Embeddings:
        repeated, views = prepared.repeated, prepared.views
        return Embeddings(
            camera=prepared.camera,
            segment=prepared.segment,
            start=prepared.start,
            duration=prepared.duration,
            model=self.model,
            dimension=self._embedder.dimension,
            vectors=repeated.vectors(views) if repeated else vectors_of(views, result),
            timing=message.timing,
            quality=prepared.plan.quality if prepared.plan else None,
            same_as=repeated.id if repeated else None,
        )

    def frame_times(self, prepared: Views) -> list[float]:
        return [view.time.timestamp() for view in prepared.views if view.object is None]
