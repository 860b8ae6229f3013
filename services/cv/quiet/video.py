"""Quiet video, for the service: a glimpse of each segment, and what follows from it.

glimpse = await quiet.begin(message, head, made)
decoded = await segments.decode(..., glance=glimpse.glance)
quiet.unchanged(glimpse)                            # where `glimpse.match` says that nothing has changed
await quiet.looked(glimpse, frames)                 # else, once the detector has found what is in its frames
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from nats.aio.client import Client
from prometheus_client import Counter

from services.cv.quiet import earlier, scene
from services.cv.quiet.earlier import Earlier
from services.cv.quiet.entry import BadScene
from services.cv.quiet.gate import Camera, Gate
from services.cv.quiet.glimpse import Glimpse
from services.cv.quiet.shared_scenes import SharedScenes
from shared.contract import names
from shared.contract.events import DetectedObject
from shared.contract.segment import Segment
from shared.runtime.errors import TidegateError
from shared.runtime.telemetry import logger
from shared.video.segments import SegmentDecoder
from shared.worker import Message

# Has a segment looked at in full later, as its event says that it is unchanged. It returns once that is stored.
PutOff = Callable[[Earlier], Awaitable[None]]

SEGMENTS = Counter("tidegate_quiet_segments_total", "segments in which nothing had changed, so that no image was detected in")
IMAGES = Counter("tidegate_quiet_images_total", "images that were not detected in, as nothing had changed")
AGAIN = Counter("tidegate_quiet_again_total", "segments put off to be looked at after all, as the next one has something new")
REFUSED = Counter("tidegate_quiet_refused_total", "entries of the bucket scenes that could not be used")


class Seen(NamedTuple):
    """A glimpse of a segment that was told as `unchanged`, or is looked at in full."""

    glimpse: Glimpse
