"""embed's functions for the worker loop: pictures of a message, vectors of a batch of these, and the event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from services.embed.models import Embedder
from services.embed.views import Views, vectors_in, vectors_of
from shared.contract.events import Embeddings
from shared.models.vectors import Vectors
from shared.worker import Message


class ViewSource(Protocol):
    """Reads the pictures of messages: `Segments` or `Detected`."""

    async def read(self, message: Message) -> Views: ...


class EmbedService:
    """One per process."""

    name = "embed"

    def __init__(self, source: ViewSource, embedder: Embedder, *, batch_size: int) -> None:
        self.model = embedder.name
        self._source = source
        self._embedder = embedder
        self._batch_size = batch_size

    async def prepare(self, message: Message) -> Views:
        return await self._source.read(message)

    def infer(self, batch: Sequence[Views]) -> list[Vectors]:
        """Return vectors (n, dimension) of each item's n views. Batches cross items, and split large ones."""
        images = [view.image for item in batch for view in item.views]
        vectors = vectors_in(images, self._embedder, self._batch_size)
        ends = np.cumsum([item.weight for item in batch])
        return np.split(vectors, ends[:-1])

    def event(self, message: Message, prepared: Views, result: Vectors) -> Embeddings:
        return Embeddings(
            camera=prepared.camera,
            segment=prepared.segment,
            start=prepared.start,
            duration=prepared.duration,
            model=self.model,
            dimension=self._embedder.dimension,
            vectors=vectors_of(prepared.views, result),
            timing=message.timing,
            quality=prepared.plan.quality if prepared.plan else None,
        )

    def frame_times(self, prepared: Views) -> list[float]:
        return [view.time.timestamp() for view in prepared.views if view.object is None]
