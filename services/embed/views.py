"""The pictures that a message gives, whichever stream it comes from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from shared.contract.events import DetectedObject, SegmentRef
from shared.elastic.costs import DecodeWork
from shared.elastic.sampling_plan import SamplingPlan
from shared.video.decode import Image


class View(NamedTuple):
    """A picture. image: of the model's size. time: its frame's wall clock. object: what was cut out, None for all."""

    image: Image
    time: dt.datetime
    object: DetectedObject | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """The pictures of one segment, and what the event says of that. look, decoded: see `worker.service.Looked`."""

    camera: str
    segment: SegmentRef
    start: dt.datetime
    duration: float
    views: list[View]
    look: SamplingPlan | None = None
    decoded: DecodeWork | None = None

    @property
    def weight(self) -> int:
        return len(self.views)
