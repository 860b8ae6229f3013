"""Decodes pictures of a segment's bytes, with minimal work.

    decoded = decode(payload, fps=5, size=(300, 300))
    for picture in decoded.pictures:
        picture.offset, picture.pixels          # seconds from the segment's first frame, uint8 (300, 300, 3)

    decode(payload, before=[first, second], fps=5)   # of a dependent segment: its GOP's earlier ones, oldest first
    decode(payload, at=[0.2, 0.6])                   # the frames nearest to these offsets

The wanted frames are chosen by the packets' timestamps, before any decoding. Packets after the last one are not
decoded, nor are unwanted non-reference frames. Only wanted frames are converted, and the same pass scales them. One
frame per second of 1080p25 H.264 at 4 Mbit/s is the keyframe: a ninth of the work for all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from shared.elastic.costs import DecodeWork
from shared.elastic.levels import sampled
from shared.runtime.errors import BadSegment, OverBudget
from shared.video import orientation
from shared.video.budget import MAX_PIXELS, Budget, Meter
from shared.video.container import CODECS, opened
from shared.video.orientation import Orientation
from shared.video.recovery import length_size, recovery_frames

# Segments with more packets than this, with their GOP's earlier ones, are refused: over a minute at 120 fps.
MAX_PACKETS = 10_000
# Segments longer than headers can express are refused: damaged timestamps may mean centuries.
MAX_SECONDS = 3600.0
# The pictures of one segment have at most this many bytes.
MAX_BYTES = 1 << 30

# A picture: RGB, (height, width, 3).
Image = NDArray[np.uint8]

_BUDGET = Budget()


def _unheard() -> None:
    pass


class Picture(NamedTuple):
    """offset: seconds from the segment's first frame. pixels: RGB, uint8, (height, width, 3)."""

    offset: float
    pixels: Image


class Decoded(NamedTuple):
    """pictures: by offset, upright; at least one, unless the probe stopped after the first frames.

    size: (width, height) of the upright video, before any scaling. damaged: which frames could not be read, although
    others could; None if none. work: its cost.
    """

    pictures: list[Picture]
    size: tuple[int, int]
    damaged: str | None
    work: DecodeWork


class FrameProbe(NamedTuple):
    """size: (width, height) of the argument of `enough`: a frame's offset in seconds, and its grey, uint8, upright."""

    size: tuple[int, int]
    enough: Callable[[float, NDArray[np.uint8]], bool]


class _Track(NamedTuple):
    """The video of one payload: its packets in decode order, and a decoder with its parameters and its matrix."""

    decoder: VideoCodecContext
    packets: list[Any]
    time_base: float
    problem: str | None


def decode(
    payload: bytes,
    *,
    fps: float | None = None,
    at: Sequence[float] | None = None,
    size: tuple[int, int] | None = None,
    within: tuple[int, int] | None = None,
    before: Sequence[bytes] = (),
    frames: int | None = None,
    threads: int = 1,
    budget: Budget = _BUDGET,
    alive: Callable[[], None] = _unheard,
    probe: FrameProbe | None = None,
    decoder: Callable[[], VideoCodecContext] | None = None,
) -> Decoded:
    """Return pictures of a segment: `fps` per second of video, as `sample` chooses, or those nearest to the times `at`.

    payload: fragmented MP4. at: seconds from the segment's first frame, at least one. size: (width, height) to stretch
    to. within: (width, height) to scale down into, as `fitted` does. before: the payloads of the GOP's earlier
    segments, for a dependent one. frames: the number in the header: more than twice that number is refused, fewer are
    damage. threads: of the decoder; a pool of callers does more with less memory. budget: the maximum work for it.
    alive: called after each packet, as a sign of progress. probe: sees each wanted frame as it is decoded, and may stop
    the decoding: then there may be no pictures. decoder: returns one in place of that of software, possibly a used one.

    Pictures are upright, rotated as the video's metadata says; `size` and `within` are of upright ones.

    Several threads may call it: it releases the GIL while it decodes and scales. Raises BadSegment if no wanted frame
    can be decoded, OverBudget if they cost more than the budget.
    """
    if (fps is None) == (not at):
        raise ValueError("give one of fps and at")
    track = _demux(payload, MAX_PACKETS if frames is None else min(MAX_PACKETS, 2 * frames))
    parts = [*_earlier(before), track]
    if not parts[0].packets[0].is_keyframe:
        raise BadSegment("starts inside a GOP: the segments before it are needed, from the keyframe on (Key-Seq)")
    problems = [part.problem for part in parts if part.problem]
    if not problems and frames is not None and len(track.packets) < frames:
        problems.append(f"{len(track.packets)} of {frames} frames are there")
    wanted = _choose(track, fps, at, leading=bool(before), damaged=_damaged(parts))
    history = [packet for part in parts[:-1] for packet in part.packets]
    used, last = _set_up(decoder() if decoder else parts[0].decoder, threads), max(wanted)
    meter = Meter(budget, used, len(history) + last + 1)
    frames_found = _frames(used, history, track.packets[: last + 1], wanted, problems, meter, alive)
    found = _convert(frames_found, wanted, lambda own: size or (fitted(own, within) if within else own), probe)
    pictures, upright, enough = found
    if not pictures and not enough:
        raise BadSegment(problems[0] if problems else "no frame decodes")
    if not problems and not enough and len(pictures) < len(wanted):
        problems.append(f"{len(wanted) - len(pictures)} of {len(wanted)} wanted frames did not decode")
    return Decoded(pictures, upright, problems[0] if problems else None, meter.work())


def fitted(size: tuple[int, int], within: tuple[int, int]) -> tuple[int, int]:
    """Return `size` scaled down into `within` with its aspect. Both are even: chroma has half of each."""
    scale = min(1.0, *(most / side for side, most in zip(size, within, strict=True)))
    width, height = (
        max(2, min(round(side * scale / 2), min(side, most) // 2) * 2) for side, most in zip(size, within, strict=True)
    )
    return width, height


def sample(offsets: Sequence[float], duration: float, fps: float) -> list[int]:
    """Return the frames to take, as indices into `offsets`: the frames' seconds from the segment's first, ascending.

    Their number is `duration * fps`, rounded, and at least one. They are spaced evenly over the segment's own length,
    from its first frame on, which is the cheapest. So they are even over a row of independent segments, too.
    """
    count = sampled(duration, fps)
    if count >= len(offsets):
        return list(range(len(offsets)))
    return nearest(offsets, np.arange(count) * (duration / count))


def nearest(offsets: Sequence[float], instants: Sequence[float] | NDArray[np.floating]) -> list[int]:
    """Return the indices of the offsets nearest to the instants, each once, ascending. offsets: ascending."""
    times, wanted = np.asarray(offsets), np.asarray(instants, np.float64)
    if len(times) == 1:
        return [0]
    right = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    nearer_left = wanted - times[right - 1] <= times[right] - wanted
    return [int(i) for i in np.unique(right - nearer_left)]


def _earlier(payloads: Sequence[bytes]) -> list[_Track]:
    tracks: list[_Track] = []
    for payload in payloads:
        tracks.append(_demux(payload, MAX_PACKETS))
        if sum(len(track.packets) for track in tracks) > MAX_PACKETS:
            raise OverBudget(f"its GOP holds over {MAX_PACKETS} frames: set a shorter keyframe interval in the camera")
    return tracks


def _demux(payload: bytes, limit: int) -> _Track:
    packets: list[Any] = []
    problem = None
    with opened(payload) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None or context.name not in CODECS:
            raise BadSegment(f"its codec is {context.name if context else 'unknown'}, not one of {CODECS}")
        try:
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None and not packet.is_corrupt:
                    packets.append(packet)
                if len(packets) > limit:
                    raise BadSegment(f"holds more than {limit} frames")
        except av.FFmpegError as e:
            problem = f"breaks off after {len(packets)} frames: {e.strerror}"
        if not packets:
            raise BadSegment(problem or "holds no frames")
        return _Track(context, packets, float(stream.time_base or 0), problem)


def _damaged(parts: Sequence[_Track]) -> int:
    """Return how many frames of the last part are incorrect after a start at a recovery point. Raises BadSegment."""
    first = parts[0]
    size = length_size(first.decoder)
    recovery = recovery_frames(first.decoder.name, memoryview(first.packets[0]), size) or 0
    left = recovery - sum(len(part.packets) for part in parts[:-1])
    if left >= len(parts[-1].packets):
        raise BadSegment(
            f"its camera has intra refresh, and this is its first segment: pictures are right after {recovery} frames, "
            "in the next one"
        )
    return max(0, left)


def _choose(
    track: _Track, fps: float | None, at: Sequence[float] | None, *, leading: bool, damaged: int
) -> dict[int, float]:
    """Return the offset in seconds of each wanted packet, by its index in decode order.

    leading: whether frames shown before the first packet's can be decoded. After a keyframe they can't. damaged: the
    number of packets without a correct picture.
    """
    packets = track.packets
    first = min(p.pts for p in packets) if leading else packets[0].pts
    shown = sorted((p.pts, i) for i, p in enumerate(packets) if p.pts >= first)
    offsets = [(pts - first) * track.time_base for pts, _ in shown]
    if offsets[-1] > MAX_SECONDS:
        raise BadSegment(f"its timestamps span {offsets[-1]:.0f} s, where {MAX_SECONDS:.0f} are the most")
    right = [k for k, (_, i) in enumerate(shown) if i >= damaged]
    if fps is None:
        taken = nearest([offsets[k] for k in right], at or ())
    else:
        step = (packets[shown[-1][1]].duration or 0) * track.time_base
        begin = offsets[right[0]]
        taken = sample([offsets[k] - begin for k in right], offsets[-1] + step - begin, fps)
    return {shown[right[k]][1]: offsets[right[k]] for k in taken}


def _set_up(decoder: VideoCodecContext, threads: int) -> VideoCodecContext:
    if decoder.is_open:
        return decoder
    decoder.thread_count = threads
    decoder.thread_type = "AUTO"
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


def _frames(
    decoder: VideoCodecContext,
    history: list[Any],
    packets: list[Any],
    wanted: Container[int],
    problems: list[str],
    meter: Meter,
    alive: Callable[[], None],
) -> Iterator[VideoFrame]:
    """Yield all decoded frames, the wanted ones among them. Their `pts` is the index of their packet.

    packets: up to the last wanted one. They are numbered, from below 0 for the GOP's earlier ones: each segment's own
    timestamps start at 0.
    """
    try:
        for n, packet in enumerate([*history, *packets], start=-len(history)):
            packet.pts = packet.dts = n
            decoder.skip_frame = "DEFAULT" if n in wanted else "NONREF"
            meter.before(packet)
            found = decoder.decode(packet)
            meter.after()
            alive()
            yield from found
    except av.FFmpegError as e:
        problems.append(f"a frame can't be decoded: {e.strerror}")
        if not decoder.is_open:
            return
    try:
        yield from decoder.decode(None)
    except av.FFmpegError as e:
        problems.append(f"a frame can't be decoded: {e.strerror}")


def _convert(
    frames: Iterator[VideoFrame],
    wanted: Mapping[int, float],
    target: Callable[[tuple[int, int]], tuple[int, int]],
    probe: FrameProbe | None,
) -> tuple[list[Picture], tuple[int, int], bool]:
    """Return (pictures by offset, (width, height) of the upright video, whether `probe` stopped).

    target: returns the scaled size for an upright size.
    """
    reformatter = VideoReformatter()
    pictures: list[Picture] = []
    upright = (0, 0)
    turn: Orientation | None = None
    for frame in frames:
        # A keyframe's orientation holds until the next one. Other frames are not read: listing a frame's side data
        # prevents the reuse of its memory, which costs a tenth of decoding.
        if turn is None or frame.key_frame:
            turn = orientation.of(frame) or orientation.AS_STORED
        if frame.pts is None or frame.pts not in wanted:
            continue
        upright = turn.size(frame.width, frame.height)
        if probe:
            small = reformatter.reformat(frame, *turn.size(*probe.size), "gray", threads=1).to_ndarray()
            if probe.enough(wanted[frame.pts], turn.upright(small)):
                return pictures, upright, True
        width, height = target(upright)
        if (len(pictures) + 1) * width * height * 3 > MAX_BYTES:
            raise BadSegment(
                f"its pictures of {width}x{height} are over {MAX_BYTES} bytes: ask for fewer or smaller ones"
            )
        pixels = reformatter.reformat(frame, *turn.size(width, height), "rgb24", threads=1).to_ndarray()
        pictures.append(Picture(wanted[frame.pts], turn.upright(pixels)))
    return sorted(pictures, key=lambda picture: picture.offset), upright, False
