"""The CPU of a frame probe next to decoding all wanted frames, by a camera's encoding; one thread."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.static_scene import encoding, scene
from bench.static_scene.encoding import RATES
from bench.static_scene.films import FPS
from bench.static_scene.scene import Disturbances
from services.cv.detectors.openvino_ssd import SsdMobileNet
from services.ingest.cutting.piece import Piece
from shared.static_scene.picture import SIZE
from shared.video.decode import FrameProbe, decode

SECONDS = 20


def shares() -> dict[str, float]:
    """Return by rate: CPU of a frame probe of each segment, as a share of decoding all wanted frames."""
    found = {}
    for name, rate in RATES.items():
        with tempfile.TemporaryDirectory() as folder:
            film = scene.frames(Disturbances(tree=3), [], int(SECONDS * 10), seed=1)
            pieces = encoding.encode(film, rate, name, Path(folder) / "film.mp4")
        found[name] = _seconds(pieces, enough=True) / _seconds(pieces, enough=False)
    return found


def _seconds(pieces: list[Piece], *, enough: bool) -> float:
    probe = FrameProbe(SIZE, lambda offset, grey: enough)
    gop: list[bytes] = []
    size = SsdMobileNet.size
    began = time.process_time()
    for piece in pieces:
        gop = [] if piece.gop == piece.segment.message_id else gop
        decode(piece.payload, fps=FPS, size=size, before=gop, probe=probe)
        gop = [*gop, piece.payload]
    return time.process_time() - began
