"""Small videos that tests serve as cameras: made once a session by the encoders in PyAV's wheel."""

from __future__ import annotations

import math
from fractions import Fraction
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
    with av.open(str(path), "w") as out:
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
        ramp = np.add.outer(np.arange(size[1]), np.arange(size[0]))
        for n in range(frames):
            picture = ((ramp[..., None] * [1, 2, 3]) + n * 5) % 256
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            out.mux(stream.encode(frame))
        if sound:
            _silence(out, sound, frames / fps)
        out.mux(stream.encode(None))
    return path


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
