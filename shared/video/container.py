"""A segment's MP4, opened for reading.

Example:
    with opened(payload) as container:
        packets = list(container.demux(container.streams.video[0]))
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av

from shared.runtime.errors import BadSegment
from shared.video.mp4 import announced

# The codecs of segments by contract. Each further decoder of libavcodec would add attack surface.
CODECS = ("h264", "hevc")
# Maximum number of frames that an MP4 may announce: libav makes a table of them, at 35 bytes each, before it reads one.
# Boxes of whole files announce each three times.
MOST_FRAMES = 100_000
# Without a decoder, libavformat does not decode the first keyframe just for its pixel format: opening 1080p H.264 takes
# 0.25 ms instead of 21.
_OPTIONS = {"codec_whitelist": "none"}
# Text that is not UTF-8 must not make video unreadable. PyAV 18 needs this option; 19 accepts such text without one.
_TEXT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@contextmanager
def opened(payload: bytes, hwaccel: Any = None) -> Iterator[Any]:
    """Open `payload` as PyAV's container, with at least one video stream. Raises BadSegment otherwise.

    hwaccel: PyAV's HWAccel, for decoders on a device; None: in software.
    """
    if (count := announced.frames(payload)) > MOST_FRAMES:
        raise BadSegment(f"announces {count} frames, where {MOST_FRAMES} are the most")
    try:
        container = av.open(io.BytesIO(payload), "r", format="mp4", options=_OPTIONS, hwaccel=hwaccel, **_TEXT)
    except (av.FFmpegError, ValueError) as e:
        reason = e.strerror if isinstance(e, av.FFmpegError) else e
        raise BadSegment(f"not an MP4 that can be opened: {reason}") from e
    with container:
        if not container.streams.video:
            raise BadSegment("holds no video")
        yield container
