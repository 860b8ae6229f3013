"""A frame of a camera as JPEG: its newest keyframe, or the one at a time.

A camera with a substream is decoded from its main stream if the picture may have more pixels than the substream.

Frames never change, so 16 MB of them are cached. Requests for a picture in flight wait for that one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from nats.aio.client import Client

from services.console.video import reading, recorder_video
from services.console.video.reading import NoVideo, StoredFrame
from services.console.video.recorder_video import Coded
from shared.client import pictures as stored
from shared.contract.events import Box
from shared.runtime.errors import Refusal
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger
from shared.video.decoding.decoders import Decoders
from shared.video.decoding.work import LARGEST, SMALLEST

MOST_BYTES = 16 * 2**20


class Picture(NamedTuple):
    """time: when the frame was captured."""

    jpeg: bytes
    time: dt.datetime


class _Request(NamedTuple):
    camera: str
    at: dt.datetime | None
    width: int
    boxes: tuple[Box, ...]


class _InFlight:
    """A picture in flight. waiting: how many requests wait for it."""

    def __init__(self, task: asyncio.Task[Picture]) -> None:
        self.task = task
        self.waiting = 0


class Pictures:
    """See the module. client: needs the right of direct get on MEDIA."""

    def __init__(self, client: Client, decoders: Decoders) -> None:
        self._client = client
        self._decoders = decoders
        self._cache: OrderedDict[tuple[object, ...], Picture] = OrderedDict()
        self._size = 0
        self._in_flight: dict[_Request, _InFlight] = {}

    async def picture(
        self, camera: str, at: dt.datetime | None = None, width: int = 640, boxes: Sequence[Box] = ()
    ) -> Picture:
        """Return the frame nearest to `at`, else the newest keyframe, at most `width` pixels wide.

        Raises NoVideo if there is none, recorded or in MEDIA; Refusal if it can't be decoded; nats.errors.Error or
        TimeoutError if the server does not answer.
        """
        if not SMALLEST <= width <= LARGEST:
            raise Refusal(400, f"a picture is {SMALLEST} to {LARGEST} pixels wide, not {width}")
        request = _Request(camera, at, width, tuple(boxes))
        in_flight = self._in_flight.get(request)
        if in_flight is None:
            in_flight = self._in_flight[request] = _InFlight(asyncio.create_task(self._make(request)))
        in_flight.waiting += 1
        try:
            return await asyncio.shield(in_flight.task)
        finally:
            in_flight.waiting -= 1
            # It is done, or all requests were abandoned.
            if not in_flight.waiting:
                if self._in_flight.get(request) is in_flight:
                    del self._in_flight[request]
                await end(in_flight.task)

    async def of_alert(self, camera: str, incident: str, width: int) -> Picture:
        """Return the picture that PICTURES has of an incident's alert, at most `width` pixels wide.

        Raises Refusal if it has none; nats.errors.Error or TimeoutError if the server does not answer.
        """
        key = (camera, incident, width)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        found = await stored.read(self._client, camera, incident)
        assert found.time
        answer = await self._decoders.picture(found.jpeg, width=width)
        picture = Picture(answer.jpeg, found.time)
        self._store(key, picture)
        return picture

    async def _make(self, request: _Request) -> Picture:
        larger, source = await self._sources(request)
        if larger:
            try:
                return await self._decode(request, larger)
            except Refusal as e:
                logger("console").debug("no picture of the main stream", camera=request.camera, reason=str(e))
        return await self._decode(request, source)

    async def _decode(self, request: _Request, source: Coded) -> Picture:
        key = (request.camera, source.key, source.offset, request.width, request.boxes)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        decoded = await self._decoders.picture(
            source.payload,
            before=source.before,
            offset=source.offset,
            width=request.width,
            frames=source.frames,
            boxes=request.boxes,
        )
        picture = Picture(decoded.jpeg, source.start + dt.timedelta(seconds=decoded.offset))
        self._store(key, picture)
        return picture

    async def _sources(self, request: _Request) -> tuple[Coded | None, Coded]:
        """Return the frame of the main stream, if there is one and the substream has too few pixels; and the frame."""
        try:
            found = await (
                reading.newest(self._client, request.camera)
                if request.at is None
                else reading.around(self._client, request.camera, request.at)
            )
        except NoVideo:
            coded = await recorder_video.around(self._client, request.camera, request.at) if request.at else None
            if coded is None:
                raise
            return None, coded
        larger = None
        if found.stored.segment.width < request.width:
            larger = await reading.larger(self._client, request.camera, found, request.at)
        return larger and _coded(larger), _coded(found)

    def _store(self, key: tuple[object, ...], picture: Picture) -> None:
        self._cache[key] = picture
        self._size += len(picture.jpeg)
        while self._size > MOST_BYTES:
            _, oldest = self._cache.popitem(last=False)
            self._size -= len(oldest.jpeg)


def _coded(frame: StoredFrame) -> Coded:
    stored = frame.stored
    return Coded(stored.payload, frame.before, stored.segment.start, frame.offset, stored.segment.frames, stored.seq)
