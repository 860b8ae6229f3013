"""Frames out of a segment's bytes, and never more work than they need.

    decoded = decode(payload, fps=5, size=(300, 300))
    for picture in decoded.pictures:
        picture.offset, picture.pixels          # seconds from the segment's first frame, uint8 (300, 300, 3)

    decode(payload, before=[first, second], fps=5)   # a dependent segment: its GOP's earlier segments, oldest first

What is wanted is chosen from the packets' timestamps before anything is decoded. Packets after the last wanted frame
are not decoded at all, frames that nothing refers to only when wanted, and wanted frames alone are converted, scaled
by the same pass. For 1080p25 H.264 of 4 Mbit/s and one frame a second that is the keyframe: a ninth of the work.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from shared.errors import BadSegment

# 8K UHD. Larger is not a camera, and one packet of a few bytes could ask for gigabytes.
MAX_PIXELS = 7680 * 4320
# A minute at 120 fps, and more: what one segment may hold.
MAX_PACKETS = 10_000
# Pictures of one segment, in bytes.
MAX_BYTES = 1 << 30

# Without a decoder to probe with, libavformat does not decode the first keyframe just to learn its pixel format:
# 0.25 ms to open 1080p H.264 instead of 21.
_OPEN = {"codec_whitelist": "none"}


class Picture(NamedTuple):
    """offset: seconds from the segment's first frame. pixels: RGB, uint8, (height, width, 3)."""

    offset: float
    pixels: NDArray[np.uint8]


class Decoded(NamedTuple):
    """pictures: by offset, at least one. damaged: None, or what could not be read although others could."""

    pictures: list[Picture]
    damaged: str | None


class _Track(NamedTuple):
    """The video of one payload: its packets in decode order, and what a decoder must know."""

    codec: str
    extradata: bytes | None
    packets: list[Any]
    time_base: float
    damaged: str | None


def decode(
    payload: bytes,
    *,
    fps: float,
    size: tuple[int, int] | None = None,
    before: Sequence[bytes] = (),
    frames: int | None = None,
    threads: int = 1,
) -> Decoded:
    """The pictures of a segment, `fps` per second of video; see `sample` for which.

    payload: fragmented MP4. size: (width, height) to stretch to, None for the video's own. before: the payloads of
    the GOP's earlier segments, for a dependent one. frames: how many its header announces; over twice as many is
    refused, fewer is damage. threads: of the decoder; the caller's pool gives more with less memory.

    Safe to call from several threads; the GIL is free while it decodes and scales.
    Raises BadSegment if no wanted frame can be had.
    """
    parts = [_demux(p, frames if p is payload else None) for p in (*before, payload)]
    track = parts[-1]
    if not parts[0].packets[0].is_keyframe:
        raise BadSegment("starts inside a GOP: the segments before it are needed, from the keyframe on (Key-Seq)")
    wanted = _choose(track, fps, leading=bool(before))
    if size is not None and len(wanted) * size[0] * size[1] * 3 > MAX_BYTES:
        raise BadSegment(f"{len(wanted)} pictures of {size[0]}x{size[1]} are over {MAX_BYTES} bytes: ask for fewer")
    history = [packet for part in parts[:-1] for packet in part.packets]
    damaged = next((p.damaged for p in parts if p.damaged), None)
    if damaged is None and frames is not None and len(track.packets) < frames:
        damaged = f"{len(track.packets)} of {frames} frames are there"
    return _pictures(_decoder(parts[0], threads), history, track.packets, wanted, size, damaged)


def sample(offsets: Sequence[float], duration: float, fps: float) -> list[int]:
    """Which frames to take: indices into `offsets`, the frames' seconds from the segment's first, ascending.

    As many as `duration * fps` rounds to and at least one, evenly spaced from the first frame on, which is the
    cheapest: each the frame nearest to its instant. Segments know nothing of each other, so spacing by the segment's
    own length is what keeps it even across a row of them.
    """
    count = max(1, round(duration * fps))
    if count >= len(offsets):
        return list(range(len(offsets)))
    instants = np.arange(count) * (duration / count)
    times = np.asarray(offsets)
    right = np.searchsorted(times, instants).clip(1, len(times) - 1)
    nearer_left = instants - times[right - 1] <= times[right] - instants
    return [int(i) for i in np.unique(right - nearer_left)]


def _demux(payload: bytes, frames: int | None) -> _Track:
    limit = MAX_PACKETS if frames is None else min(MAX_PACKETS, 2 * frames)
    packets: list[Any] = []
    damaged = None
    try:
        with av.open(io.BytesIO(payload), mode="r", format="mp4", options=_OPEN) as container:
            if not container.streams.video:
                raise BadSegment("holds no video")
            stream = container.streams.video[0]
            context = stream.codec_context
            try:
                for packet in container.demux(stream):
                    if packet.size and packet.pts is not None and not packet.is_corrupt:
                        packets.append(packet)
                    if len(packets) > limit:
                        raise BadSegment(f"holds more than {limit} frames, where {frames or limit} are the most")
            except av.FFmpegError as e:
                damaged = f"breaks off after {len(packets)} frames: {e.strerror}"
            if not packets:
                raise BadSegment(damaged or "holds no frames")
            return _Track(context.name, context.extradata, packets, float(stream.time_base or 0), damaged)
    except av.FFmpegError as e:
        raise BadSegment(f"not an MP4 that can be opened: {e.strerror}") from e
    except (ValueError, LookupError) as e:  # a codec that this libavcodec has no decoder for
        raise BadSegment(f"can't be opened: {e}") from e


def _choose(track: _Track, fps: float, *, leading: bool) -> dict[int, float]:
    """Offset in seconds of each wanted packet, by its index in decode order.

    leading: whether frames shown before the first packet's are decodable; after a keyframe they are not.
    """
    packets = track.packets
    first = min(p.pts for p in packets) if leading else packets[0].pts
    shown = sorted((p.pts, i) for i, p in enumerate(packets) if p.pts >= first)
    offsets = [(pts - first) * track.time_base for pts, _ in shown]
    step = (packets[shown[-1][1]].duration or 0) * track.time_base
    return {shown[k][1]: offsets[k] for k in sample(offsets, offsets[-1] + step, fps)}


def _decoder(track: _Track, threads: int) -> VideoCodecContext:
    try:
        context = av.CodecContext.create(track.codec, "r")
    except (av.FFmpegError, ValueError) as e:
        raise BadSegment(f"codec {track.codec} can't be decoded: {e}") from e
    if not isinstance(context, VideoCodecContext):
        raise BadSegment(f"codec {track.codec} is not one of video")
    context.extradata = track.extradata
    context.thread_count = threads
    context.thread_type = "AUTO"
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return context


def _pictures(
    decoder: VideoCodecContext,
    history: list[Any],
    packets: list[Any],
    wanted: dict[int, float],
    size: tuple[int, int] | None,
    damaged: str | None,
) -> Decoded:
    reformatter = VideoReformatter()
    out: list[Picture] = []
    used = 0
    try:
        for frame in _frames(decoder, history, packets, wanted):
            if frame.is_corrupt and damaged is None:
                damaged = "a frame decodes with errors"
            width, height = size or (frame.width, frame.height)
            used += width * height * 3
            if used > MAX_BYTES:
                raise BadSegment(f"its pictures are over {MAX_BYTES} bytes: ask for fewer or smaller ones")
            scaled = reformatter.reformat(frame, width, height, "rgb24")
            out.append(Picture(wanted[frame.pts], scaled.to_ndarray()))
    except (av.FFmpegError, ValueError) as e:
        damaged = damaged or f"a frame can't be decoded: {getattr(e, 'strerror', None) or e}"
    if not out:
        raise BadSegment(damaged or "no frame decodes")
    if len(out) < len(wanted) and damaged is None:
        damaged = f"{len(wanted) - len(out)} of {len(wanted)} wanted frames did not decode"
    return Decoded(sorted(out, key=lambda p: p.offset), damaged)


def _frames(
    decoder: VideoCodecContext, history: list[Any], packets: list[Any], wanted: dict[int, float]
) -> Iterator[VideoFrame]:
    """The wanted frames as they come; `pts` is the index of each one's packet.

    Each segment's own timestamps start at 0, so packets are numbered anew: the GOP's earlier ones below 0.
    """
    last = max(wanted)
    for n, packet in enumerate([*history, *packets[: last + 1]], start=-len(history)):
        packet.pts = packet.dts = n
        decoder.skip_frame = "DEFAULT" if n in wanted else "NONREF"
        for frame in decoder.decode(packet):
            if frame.pts in wanted:
                yield frame
    for frame in decoder.decode(None):
        if frame.pts in wanted:
            yield frame
