"""Segments of a video file, as ingest would publish them, without a camera or a server: for load and tests."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from services.ingest.camera.opening import open_source
from services.ingest.cutting.clock import FixedClock
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.settings import Cutting, Reaching
from shared.contract.cameras import Camera
from shared.contract.memory import MAX_PAYLOAD


def pieces(path: Path, camera: str, *, segment_s: float = 1.0, most: int | None = None) -> list[Piece]:
    """Return the segments of a file, at least `most` of a longer one; the first starts now.

    Raise libav's error if the file is no video.
    """
    source = open_source(Camera(url=path.resolve().as_uri(), realtime=False), None, Reaching(10.0))
    found: list[Piece] = []
    try:
        cutter = Segmenter(
            camera, source.stream, Cutting(segment_s, MAX_PAYLOAD - 4096), FixedClock(time.time()), found.append
        )
        for packet in source.packets(threading.Event()):
            cutter.push(packet, time.time())
            if most and len(found) >= most:
                return found
        cutter.finish(time.time())
    finally:
        source.close()
    return found
