"""A scene as cameras encode it, cut into segments as ingest does.

Example:
    pieces = encode(frames, RATES["cbr"], "lobby", folder / "lobby.mp4")
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import msgspec
from av.video.frame import PictureType

from bench import footage_vtest as footage
from bench.static_scene import planes
from bench.static_scene.planes import Planes
from services.ingest.cutting.piece import Piece
from tidegate.demo import clips


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """An encoding. codec: of PyAV's wheel. gop_s: seconds between keyframes. options: of the encoder."""

    codec: str = "libx264"
    gop_s: float = 1.0
    options: dict[str, str]


_X264 = {"preset": "superfast", "bf": "0", "sc_threshold": "0", "threads": "1"}
RATES = {
    "quality": Rate(options={**_X264, "crf": "23"}),
    "vbr": Rate(options={**_X264, "b": "900k", "maxrate": "2M", "bufsize": "4M"}),
    "cbr": Rate(options={**_X264, "b": "1M", "maxrate": "1M", "minrate": "1M", "bufsize": "1M", "nal-hrd": "cbr"}),
    # A "smart codec" in vendors' terms: while little moves, keyframes are rare and other frames small.
    "smart": Rate(gop_s=10, options={**_X264, "crf": "27"}),
    "h265": Rate(
        codec="libx265",
        options={
            "preset": "ultrafast",
            "crf": "26",
            "x265-params": "log-level=none:pools=1:frame-threads=1:scenecut=0:open-gop=0:bframes=0",
        },
    ),
}


def encode(frames: Iterable[Planes], rate: Rate, camera: str, path: Path) -> list[Piece]:
    """Return the segments of a camera, as ingest cuts them. The first starts at footage.START."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(rate.codec, rate=footage.FPS)
        stream.width, stream.height, stream.pix_fmt = footage.WIDTH, footage.HEIGHT, "yuv420p"
        stream.gop_size = round(rate.gop_s * footage.FPS)
        params = rate.options.get("x265-params")
        keys = f":keyint={stream.gop_size}:min-keyint={stream.gop_size}"
        stream.options = {**rate.options, **({"x265-params": params + keys} if params else {})}
        for n, picture in enumerate(frames):
            frame = planes.frame(picture)
            frame.pts, frame.time_base, frame.pict_type = n, Fraction(1, footage.FPS), PictureType.NONE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    found = clips.pieces(path, camera)
    shift = footage.START - found[0].segment.start
    return [p._replace(segment=_dated(p, shift)) for p in found]


def _dated(piece: Piece, shift: dt.timedelta) -> object:
    return msgspec.structs.replace(piece.segment, start=piece.segment.start + shift)
