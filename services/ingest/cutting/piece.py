"""A segment on its way from the camera's thread to JetStream."""

from __future__ import annotations

from typing import NamedTuple

from services.ingest.streams import Stream
from shared.contract.segment import Segment


class Piece(NamedTuple):
    """A segment, ready but for `Key-Seq`: that is known once JetStream has stored its GOP's first segment.

    gop: message id of that first segment. cut: when it was cut, in seconds since the Unix epoch. base: message id of
    the segment to decode from, if that is an earlier one than `gop`: with intra refresh alone. stream: of its camera.
    """

    segment: Segment
    payload: bytes
    gop: str
    cut: float
    base: str = ""
    stream: Stream = Stream.MEDIA

    @property
    def size(self) -> int:
        return len(self.payload)

    @property
    def subject(self) -> str:
        return self.stream.subject(self.segment.camera)

    @property
    def dependent(self) -> bool:
        return self.gop != self.segment.message_id
