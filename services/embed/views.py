"""The pictures of a message, of any stream."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from shared.contract.events import DetectedObject, SegmentRef
from shared.elastic.costs import DecodeWork
from shared.elastic.sampling_plan import SamplingPlan
from shared.video.decode import Image


class View(NamedTuple):
    """A picture. image: of the model's size. time: its frame's wall clock. object: of the crop, None for the frame."""

    image: Image
    time: dt.datetime
    object: DetectedObject | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """The pictures of one segment, and its data for the event. plan, decoded: see `worker.service.Degradable`."""

    camera: str
    segment: SegmentRef
    start: dt.datetime
    duration: float
    views: list[View]
    plan: SamplingPlan | None = None
    decoded: DecodeWork | None = None

    @property
    def weight(self) -> int:
        return len(self.views)
