"""The source of frames: a segment, or a group of pictures of a recording."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from shared.bus.direct import Stored
from shared.contract.segment import Segment


class Part(NamedTuple):
    """offsets: in seconds, of its wanted frames. seq: in MEDIA; 0: it is recorded.

    head: of a segment; None: it needs no other to decode.
    """

    camera: str
    seq: int
    start: dt.datetime
    seconds: float
    data: bytes
    head: Segment | None
    offsets: list[float]

    @classmethod
    def of(cls, stored: Stored, head: Segment, offsets: list[float]) -> Part:
        return cls(head.camera, stored.seq, head.start, head.duration, stored.data, head, offsets)

    @property
    def end(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.seconds)
