"""Parts of video, decoded: the model's frames, as JPEG, in order of time."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from shared.bus.direct import Stored
from shared.contract import names
from shared.contract.segment import Segment
from shared.runtime.errors import BadSegment
from shared.runtime.telemetry import logger
from shared.video import pictures
from shared.video.decode import Decoded
from shared.video.segments import SegmentDecoder


class Part(NamedTuple):
    """A segment, or a group of pictures of a recording. offsets: in seconds, of its wanted frames.

    seq: in MEDIA; 0: it is recorded. head: of a segment; None: it needs no other to decode. main: whether it is of the
    main stream of a camera with a substream. fallback: the same frames, if this one can't be decoded.
    """

    camera: str
    seq: int
    start: dt.datetime
    seconds: float
    data: bytes
    head: Segment | None
    offsets: list[float]
    main: bool = False
    fallback: Part | None = None

    @classmethod
    def of(cls, stored: Stored, head: Segment, offsets: list[float]) -> Part:
        main = stored.subject == names.main(head.camera)
        return cls(head.camera, stored.seq, head.start, head.duration, stored.data, head, offsets, main)

    @property
    def end(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.seconds)


class JpegFrame(NamedTuple):
    """One frame. time: wall clock. seq: sequence in MEDIA of its segment; 0 if it is recorded. jpeg: the picture."""

    time: dt.datetime
    seq: int
    jpeg: bytes


class Frames:
    """See the module. side: maximum pixels of a frame's longer side."""

    def __init__(self, decoder: SegmentDecoder, *, side: int) -> None:
        self._decoder = decoder
        self._side = side
        self._log = logger("vlm")

    async def of(self, parts: Sequence[Part]) -> list[JpegFrame]:
        """Return frames. Skip a part that can't be decoded; raise BadSegment if none can."""
        done = await asyncio.gather(*(self._frames(part) for part in parts), return_exceptions=True)
        frames: list[JpegFrame] = []
        problems: list[BadSegment] = []
        for result in done:
            if isinstance(result, BadSegment):
                problems.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                frames += result
        if not frames:
            raise problems[0]
        if problems:
            self._log.warning("segments passed over", count=len(problems), reason=str(problems[0]))
        return sorted(frames)

    async def _frames(self, part: Part) -> list[JpegFrame]:
        try:
            return await self._decoded(part)
        except BadSegment as e:
            if part.fallback is None:
                raise
            self._log.debug("no frames of the main stream", camera=part.camera, seq=part.seq, reason=str(e))
            return await self._decoded(part.fallback)

    async def _decoded(self, part: Part) -> list[JpegFrame]:
        head, within = part.head, (self._side, self._side)
        encoded = partial(self._encoded, part)
        if head is None:
            return await self._decoder.decode_alone(part.camera, part.data, encoded, at=part.offsets, within=within)
        return await self._decoder.decode(
            head, part.data, encoded, main=part.main, at=part.offsets, within=within, frames=head.frames
        )

    def _encoded(self, part: Part, decoded: Decoded) -> list[JpegFrame]:
        return [
            JpegFrame(
                part.start + dt.timedelta(seconds=picture.offset),
                part.seq,
                pictures.jpeg(picture.pixels),
            )
            for picture in decoded.pictures
        ]
