"""Frames out of MEDIA, or of recordings, as JPEG: of a stretch of a camera's time, or of some segments.

    frames = await footage.between("lobby", start, end, count=8)
    frames = await footage.of("lobby", [1234, 1235], count=8)

Segments are read by direct get: nothing is consumed, and only segments near a wanted frame cross the bus. Video that
MEDIA has deleted is requested from the recorder, with video not recorded yet: there is none if no recorder answers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services.vlm.frames import sampling
from services.vlm.frames.jpeg import Frames, JpegFrame, Part
from services.vlm.frames.larger import enlarge
from shared.bus import direct
from shared.bus.direct import Stored
from shared.bus.requests import NobodyAnswers
from shared.client import recordings
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.events import Cause, Seen
from shared.contract.segment import Segment, from_headers
from shared.recordings import queries
from shared.recordings.playing import Play
from shared.runtime.errors import BadMessage, BadSegment, Refusal, TidegateError
from shared.runtime.telemetry import logger
from shared.video.accelerator import Device
from shared.video.budget import Budget
from shared.video.segments import SegmentDecoder

# Clocks of ingest and the server differ, and a segment is stored after its end.
SLACK = dt.timedelta(seconds=2)
_SECOND = dt.timedelta(seconds=1)
# Maximum segments to read for one instant: one that ingest delayed is stored after its neighbours.
MOST_STEPS = 64


class NoFootage(TidegateError):
    """No video to show. cause: whether there ever was any."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause: Cause = cause


class Footage:
    """See the module. side: maximum pixels of a frame's longer side."""

    def __init__(
        self,
        client: Client,
        *,
        side: int,
        threads: int,
        budget: Budget | None = None,
        device: Device | None = None,
    ) -> None:
        self._client = client
        self._side = side
        decoder = SegmentDecoder(
            client.jetstream(), threads=threads, budget=budget or Budget(), service="vlm", device=device
        )
        self._frames = Frames(decoder, side=side)

    async def between(
        self, camera: str, start: dt.datetime, end: dt.datetime, count: int, *, also: Sequence[dt.datetime] = ()
    ) -> list[JpegFrame]:
        """Return up to `count` frames of [start, end): those at `also`, and the rest spread evenly over the time with
        video.

        Raises NoFootage if there is none, BadSegment if none can be decoded, nats.errors.Error or TimeoutError if the
        server does not answer.
        """
        first = await self._at(camera, start, end, after=0)
        if (first is None or first.start > start + SLACK) and (
            found := await _recorded_between(self._client, camera, start, end, count, also)
        ):
            return await self._frames.of(found)
        if first is None:
            raise await self._none(camera, start, end)
        also = [time for time in also if time >= first.start]
        last = await self._last(camera)
        begin = max(start, first.start)
        end = min(end, last.end) if last and last.end > begin else end
        wanted = sorted({*also[:count], *sampling.instants(begin, end, count - len(also[:count]))})
        parts: list[Part] = []
        for n, instant in enumerate(wanted):
            until = wanted[n + 1] if n + 1 < len(wanted) else end
            before = parts[-1] if parts else None
            if before and before.start <= instant < before.end:
                before.offsets.append((instant - before.start).total_seconds())
            elif part := await self._at(camera, instant, until, after=before.seq if before else 0):
                parts.append(part)
        # Video may lie only between the instants.
        parts = parts or [first]
        # If frames are further apart than segments, a keyframe shows as much as its neighbours, and is far cheaper.
        return await self._shown(
            [p if len(p.offsets) > 1 or also or p.start < begin else p._replace(offsets=[0.0]) for p in parts]
        )

    async def of(
        self, camera: str, seqs: Sequence[int], count: int, span: tuple[dt.datetime, dt.datetime] | None = None
    ) -> list[JpegFrame]:
        """Return up to `count` frames, evenly spread over the stored segments. span: (start, end) of the segments, if
        known: if some are deleted, the frames come from recordings of this.

        Raises as `between` does, and BadMessage for a segment of another camera.
        """
        wanted, found = sorted(set(seqs)), list[Part]()
        available = await self._stored_seqs(wanted, count)
        chosen = sampling.evenly(available, count)
        for seq in chosen:
            if (stored := await self._stored(seq=seq)) is None:
                continue
            head = _head(stored)
            if head is None or head.camera != camera:
                raise BadMessage(f"sequence {seq} of MEDIA is no segment of camera {camera}")
            found.append(Part.of(stored, head, []))
        is_whole = len(available) == len(wanted) and len(found) == len(chosen)
        if span and not is_whole and (parts := await _recorded_between(self._client, camera, *span, count)):
            return await self._frames.of(parts)
        if not found:
            raise NoFootage("expired", "none of its segments is kept in MEDIA any more: raise MEDIA_MAX_AGE_S")
        offsets = sampling.offsets([part.seconds for part in found], count)
        return await self._shown([p._replace(offsets=o) for p, o in zip(found, offsets, strict=True) if o])

    async def again(self, camera: str, seen: Sequence[Seen]) -> list[JpegFrame]:
        """Return those frames of an event that are still stored, or recorded. Raises as `of` does."""
        wanted: dict[int, list[dt.datetime]] = {}
        for frame in seen:
            wanted.setdefault(frame.seq, []).append(frame.time)
        missing = wanted.pop(0, [])
        parts: list[Part] = []
        for seq, times in wanted.items():
            stored = await self._stored(seq=seq)
            head = stored and _head(stored)
            if stored is None or head is None or head.camera != camera:  # deleted, or MEDIA was recreated
                missing += times
            else:
                parts.append(Part.of(stored, head, [(time - head.start).total_seconds() for time in times]))
        parts += await _recorded_at(self._client, camera, missing)
        return await self._frames.of(parts) if parts else []

    async def _shown(self, parts: Sequence[Part]) -> list[JpegFrame]:
        return await self._frames.of(await enlarge(self._client, parts, self._side))

    # ---- finding

    async def _stored(
        self, *, subject: str | None = None, seq: int | None = None, since: dt.datetime | None = None
    ) -> Stored | None:
        """Return a message of MEDIA; None if there is none."""
        try:
            return await direct.get(self._client, names.MEDIA, subject=subject, seq=seq, since=since)
        except NotFoundError:
            return None

    async def _at(self, camera: str, instant: dt.datetime, until: dt.datetime, *, after: int) -> Part | None:
        """Return the segment at `instant`, or else the first one after it that starts before `until`, or None.

        after: sequence of a known earlier segment.
        """
        seq, since = None, instant - SLACK
        for _ in range(MOST_STEPS):
            stored = await self._stored(subject=names.media(camera), seq=seq, since=None if seq else since)
            if stored is None:
                return None
            seq = stored.seq + 1
            head = _head(stored)
            if head is None or stored.seq <= after:
                continue
            part = Part.of(stored, head, [max(0.0, (instant - head.start).total_seconds())])
            if part.end > instant:
                return part if head.start < until else None
        return None

    async def _last(self, camera: str) -> Part | None:
        stored = await self._stored(subject=names.media(camera))
        head = stored and _head(stored)
        return Part.of(stored, head, []) if stored and head else None

    async def _stored_seqs(self, seqs: list[int], count: int) -> list[int]:
        """Return the sequences that have not expired; all of them, unchecked, if they are at most `count`."""
        if len(seqs) <= count:
            return seqs
        oldest = await self._stored(subject="media.>", seq=1)
        return [seq for seq in seqs if seq >= oldest.seq] if oldest else []

    async def _none(self, camera: str, start: dt.datetime, end: dt.datetime) -> NoFootage:
        """Return why there are no frames: the video has expired, or there was none."""
        oldest = await self._stored(subject="media.>", seq=1)
        stretch = f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC"
        if oldest is None or oldest.time > end:
            return NoFootage("expired", f"the video of {stretch} is not kept in MEDIA any more: raise MEDIA_MAX_AGE_S")
        return NoFootage("no_video", f"camera {camera} gave no video from {stretch}")


def _head(stored: Stored) -> Segment | None:
    """Return a segment's headers; None for a replay, and for a message that is no segment."""
    try:
        return None if REPLAY_OF in stored.headers else from_headers(stored.headers)
    except BadSegment:
        return None


# ---- video that MEDIA has deleted


async def _recorded_between(
    client: Client, camera: str, start: dt.datetime, end: dt.datetime, count: int, also: Sequence[dt.datetime] = ()
) -> list[Part]:
    """Return parts with up to `count` frames of [start, end), at most of its last day: those at `also`, and the rest
    spread evenly over the time from the first video on.
    """
    found = await _plays(client, camera, max(start, end - queries.LONGEST), end)
    return await _parts(client, camera, sampling.shown(found, start, end, count, also))


async def _recorded_at(client: Client, camera: str, instants: Sequence[dt.datetime]) -> list[Part]:
    """Return parts with the frames of these times, which are within a day."""
    if not instants:
        return []
    instants = sorted(instants)
    found = await _plays(client, camera, instants[0], min(instants[-1] + _SECOND, instants[0] + queries.LONGEST))
    shown = [instant for instant in instants if any(play.start - _SECOND <= instant < play.until for play in found)]
    return await _parts(client, camera, sampling.at(found, shown))


async def _plays(client: Client, camera: str, since: dt.datetime, until: dt.datetime) -> list[Play]:
    try:
        return (await recordings.between(client, camera, since, until)).plays
    except (NobodyAnswers, Refusal) as e:
        logger("vlm").debug("nothing is recorded", camera=camera, error=str(e))
        return []


async def _parts(client: Client, camera: str, shown: Sequence[tuple[Play, list[float]]]) -> list[Part]:
    """Return groups of pictures as parts, like the segments that they once were."""
    parts: list[Part] = []
    for play, offsets in shown:
        try:
            payload = await recordings.alone(client, camera, play)
        except (NobodyAnswers, Refusal) as e:  # it was deleted meanwhile
            logger("vlm").debug("a recording is not given", camera=camera, error=str(e))
            continue
        parts.append(Part(camera, 0, play.start, play.seconds, payload, None, offsets))
    return parts
