"""Reads the frames that cv has analysed, and crops of the objects in them.

The messages are detections events, so there is no wait, and no gap if cv lags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.embed.sampling import choose
from services.embed.settings import EmbedSettings
from services.embed.views import View, Views
from shared.contract import names, segment
from shared.contract.events import Box, DetectedObject, Detections, Frame, decode
from shared.contract.reading.missing import check_readable
from shared.contract.segment import Segment
from shared.runtime.errors import BadMessage
from shared.video.decode import Decoded, Image
from shared.video.pictures import resize
from shared.video.segments import SegmentDecoder
from shared.worker import Message


class Area(NamedTuple):
    """A rectangle in pixels: left and top are inside, right and bottom are not."""

    left: int
    top: int
    right: int
    bottom: int


class Detected:
    """Reads detections events. size: (width, height) of its pictures."""

    def __init__(self, js: JetStreamContext, size: tuple[int, int], settings: EmbedSettings) -> None:
        self._js = js
        self._size = size
        self._settings = settings
        budget, device = settings.budget(), settings.decoding_device()
        self._segments = SegmentDecoder(
            js, threads=settings.embed_threads, budget=budget, service="embed", device=device
        )

    async def read(self, message: Message) -> Views:
        """Return an event's pictures. Raises BadMessage for no event, or a segment deleted or not decodable."""
        event = _event(message)
        frames = choose(event.frames, event.start, event.duration, self._settings.embed_fps)
        views: list[View] = []
        if frames:
            head, payload = await self._segment(event)
            offsets = [(frame.time - event.start).total_seconds() for frame in frames]
            cut_out = partial(self._cut_out, frames, offsets)
            views = await self._segments.decode(head, payload, cut_out, at=offsets, frames=head.frames)
        return Views(event.camera, event.segment, event.start, event.duration, views)

    async def _segment(self, event: Detections) -> tuple[Segment, bytes]:
        ref = event.segment
        try:
            raw = await self._js.get_msg(names.MEDIA, ref.seq, direct=True)
        except NotFoundError as e:
            await check_readable(self._js, names.MEDIA, names.media(">"))
            raise BadMessage(f"its segment {ref.seq} of MEDIA has expired") from e
        head = segment.from_headers(raw.headers)
        if (head.camera, head.epoch, head.n) != (event.camera, ref.epoch, ref.n):
            raise BadMessage(f"sequence {ref.seq} of MEDIA is another segment than the one it was found in")
        return head, raw.data or b""

    def _cut_out(self, frames: Sequence[Frame], offsets: Sequence[float], decoded: Decoded) -> list[View]:
        """Return every frame, followed by its objects. offsets: seconds of the frames in their segment."""
        views: list[View] = []
        for picture in decoded.pictures:
            # A damaged segment lacks pictures, so each is assigned to the nearest frame in time.
            frame = frames[min(range(len(frames)), key=lambda i: abs(offsets[i] - picture.offset))]
            height, width = picture.pixels.shape[:2]
            s = self._settings
            objects = worth_it(frame.objects, width, height, most=s.embed_max_crops, least=s.embed_min_crop)
            views.append(View(resize(picture.pixels, self._size), frame.time))
            for found in objects:
                area = around(found.box, width, height)
                views.append(View(resize(cut(picture.pixels, area), self._size), frame.time, found))
        return views


def _event(message: Message) -> Detections:
    event = decode(message.data, Detections, message.subject)
    if event.segment.stream != names.MEDIA or event.segment.seq < 1:
        raise BadMessage(f"its segment is {event.segment.seq} of {event.segment.stream}: one of MEDIA is expected")
    return event


def around(box: Box, width: int, height: int) -> Area:
    """Return the square around an object, moved into the frame, and at most as large as that.

    Models take squares, and don't recognise a person stretched to one.
    """
    x1, y1, x2, y2 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    side = max(x2 - x1, y2 - y1, 1)
    left, right = _span((x1 + x2) / 2, side, width)
    top, bottom = _span((y1 + y2) / 2, side, height)
    return Area(left, top, right, bottom)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    length = min(math.ceil(side), limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


def worth_it(
    objects: Sequence[DetectedObject], width: int, height: int, *, most: int, least: int
) -> list[DetectedObject]:
    """Return the `most` objects of the best score whose longer side has at least `least` pixels."""
    large = [o for o in objects if max((o.box[2] - o.box[0]) * width, (o.box[3] - o.box[1]) * height) >= least]
    return sorted(large, key=lambda o: -o.score)[:most]


def cut(image: Image, area: Area) -> Image:
    """Return the pixels of that area: a view, not a copy."""
    return image[area.top : area.bottom, area.left : area.right]
