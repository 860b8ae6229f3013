"""Vectors of a static scene: a segment whose pictures equal an earlier one's repeats its vectors, without inference."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nats.js import JetStreamContext
from prometheus_client import Counter

from services.embed.settings import EmbedSettings
from services.embed.views import View, Views
from shared.contract.cameras import CameraDirectory
from shared.contract.events import Box, Embeddings, Event, Vector
from shared.static_scene.answers import Answers, Match
from shared.static_scene.cache import AnswerCache, Key
from shared.static_scene.picture import Grey, small
from shared.worker import Message
from shared.worker.extension import Extension

VECTORS = Counter("tidegate_static_scene_vectors_total", "vectors of a static scene, repeated without inference")

# Seconds that a camera's setting is cached: each segment asks for it.
_CAMERAS_TTL_S = 30.0


class Repeated(NamedTuple):
    """The vectors of an event. id: its `ce-id`. frame: of its first frame. crops: by label and box."""

    id: str
    frame: bytes
    crops: Mapping[tuple[str | None, Box], bytes]

    def covers(self, views: Sequence[View]) -> bool:
        """Whether it has a vector for each of these."""
        return all(view.object is None or (view.object.label, view.object.box) in self.crops for view in views)

    def vectors(self, views: Sequence[View]) -> list[Vector]:
        """Return the vectors of views that it covers."""
        return [
            Vector(time=view.time, vector=self.frame)
            if (found := view.object) is None
            else Vector(
                time=view.time,
                vector=self.crops[found.label, found.box],
                label=found.label,
                score=found.score,
                box=found.box,
            )
            for view in views
        ]


class Check(NamedTuple):
    """The check of one segment. pictures: of its frames. match: None if it needs an inference."""

    key: Key
    id: str
    start: float
    pictures: list[Grey]
    match: Match[Repeated] | None

    @property
    def repeated(self) -> Repeated | None:
        return self.match.answer.value if self.match else None


class StaticScenes(Extension[Views]):
    """One per process. model: of the vectors."""

    def __init__(self, js: JetStreamContext, model: str, settings: EmbedSettings) -> None:
        self._cameras = CameraDirectory(js, _CAMERAS_TTL_S)
        self._model = model
        # Below one frame a second, a segment stands for those without a frame.
        self._least_s = 1 / settings.embed_fps
        self._cache: AnswerCache[Repeated] = AnswerCache(settings.embed_static_scene_refresh_s)

    async def check(self, message: Message, views: Views, id: str) -> Views:
        """Return the views with their check. id: of their event. A backfill is always processed in full."""
        frames = [view for view in views.views if view.object is None]
        camera = await self._cameras.get(views.camera) if frames else None
        if not frames or message.revises or (camera and camera.always):
            return views
        key, start = Key(views.camera, self._model), views.start.timestamp()
        known = self._cache.known(key, start, max(views.duration, self._least_s))
        pictures, match = await asyncio.to_thread(self._compare, known, views, frames)
        plan = views.plan.without_inference() if views.plan and match else views.plan
        return dataclasses.replace(views, plan=plan, check=Check(key, id, start, pictures, match))

    def stored(self, prepared: Views, event: Event) -> None:
        """Learn from a stored event: a reader finds no other."""
        check = prepared.check
        if not isinstance(check, Check) or not isinstance(event, Embeddings):
            return
        if check.match:
            VECTORS.inc(len(event.vectors))
            self._cache.record_match(check.key, check.match)
            return
        crops = {(one.label, one.box): one.vector for one in event.vectors if one.box is not None}
        repeated = Repeated(check.id, event.vectors[0].vector, crops)
        self._cache.add(check.key, check.pictures, check.start, repeated)

    def _compare(
        self, known: Answers[Repeated], views: Views, frames: Sequence[View]
    ) -> tuple[list[Grey], Match[Repeated] | None]:
        pictures = [small(view.image) for view in frames]
        match = self._cache.find(known, pictures, views.start.timestamp())
        return pictures, match if match and match.answer.value.covers(views.views) else None
