"""The stretches of a camera's time to caption, and the segment that begins each. Pure.

Stretches end at k x every + a phase per camera, for whole k since 1970. So every process plans alike, planning a
stretch twice gives the same job, and cameras' requests are spread out. A stretch is begun by the segment at its start.
As that one may be missing, segments shortly after it begin the stretch too, and so does the first segment of a later
connection.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from shared.contract.cameras import LONGEST_CAPTION_S
from shared.contract.segment import Segment

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)
# A segment this much later still begins the stretch: up to two segments of a second may be lost.
SHORTLY_MS = 2000
# Segments last seconds: one of an hour would begin all of that hour's stretches.
LONGEST_SEGMENT_MS = 300_000


class CaptionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The caption schedule of a camera. every_s: between two stretches' ends; 0: no captions.

    chunk_s: the length of a stretch; 0: all since the last one. overlap_s: additional seconds before that.
    """

    every_s: float
    chunk_s: float = 0.0
    overlap_s: float = 0.0

    @property
    def length_s(self) -> float:
        """Length of a stretch."""
        return min(LONGEST_CAPTION_S, (self.chunk_s or self.every_s) + self.overlap_s)


class CaptionStretch(NamedTuple):
    """A stretch of a camera's time with one caption."""

    start: dt.datetime
    end: dt.datetime


def begun_by(segment: Segment, plan: CaptionPlan) -> list[CaptionStretch]:
    """Return the stretches that a segment begins, in order of time."""
    start, length = _ms(segment.start), _length(plan)
    # Stretches that end in [first, past) are this segment's.
    first = start + 1 if segment.n == 0 else max(start + 1, start + length - SHORTLY_MS)
    past = start + min(max(1, round(segment.duration * 1000)), LONGEST_SEGMENT_MS) + length
    return list(_ending(segment.camera, first, past, plan))


def over(camera: str, since: dt.datetime, until: dt.datetime, plan: CaptionPlan) -> Iterator[CaptionStretch]:
    """Yield the stretches that overlap [since, until), in order of time, whether or not there is video."""
    return _ending(camera, _ms(since) + 1, _ms(until) + _length(plan), plan)


def _ending(camera: str, first: int, past: int, plan: CaptionPlan) -> Iterator[CaptionStretch]:
    """Yield the stretches that end in [first, past), in milliseconds since 1970."""
    every, length = round(plan.every_s * 1000), _length(plan)
    if every <= 0:
        return
    phase = zlib.crc32(camera.encode()) % every
    k = -(-(first - phase) // every)
    while (end := k * every + phase) < past:
        yield CaptionStretch(_EPOCH + (end - length) * _MS, _EPOCH + end * _MS)
        k += 1


def _ms(time: dt.datetime) -> int:
    return (time - _EPOCH) // _MS


def _length(plan: CaptionPlan) -> int:
    return round(plan.length_s * 1000)
