"""Evidence from MEDIA: the segments of a moment, as one video that plays anywhere, and a picture of one frame.

    stored = await collect(js, "lobby", 1234, start, end, max_bytes=8_000_000)
    clip = join(stored)                      # in a thread: 2 ms per second of 1080p
    clip.data, clip.start, clip.end          # MP4, and the time that it covers
    picture(decode(stored[0].payload, at=[0.4], within=WITHIN))      # the frame 0.4 s into a segment, as JPEG

Video is never re-encoded: the clip shows what the camera sent.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.video.stream import VideoStream
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.events import Box
from shared.contract.questions.search import Unanswerable
from shared.contract.segment import Segment, from_headers, rfc3339
from shared.runtime.errors import BadSegment
from shared.video import decode as media
from shared.video import pictures
from shared.video.container import opened
from shared.video.timestamps import decode_times

# Size of the joined MP4's `moov`: its boxes with the parameter sets, and each frame's rows in its tables (size 4, chunk
# 8 + 12, decode time 8, composition offset 8, keyframe 4).
_MOOV_BYTES = 8192
_FRAME_BYTES = 48
# Consecutive segments are contiguous. If they are further apart, frames were lost, and the last one stays on screen.
_HOLE_S = 0.1
# Headers have milliseconds: rounding alone must not make a neighbour part of the stretch.
_ROUNDING = dt.timedelta(milliseconds=2)
_MILLISECOND = Fraction(1, 1000)
_SECOND = dt.timedelta(seconds=1)
# A picture is bounded by its width alone: no video is higher than 16 times its width.
WITHIN = (640, 16 * 640)


class StoredSegment(NamedTuple):
    """A segment as MEDIA has it.

    seq: in the stream. payload: fragmented MP4. replay: whether it is a replayed dead letter, and so out of order.
    """

    seq: int
    segment: Segment
    payload: bytes
    replay: bool = False

    @property
    def end(self) -> dt.datetime:
        return self.segment.start + dt.timedelta(seconds=self.segment.duration)


class Clip(NamedTuple):
    """One video. data: an MP4 with `moov` in front. start, end: the wall-clock time that it shows."""

    data: bytes
    start: dt.datetime
    end: dt.datetime


async def collect(
    js: JetStreamContext, camera: str, seq: int, start: dt.datetime, end: dt.datetime, *, max_bytes: int
) -> list[StoredSegment]:
    """Return the consecutive segments of `camera` that cover [start, end] around `seq`, from a keyframe on.

    All are of the stream that has `seq`, and of one epoch, and a missing segment ends the stretch on its side. `join`
    makes at most `max_bytes` of them: if all would be more, those nearest to `seq` stay. Replays are skipped, and so
    are segments that another ingest published in between.
    Raises Unanswerable if the video at `seq` is gone, or alone is over `max_bytes`; nats.errors.Error or TimeoutError
    if the server does not answer.
    """
    expired = Unanswerable(f"the video of {rfc3339(start)} from camera {camera} is no longer kept in MEDIA")
    subject, around = await _exactly(js, camera, seq)
    if around is None:
        raise expired
    if around.replay and _starts_gop(around):
        return nearest([around], 0, max_bytes)
    start, end = start + _ROUNDING, end - _ROUNDING
    run: list[StoredSegment] = []
    reading = await _before(js, subject, around, start, max_bytes)
    after = 0
    while after <= max_bytes and (found := await _next(js, subject, reading)) is not None:
        reading = found.seq + 1
        segment = found.segment
        late = found.seq > seq
        if late and segment.start >= end:
            break
        if segment.epoch != around.segment.epoch or (run and segment.n <= run[-1].segment.n):
            continue
        if run and segment.n != run[-1].segment.n + 1:
            if late:
                break
            run.clear()
        run.append(found)
        if late:
            after += len(found.payload)
        else:
            _forget(run, start, max_bytes)
    index = next((n for n, s in enumerate(run) if s.seq == seq), None)
    if index is None or not any(_starts_gop(s) for s in run[: index + 1]):
        raise expired
    return nearest(run, index, max_bytes)


def covers_as_much(
    one: Sequence[StoredSegment], other: Sequence[StoredSegment], start: dt.datetime, end: dt.datetime
) -> bool:
    """Whether a stretch shows as much of [start, end] as another one, within a second at each end."""
    since, until = max(start, other[0].segment.start), min(end, other[-1].end)
    return one[0].segment.start <= since + _SECOND and one[-1].end >= until - _SECOND


def nearest(run: Sequence[StoredSegment], index: int, max_bytes: int) -> list[StoredSegment]:
    """Return consecutive segments of `run` around `index`, from a keyframe on, that join to at most `max_bytes`.

    The stretch grows by a segment at the end or by a GOP at the beginning, on the side that covers less. Raises
    Unanswerable if `index` with its GOP's beginning is over the limit.
    """
    keys = [n for n, s in enumerate(run) if _starts_gop(s)]
    first, last = max(n for n in keys if n <= index), index + 1
    left = max_bytes - _MOOV_BYTES - _cost(run[first:last])
    if left < 0:
        need = (max_bytes - left + 2**20 - 1) // 2**20
        raise Unanswerable(
            f"the video of {rfc3339(run[index].segment.start)} takes {need} MB from its keyframe on, over the limit of "
            f"{max_bytes / 2**20:.1f} MB: raise the server's max_payload, or shorten the camera's keyframe interval"
        )
    middle = run[index].segment.start + (run[index].end - run[index].segment.start) / 2
    while True:
        grown = []
        if last < len(run) and (cost := _cost(run[last : last + 1])) <= left:
            grown.append((run[last - 1].end - middle, first, last + 1, cost))
        earlier = max((n for n in keys if n < first), default=None)
        if earlier is not None and (cost := _cost(run[earlier:first])) <= left:
            grown.append((middle - run[first].segment.start, earlier, last, cost))
        if not grown:
            return list(run[first:last])
        _, first, last, cost = min(grown)
        left -= cost


def join(stored: Sequence[StoredSegment]) -> Clip:
    """Join consecutive segments, the first from a keyframe on, into one MP4 that starts at time 0.

    Each begins where the one before it ends, or later by its header if frames were lost in between. A segment whose
    codec or parameter sets differ from the first's ends the clip. Raises BadSegment if one can't be read or written.
    """
    try:
        return _join(stored)
    except av.FFmpegError as e:
        raise BadSegment(f"its frames can't be written: {e.strerror}") from e


def _join(stored: Sequence[StoredSegment]) -> Clip:
    out = io.BytesIO()
    with opened(stored[0].payload) as source, av.open(out, "w", format="mp4", options=_in_front(stored)) as target:
        template: VideoStream = source.streams.video[0]
        stream = target.add_stream_from_template(template, opaque=True)
        assert template.time_base
        tick = stream.time_base = Fraction(template.time_base.numerator, template.time_base.denominator)
        if template.codec_context.name == "hevc":
            # Apple's players require this tag: the parameter sets are in front, once.
            stream.codec_context.codec_tag = "hvc1"
        packets, count = _continuous(stored, _parameters(template), tick)
        for packet, dts in zip(packets, decode_times([p.pts for p in packets]), strict=True):
            packet.stream, packet.dts = stream, dts
            target.mux_one(packet)
    return Clip(out.getvalue(), stored[0].segment.start, stored[count - 1].end)


def picture(decoded: media.Decoded, box: Box | None = None) -> bytes:
    """Return the first picture of a segment that was decoded WITHIN, as JPEG. box: drawn on it."""
    pixels = decoded.pictures[0].pixels
    return pictures.jpeg(pixels if box is None else pictures.outlined(pixels, box))


# ---- reading MEDIA


async def _exactly(js: JetStreamContext, camera: str, seq: int) -> tuple[str, StoredSegment | None]:
    """Return the segment at `seq` with its subject; None if it is none of the camera's streams."""
    subject = ""
    for subject in names.streams_of(camera):
        found = await _get(js, subject, seq)
        if found is not None and found.seq == seq:
            return subject, found
    return subject, None


async def _get(js: JetStreamContext, subject: str, seq: int) -> StoredSegment | None:
    """Return the first segment of a subject at or after `seq`, skipping other messages."""
    while True:
        try:
            raw = await js.get_msg(names.MEDIA, seq, subject, direct=True, next=True)
        except NotFoundError:
            return None
        seq = raw.seq or seq
        headers: Mapping[str, str] = raw.headers or {}
        try:
            return StoredSegment(seq, from_headers(headers), raw.data or b"", REPLAY_OF in headers)
        except BadSegment:
            seq += 1


async def _next(js: JetStreamContext, subject: str, seq: int) -> StoredSegment | None:
    """Return the first segment of a subject at or after `seq` that is not a replay."""
    while (found := await _get(js, subject, seq)) is not None and found.replay:
        seq = found.seq + 1
    return found


async def _before(js: JetStreamContext, subject: str, around: StoredSegment, start: dt.datetime, max_bytes: int) -> int:
    """Return the sequence to read from: a keyframe at or before `start`, or as far back as `max_bytes` can reach.

    A stream can't return the previous message of a subject, so the search steps back in doubling steps: it reads a few
    segments, and at most twice as far back as needed.
    """
    epoch = around.segment.epoch
    found, at, step, smallest = around, around.seq, 1, len(around.payload)
    while (
        at > 1
        and found.segment.epoch == epoch
        and found.segment.n > 0
        and found.segment.start > start
        and (around.segment.n - found.segment.n) * smallest <= max_bytes
    ):
        at, step = max(1, around.seq - step), 2 * step
        found = await _next(js, subject, at) or around
        smallest = min(smallest, len(found.payload))
    if found.segment.epoch == epoch and not found.segment.starts_gop and found.segment.key_seq is not None:
        return min(found.segment.key_seq, found.seq)
    return found.seq


def _forget(run: list[StoredSegment], start: dt.datetime, max_bytes: int) -> None:
    """Drop GOPs that the clip can't begin with: before `start`, or over `max_bytes` before the newest."""
    while (key := next((n for n, s in enumerate(run) if n and _starts_gop(s)), None)) is not None and (
        run[key].segment.start <= start or sum(len(s.payload) for s in run) > max_bytes
    ):
        del run[:key]


def _starts_gop(stored: StoredSegment) -> bool:
    return stored.segment.starts_gop


# ---- remuxing


def _cost(stored: Sequence[StoredSegment]) -> int:
    """Return an upper bound of the bytes that these add to a joined MP4."""
    return sum(len(s.payload) + s.segment.frames * _FRAME_BYTES for s in stored)


def _in_front(stored: Sequence[StoredSegment]) -> dict[str, str]:
    """Return options that reserve room for `moov` before the video: it can't be moved there afterwards, in memory."""
    frames = sum(s.segment.frames for s in stored)
    return {"moov_size": str(_MOOV_BYTES + frames * _FRAME_BYTES)}


def _read(source: Any, stream: VideoStream) -> list[Any]:
    """Return packets in decode order; of a truncated segment those before the break."""
    packets: list[Any] = []
    try:
        packets.extend(p for p in source.demux(stream) if p.size and p.pts is not None and not p.is_corrupt)
    except av.FFmpegError:
        pass
    return packets


def _parameters(stream: VideoStream) -> tuple[object, ...]:
    """Return the parameters that a decoder is set up with, once for all packets that follow."""
    context = stream.codec_context
    if context is None:
        raise BadSegment("its codec is unknown")
    return (context.name, context.width, context.height, context.extradata, stream.time_base)


def _continuous(
    stored: Sequence[StoredSegment], parameters: tuple[object, ...], tick: Fraction
) -> tuple[list[Any], int]:
    """Return (packets in decode order with presentation times from 0 on, in ticks; the number of their segments)."""
    packets: list[Any] = []
    begin = 0
    for count, one in enumerate(stored):
        with opened(one.payload) as source:
            stream = source.streams.video[0]
            if _parameters(stream) != parameters:
                return packets, count
            part = _read(source, stream)
        if not part:
            raise BadSegment("holds no frames")
        wall = round(Fraction((one.segment.start - stored[0].segment.start) / _SECOND) / tick)
        if (wall - begin) * tick > _HOLE_S:
            begin = wall
        first = min(p.pts for p in part)
        shown = max(p.pts + (p.duration or 0) for p in part) - first
        for packet in part:
            packet.pts += begin - first
        packets += part
        announced = round(Fraction(one.segment.duration) / tick)
        begin += shown if abs(shown - announced) * tick <= _MILLISECOND else announced
    return packets, len(stored)
