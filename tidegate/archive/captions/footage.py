"""Frames of recordings for a vision language model, read from the store by groups of pictures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from services.vlm.frames import sampling
from services.vlm.frames.footage import NoFootage
from services.vlm.frames.jpeg import Frames, JpegFrame, Part
from services.vlm.settings import VlmSettings
from shared.recordings.records import Unreadable
from shared.recordings.store import Missing, Store
from shared.runtime.errors import BadSegment
from shared.video.segments import SegmentDecoder
from tidegate.archive.captions.chapters import CameraFiles, GopRange
from tidegate.archive.frames.decoding import FILE_MISSING


class Footage:
    """See the module. files: by camera."""

    def __init__(self, recordings: Store, files: Mapping[str, CameraFiles], settings: VlmSettings) -> None:
        self._recordings = recordings
        self._files = files
        budget, device = settings.budget(), settings.decoding_device()
        decoder = SegmentDecoder(None, threads=settings.vlm_threads, budget=budget, service="vlm", device=device)
        self._frames = Frames(decoder, side=settings.vlm_size)

    async def between(self, camera: str, start: dt.datetime, end: dt.datetime, count: int) -> list[JpegFrame]:
        """Return up to `count` frames of [start, end), spread evenly over the time with video.

        Raises NoFootage if the video is deleted, BadSegment if none can be decoded, and StoreUnavailable.
        """
        parts: list[Part] = []
        for gop, offsets in sampling.shown(self._files[camera].between(start, end), start, end, count):
            try:
                data = await self._read(gop)
            except Missing:
                continue
            except Unreadable as e:
                raise BadSegment(str(e)) from e
            seconds = (gop.until - gop.start).total_seconds()
            parts.append(Part(camera, 0, gop.start, seconds, data, None, offsets))
        if not parts:
            raise NoFootage("expired", FILE_MISSING)
        return await self._frames.of(parts)

    async def _read(self, gop: GopRange) -> bytes:
        head = await self._recordings.read(gop.file.key, 0, gop.file.init)
        return head + await self._recordings.read(gop.file.key, gop.begin, gop.end)
