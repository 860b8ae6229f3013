"""A device's pictures equal the CPU's, of H.264 and H.265: `make gpu` runs it for each kind of device that is there."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bench import world
from services.ingest.cutting.piece import Piece
from shared.runtime.errors import SettingError
from shared.video import accelerator, hardware
from shared.video.accelerator import Device
from shared.video.decode import Picture, decode
from tests.support.processes.service_process import ServiceProcess
from tidegate.demo import clips
from tidegate.local.server import NatsServer

LEAST_DB = 35.0
SEGMENTS = 8
SIZE = (640, 360)
# The CPU stands in for a device, so that the comparison itself is tested everywhere.
KINDS = ["cpu", *(pytest.param(kind, marks=pytest.mark.gpu) for kind in accelerator.KINDS)]
CODECS = {"h264": "libx264", "hevc": "libx265"}
WANTED: list[dict[str, Any]] = [{"fps": 5}, {"fps": 5, "size": (300, 300)}, {"fps": 25, "within": (320, 320)}]


def opened(kind: str) -> Device:
    if kind == "cpu":
        return Device("cpu", None, "yuv420p")
    try:
        device = accelerator.device_of(kind)
    except SettingError as e:
        pytest.skip(str(e))
    assert device
    return device


@functools.cache
def segments(codec: str, folder: Path) -> list[Piece]:
    """Return segments of the embedded footage, one of each camera first, encoded again by `codec`."""
    path = folder / f"{codec}.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(CODECS[codec], rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.gop_size, stream.max_b_frames = "yuv420p", 25, 2
        stream.options = {"preset": "ultrafast", "x265-params": "log-level=none"}
        shown = (picture for piece in world.pieces()[::10] for picture in decode(piece.payload, fps=25).pictures[:25])
        for n, picture in zip(range(25 * SEGMENTS), shown, strict=False):
            frame = av.VideoFrame.from_ndarray(picture.pixels, "rgb24").reformat(*SIZE, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return clips.pieces(path, "lobby")


def worst_psnr(found: list[Picture], wanted: list[Picture]) -> float:
    """Return the lowest peak signal-to-noise ratio of a picture, in dB."""
    assert [p.offset for p in found] == [p.offset for p in wanted]
    squares = [np.square(a.pixels.astype(float) - b.pixels).mean() for a, b in zip(found, wanted, strict=True)]
    return min(10 * math.log10(255**2 / max(square, 1e-9)) for square in squares)


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_device_are_those_of_the_cpu(
    kind: str, codec: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    device = opened(kind)
    for piece in segments(codec, tmp_path_factory.getbasetemp()):
        for wanted in WANTED:
            alone = decode(piece.payload, frames=piece.segment.frames, **wanted)
            found, fallback = hardware.decode(piece.payload, device, frames=piece.segment.frames, **wanted)
            assert fallback is None, fallback
            assert (found.size, found.damaged) == (alone.size, alone.damaged)
            assert worst_psnr(found.pictures, alone.pictures) >= LEAST_DB


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_other_pictures_are_told_apart(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The comparison is no comparison if any two frames pass it."""
    first, *_, last = segments("h264", tmp_path_factory.getbasetemp())
    found, _ = hardware.decode(first.payload, opened(kind), at=[0.0])
    assert worst_psnr(found.pictures, decode(last.payload, at=[0.0]).pictures) < LEAST_DB


async def test_a_worker_without_its_device_does_not_start(server: NatsServer, tmp_path: Path) -> None:
    cv = ServiceProcess("cv", server.environment("cv"), tmp_path, DECODE_DEVICE="cuda:99")
    assert await cv.ended() == 2
    assert "DECODE_DEVICE=cuda:99 can't be used: libav reports" in cv.log and "or set DECODE_DEVICE=cpu" in cv.log


@pytest.mark.gpu
@pytest.mark.parametrize("kind", accelerator.KINDS)
def test_video_that_a_device_does_not_decode_falls_back(kind: str, tmp_path: Path) -> None:
    """H.264 in 4:2:2 with 10 bits, which few devices decode; those that do give the same picture."""
    device, path = opened(kind), tmp_path / "422.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv422p10le"
        for n in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), 9 * n, np.uint8), "rgb24")
            frame = frame.reformat(format="yuv422p10le")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    (piece, *_) = clips.pieces(path, "lobby")
    found, fallback = hardware.decode(piece.payload, device, fps=5)
    assert fallback is None or fallback.cause == "unsupported"
    assert worst_psnr(found.pictures, decode(piece.payload, fps=5).pictures) >= LEAST_DB
