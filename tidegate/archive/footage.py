"""Frames of what was recorded, as a vision language model is shown them: read from the store, group by group."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from services.vlm import sampling
from services.vlm.footage import NoFootage
from services.vlm.frames import Frames, JpegFrame
from services.vlm.part import Part
from services.vlm.settings import VlmSettings
from shared.recordings.records import Unreadable
from shared.recordings.store import Missing, Store
from shared.runtime.errors import BadSegment
from shared.video.segments import SegmentDecoder
from tidegate.archive.chapters import Reel, Shot
from tidegate.archive.reading import GONE


class Footage:
    """reels: by camera."""

    def __init__(self, kept: Store, reels: Mapping[str, Reel], settings: VlmSettings) -> None:
        self._kept = kept
        self._reels = reels
        decoder = SegmentDecoder(None, threads=settings.vlm_threads, budget=settings.budget(), service="vlm")
        self._frames = Frames(decoder, side=settings.vlm_size)

    async def between(self, camera: str, start: dt.datetime, end: dt.datetime, count: int) -> list[JpegFrame]:
        """Up to `count` frames of [start, end), spread evenly over the time with video.

        Raises NoFootage where that has gone, BadSegment where none can be decoded, and Unkept.
        """
        parts: list[Part] = []
        for shot, offsets in sampling.shown(self._reels[camera].between(start, end), start, end, count):
            try:
                data = await self._read(shot)
            except Missing:
                continue
            except Unreadable as e:
                raise BadSegment(str(e)) from e
            seconds = (shot.until - shot.start).total_seconds()
            parts.append(Part(camera, 0, shot.start, seconds, data, None, offsets))
        if not parts:
            raise NoFootage("expired", GONE)
        return await self._frames.of(parts)

    async def _read(self, shot: Shot) -> bytes:
        head = await self._kept.read(shot.file.key, 0, shot.file.init)
        return head + await self._kept.read(shot.file.key, shot.begin, shot.end)
