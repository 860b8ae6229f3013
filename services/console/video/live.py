"""Watched cameras: each one's segments are read once, as they are stored, for all its viewers.

The server announces each stored segment by its headers; direct get fetches its video.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from services.console.links.subscriptions import subscribed
from services.console.video.frames import Chunk
from services.console.video.reading import NoVideo, last
from services.console.video.viewer import Viewer
from shared.bus import direct
from shared.bus.direct import SEQUENCE
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.segment import Segment, from_headers
from shared.runtime.errors import BadSegment, BusError
from shared.runtime.tasks import end
from shared.runtime.telemetry import logger
from shared.video import fmp4
from shared.video.timeline import Timeline, Video

# Segments that wait for a slow server.
_MOST_WAITING = 2
# A camera's MSE clock begins this long before its first segment: decode times may precede display times.
_BEFORE = dt.timedelta(seconds=60)
_AWAY = (nats.errors.Error, TimeoutError, BusError)
INTRA_REFRESH = "intra refresh"


class _Notice(NamedTuple):
    """An announced segment. payload: None if it is not read yet."""

    seq: int
    segment: Segment
    payload: bytes | None = None


class Live:
    """See the module. client: needs the rights to subscribe to `stored.media.>`, and of direct get on MEDIA."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._feeds: dict[str, Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def watch(self, camera: str, viewer: Viewer) -> None:
        if camera not in self._feeds:
            self._feeds[camera] = Feed(self._client, camera)
        self._feeds[camera].add(viewer)

    def unwatch(self, camera: str, viewer: Viewer) -> None:
        feed = self._feeds.get(camera)
        if feed is not None and feed.remove(viewer):
            del self._feeds[camera]
            task = asyncio.create_task(feed.close())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all feeds."""
        feeds, self._feeds = list(self._feeds.values()), {}
        await asyncio.gather(*(feed.close() for feed in feeds), *self._ending)


class Feed:
    """One camera, while it has viewers."""

    def __init__(self, client: Client, camera: str) -> None:
        self._client = client
        self._camera = camera
        self._viewers: set[Viewer] = set()
        self._waiting: deque[_Notice] = deque()
        self._wakeup = asyncio.Event()
        self._timeline: Timeline | None = None
        self._video: Video | None = None
        self._init = b""
        self._last: Segment | None = None  # the next segment must follow it, unless it starts a GOP
        self._seq = 0
        self._chunk: Chunk | None = None
        self._only_pictures = False
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def add(self, viewer: Viewer) -> None:
        """Add a viewer. It begins with the newest segment, if that can be decoded by itself."""
        self._viewers.add(viewer)
        if self._only_pictures:
            viewer.only_pictures(self._camera, INTRA_REFRESH)
        elif self._chunk is not None and self._chunk.begins:
            viewer.offer(self._chunk)

    def remove(self, viewer: Viewer) -> bool:
        """Remove a viewer; return whether it was the last one."""
        self._viewers.discard(viewer)
        return not self._viewers

    async def close(self) -> None:
        await end(self._task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logger("console").error("live video has stopped", camera=self._camera, exc_info=error)

    async def _run(self) -> None:
        subject = names.stored(names.media(self._camera))
        async with subscribed(self._client, {subject: self._on_segment}):
            await self._begin()
            while True:
                while self._waiting:
                    await self._take(self._waiting.popleft())
                self._wakeup.clear()
                await self._wakeup.wait()

    async def _begin(self) -> None:
        """Begin with the newest segment if it has a keyframe: the next one may be seconds away."""
        try:
            await self._client.flush()
            found = await last(self._client, self._camera)
            await self._take(_Notice(found.seq, found.segment, found.payload))
        except (*_AWAY, NoVideo):
            return

    async def _on_segment(self, message: Msg) -> None:
        headers = message.headers or {}
        try:
            segment, seq = from_headers(headers), int(headers.get(SEQUENCE, ""))
        except (BadSegment, ValueError):
            return
        if REPLAY_OF in headers or segment.camera != self._camera:
            return
        self._waiting.append(_Notice(seq, segment))
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft()
        self._wakeup.set()

    async def _take(self, notice: _Notice) -> None:
        """Offer a segment to all viewers, unless it can't be decoded after their last one."""
        segment = notice.segment
        if notice.seq <= self._seq:
            return
        self._seq = notice.seq
        begins = segment.starts_gop and segment.recovery is None
        if segment.recovery is not None:
            self._announce_pictures()
        if not begins and not _follows(self._last, segment):
            return
        try:
            chunk = self._chunk_of(notice, begins, await self._payload(notice))
        except (*_AWAY, NotFoundError) as e:
            logger("console").debug("a live segment is missing", camera=self._camera, seq=notice.seq, reason=str(e))
            return
        except BadSegment as e:
            logger("console").debug("a live segment is bad", camera=self._camera, seq=notice.seq, reason=str(e))
            return
        self._last, self._chunk, self._only_pictures = segment, chunk, False
        for viewer in list(self._viewers):
            viewer.offer(chunk)

    async def _payload(self, notice: _Notice) -> bytes:
        if notice.payload is not None:
            return notice.payload
        return (await direct.get(self._client, names.MEDIA, seq=notice.seq)).data

    def _chunk_of(self, notice: _Notice, begins: bool, payload: bytes) -> Chunk:
        """Return a segment's chunk. Raises BadSegment."""
        segment, video = notice.segment, fmp4.read(payload)
        if self._timeline is None:
            self._timeline = Timeline(segment.start - _BEFORE)
        if self._video is None or not fmp4.same_track(self._video, video):
            if not begins:
                raise BadSegment("its track changes inside a GOP")
            self._video, self._init = video, fmp4.init(video)
        placed = self._timeline.place(video, segment.start, segment.duration)
        timescale = video.track.timescale
        return Chunk(
            camera=self._camera,
            seq=notice.seq,
            begins=begins,
            init=self._init,
            codec=video.track.codec,
            start=segment.start,
            duration=(placed.end - placed.shown) / timescale,
            time=placed.shown / timescale,
            data=fmp4.moved(payload, video, placed),
        )

    def _announce_pictures(self) -> None:
        if not self._only_pictures:
            self._only_pictures = True
            for viewer in list(self._viewers):
                viewer.only_pictures(self._camera, INTRA_REFRESH)


def _follows(before: Segment | None, segment: Segment) -> bool:
    return before is not None and (before.epoch, before.n + 1) == (segment.epoch, segment.n)
