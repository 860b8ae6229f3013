"""A frame of a camera as JPEG: its newest keyframe, or one of a time.

    jpeg, time = await pictures.picture("lobby")
    jpeg, time = await pictures.picture("lobby", at=incident.start, width=1280)

Frames never change, so that they are kept, 16 MB of them; and who asks for what is being made waits for that.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.client import Client

from services.console.video import reading, recorded
from services.console.video.decoding import Decoders
from services.console.video.reading import NoVideo
from services.console.video.recorded import Coded
from services.console.video.work import LARGEST, SMALLEST
from shared.contract.events import Box
from shared.runtime.errors import Refusal
from shared.runtime.tasks import end

MOST_BYTES = 16 * 2**20


class Picture(NamedTuple):
    """time: when the frame was captured."""

    jpeg: bytes
    time: dt.datetime


class _Asked(NamedTuple):
    camera: str
    at: dt.datetime | None
    width: int
    boxes: tuple[Box, ...]


class _Making:
    """What is being made. waiting: how many wait for it."""

    def __init__(self, task: asyncio.Task[Picture]) -> None:
        self.task = task
        self.waiting = 0


class Pictures:
    """See the module. client: with the right of direct get on MEDIA."""

    def __init__(self, client: Client, decoders: Decoders) -> None:
        self._client = client
        self._decoders = decoders
        self._kept: OrderedDict[tuple[object, ...], Picture] = OrderedDict()
        self._size = 0
        self._making: dict[_Asked, _Making] = {}

    async def picture(
        self, camera: str, at: dt.datetime | None = None, width: int = 640, boxes: Sequence[Box] = ()
    ) -> Picture:
        """The frame nearest to `at`, else the newest keyframe, at most `width` pixels wide.

        Raises NoVideo where there is none, recorded or in MEDIA; Refusal where it can't be decoded; nats.errors.Error
        or TimeoutError if the server does not answer.
        """
        if not SMALLEST <= width <= LARGEST:
            raise Refusal(400, f"a picture is {SMALLEST} to {LARGEST} pixels wide, not {width}")
        asked = _Asked(camera, at, width, tuple(boxes))
        making = self._making.get(asked)
        if making is None:
            making = self._making[asked] = _Making(asyncio.create_task(self._made(asked)))
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            # It is done, or nobody waits for it any more.
            if not making.waiting:
                if self._making.get(asked) is making:
                    del self._making[asked]
                await end(making.task)

    async def _made(self, asked: _Asked) -> Picture:
        shown = await self._shown(asked)
        key = (asked.camera, shown.key, shown.offset, asked.width, asked.boxes)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = await self._decoders.picture(
            shown.payload,
            before=shown.before,
            offset=shown.offset,
            width=asked.width,
            frames=shown.frames,
            boxes=asked.boxes,
        )
        found = Picture(made.jpeg, shown.start + dt.timedelta(seconds=made.offset))
        self._keep(key, found)
        return found

    async def _shown(self, asked: _Asked) -> Coded:
        try:
            found = await (
                reading.newest(self._client, asked.camera)
                if asked.at is None
                else reading.around(self._client, asked.camera, asked.at)
            )
        except NoVideo:
            coded = await recorded.around(self._client, asked.camera, asked.at) if asked.at else None
            if coded is None:
                raise
            return coded
        stored = found.stored
        return Coded(
            stored.payload, found.before, stored.segment.start, found.offset, stored.segment.frames, stored.seq
        )

    def _keep(self, key: tuple[object, ...], picture: Picture) -> None:
        self._kept[key] = picture
        self._size += len(picture.jpeg)
        while self._size > MOST_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest.jpeg)
