"""Small videos that tests serve as cameras, encoded once a session by the encoders in PyAV's wheel."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np


def make(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (320, 240),
    frames: int = 100,
    fps: int = 25,
    gop: int = 25,
    b_frames: int = 0,
    audio: bool = False,
) -> Path:
    """A moving gradient; `gop` frames between keyframes, exactly."""
    path.write_bytes(_encoded(path.suffix, codec, size, frames, fps, gop, b_frames, audio))
    return path


@cache
def _encoded(
    suffix: str, codec: str, size: tuple[int, int], frames: int, fps: int, gop: int, b_frames: int, audio: bool
) -> bytes:
    """The bytes of a video. Tests of one process share them: encoding costs up to a second of CPU."""
    file = io.BytesIO()
    with av.open(file, "w", format=suffix.removeprefix(".")) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.max_b_frames = b_frames
        stream.options = (
            {"preset": "ultrafast", "sc_threshold": "0", "b_strategy": "0"}
            if codec == "libx264"
            else {
                "preset": "ultrafast",
                "x265-params": f"log-level=none:keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes={b_frames}",
            }
        )
        sound = out.add_stream("aac", rate=8000) if audio else None
        ramp = (np.add.outer(np.arange(size[1]), np.arange(size[0]))[..., None] * [1, 2, 3]).astype(np.uint8)
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(ramp + np.uint8(n * 5 % 256), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            out.mux(stream.encode(frame))
        if sound:
            _silence(out, sound, frames / fps)
        out.mux(stream.encode(None))
    return file.getvalue()


def make_sound(path: Path) -> Path:
    """A second of silence, without video."""
    with av.open(str(path), "w") as out:
        _silence(out, out.add_stream("aac", rate=8000), 1.0)
    return path


def _silence(out: Any, stream: Any, seconds: float) -> None:
    for n in range(math.ceil(seconds * 8000 / 1024)):
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 8000, n * 1024
        out.mux(stream.encode(samples))
    out.mux(stream.encode(None))
