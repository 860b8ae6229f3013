"""Reads the frames of MEDIA's segments to embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nats.js import JetStreamContext

from services.embed.sampling import is_first_since, shows
from services.embed.settings import EmbedSettings
from services.embed.views import Views, views_of
from shared.contract import names, segment
from shared.contract.cameras import CameraDirectory
from shared.contract.events import SegmentRef
from shared.contract.segment import Segment
from shared.elastic.levels import Level
from shared.elastic.sampling_plan import SamplingPlan
from shared.runtime.telemetry import logger
from shared.video import gop
from shared.video.segments import SegmentDecoder
from shared.worker import Message


class _Stored(NamedTuple):
    """A segment, and its place in the stream."""

    ref: SegmentRef
    head: Segment
    payload: bytes


class Segments:
    """Reads segments. size: (width, height) of its pictures."""

    def __init__(self, js: JetStreamContext, size: tuple[int, int], settings: EmbedSettings) -> None:
        self._js = js
        self._size = size
        self._fps = settings.embed_fps
        self._floor = settings.embed_fps_floor
        self._cameras = CameraDirectory(js)
        budget, device = settings.budget(), settings.decoding_device()
        self._segments = SegmentDecoder(
            js, threads=settings.embed_threads, budget=budget, service="embed", device=device
        )
        self._log = logger("embed")

    async def read(self, message: Message) -> Views:
        """Return a segment's pictures. Raises BadSegment if it is none, or can't be decoded."""
        head = segment.from_message(message.subject, message.headers)
        itself = _Stored(_reference(message.stream, message.seq, head), head, message.data)
        if self._fps > 1:
            return await self._views_at(itself, await self._level(message, head.camera))
        shown = await self._keyframe(itself)
        return await self._views(shown, at=[0.0]) if shown else _nothing(itself)

    async def _level(self, message: Message, camera: str) -> Level:
        settings = await self._cameras.get(camera)
        return message.level(high=settings is not None and settings.priority == "high")

    async def _views_at(self, itself: _Stored, level: Level) -> Views:
        """Return a segment's pictures at a level."""
        head = itself.head
        plan = SamplingPlan.of(
            level,
            wanted=self._fps,
            floor=self._floor,
            duration=head.duration,
            frames=head.frames,
            megapixels=head.width * head.height / 1e6,
            images=1,
        )
        return replace(await self._views(itself, fps=plan.fps), plan=plan)

    async def _keyframe(self, itself: _Stored) -> _Stored | None:
        """Return the segment whose first frame is embedded on behalf of this one, if any."""
        head = itself.head
        its_own = shows(head, self._fps)
        if its_own is not None:
            return itself if its_own else None
        key, payload = await gop.start(self._js, head)
        if not is_first_since(key, head, self._fps):
            return None
        assert head.key_seq is not None
        return _Stored(_reference(names.MEDIA, head.key_seq, key), key, payload)

    async def _views(
        self,
        shown: _Stored,
        *,
        fps: float | None = None,
        at: Sequence[float] | None = None,
    ) -> Views:
        head = shown.head
        decoded = await self._segments.decode(
            head, shown.payload, lambda decoded: decoded, fps=fps, at=at, size=self._size, frames=head.frames
        )
        if decoded.damaged:
            self._log.warning("segment is damaged", camera=head.camera, seq=shown.ref.seq, reason=decoded.damaged)
        views = views_of(head, decoded)
        return Views(head.camera, shown.ref, head.start, head.duration, views, decoded=decoded.work)


def _reference(stream: str, seq: int, head: Segment) -> SegmentRef:
    return SegmentRef(stream=stream, seq=seq, epoch=head.epoch, n=head.n)


def _nothing(itself: _Stored) -> Views:
    head = itself.head
    return Views(head.camera, itself.ref, head.start, head.duration, [])
