"""What a message gives to embed, whichever stream it comes from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from shared.contract.events import DetectedObject, SegmentRef
from shared.video.decode import Image


class View(NamedTuple):
    """image: of the model's size. time: wall clock of its frame. object: what was cut out; None: the whole frame."""

    image: Image
    time: dt.datetime
    object: DetectedObject | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """Pictures out of one segment, and which: what the event says of it."""

    camera: str
    segment: SegmentRef
    start: dt.datetime
    duration: float
    views: list[View]

    @property
    def weight(self) -> int:
        return len(self.views)
