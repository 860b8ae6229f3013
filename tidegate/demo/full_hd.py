"""Segments as 1080p25 cameras send them: scenes of the demo with people, cars and a tram, at 4 Mbit/s.

The scenes are scaled up. That changes neither the cost of decoding, which depends on size and bitrate, nor the cost of
a model, whose input is smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from services.ingest.cutting.piece import Piece
from tidegate.demo import clips, footage

SIZE = (1920, 1080)
FPS = 25
BITRATE = 4_000_000
SCENES = ("stop", "alley", "crossing", "taxi")
SCENE_S = 2
# Mean objects per frame that the embedded, trained detector finds from services.cv's SCORE_FLOOR on. An untrained
# detector is biased to find as many. tests/unit/bench/test_gpu.py counts them.
OBJECTS = 18


def encode(part: Path, frames: Iterable[VideoFrame]) -> None:
    """Write H.264 of 1080p25 and 4 Mbit/s, with a keyframe a second and without B-frames, as cameras send it."""
    with av.open(str(part), "w", format="mp4") as out:
        stream: VideoStream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.bit_rate, stream.gop_size, stream.max_b_frames = BITRATE, FPS, 0
        rate = BITRATE // 1000
        stream.options = {
            "preset": "veryfast",
            "x264-params": f"nal-hrd=cbr:vbv-maxrate={rate}:vbv-bufsize={rate}:scenecut=0",
        }
        for n, frame in enumerate(frames):
            scaled = frame.reformat(*SIZE, "yuv420p")
            scaled.pts, scaled.time_base, scaled.pict_type = n, Fraction(1, FPS), PictureType.NONE
            out.mux(stream.encode(scaled))
        out.mux(stream.encode(None))


def segments() -> list[Piece]:
    """Return two segments of each scene. They are encoded once per machine, in a quarter of a minute."""
    folder = footage.cache() / f"full-hd-{footage.VERSION}"
    small = {path.stem: path for path in footage.embedded()}
    found: list[Piece] = []
    for name in SCENES:
        path = folder / f"{name}.mp4"
        if not path.exists():
            footage.write_whole(path, partial(encode, frames=_frames(small[name])))
        found += clips.pieces(path, name)
    return found


def drawn() -> list[Piece]:
    """Return two segments of drawn squares, which move over noise: for a machine without the demo's clips."""
    path = footage.cache() / f"full-hd-{footage.VERSION}" / "drawn.mp4"
    if not path.exists():
        footage.write_whole(path, partial(encode, frames=_squares()))
    return clips.pieces(path, "drawn")


def _squares() -> Iterator[VideoFrame]:
    width, height = SIZE
    noise = np.random.default_rng(1).integers(40, 200, (height // 8, width // 8, 3), np.uint8)
    ground = noise.repeat(8, axis=0).repeat(8, axis=1)
    for n in range(FPS * SCENE_S):
        picture = ground.copy()
        for k, colour in enumerate(((220, 60, 60), (60, 60, 220), (240, 240, 240))):
            left, top = 100 + 500 * k + (8 + 4 * k) * n, 200 + 200 * k
            picture[top : top + 240, left : left + 160] = colour
        yield VideoFrame.from_ndarray(picture, "rgb24")


def _frames(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as container:
        yield from islice(container.decode(video=0), FPS * SCENE_S)
