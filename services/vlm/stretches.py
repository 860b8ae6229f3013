"""Which stretches of a camera's time are captioned, and which segment begins each. Pure.

Stretches end at k x every + a phase of the camera's own, for whole k since 1970: so every process plans alike, a second
plan of the same stretch is the same job, and cameras do not all ask at once. A stretch is begun by the segment in which
it begins, by those shortly after, as that one may be missing, and, where the camera came only later, by the first one
of that connection.
"""

from __future__ import annotations

import datetime as dt
import zlib
from typing import NamedTuple

import msgspec

from shared.contract.segment import Segment

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)
# Under MEDIA's ten minutes, with as much again for the job to wait: what has expired can't be captioned.
LONGEST_S = 300.0
# Headers have milliseconds, and a segment may be lost: two of them, at a second each.
SHORTLY_MS = 2000


class CaptionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """every_s: between two ends; 0: nothing is captioned. chunk_s: covered by each; 0: all since the last one.

    overlap_s: covered before that.
    """

    every_s: float
    chunk_s: float = 0.0
    overlap_s: float = 0.0

    @property
    def length_s(self) -> float:
        """Of a stretch."""
        return min(LONGEST_S, (self.chunk_s or self.every_s) + self.overlap_s)


class CaptionStretch(NamedTuple):
    start: dt.datetime
    end: dt.datetime


def begun_by(segment: Segment, plan: CaptionPlan) -> list[CaptionStretch]:
    """The stretches that a segment begins, in order."""
    every, length = round(plan.every_s * 1000), round(plan.length_s * 1000)
    if every <= 0:
        return []
    start = (segment.start - _EPOCH) // _MS
    # Stretches that end in [first, past) are this segment's.
    first = start + 1 if segment.n == 0 else max(start + 1, start + length - SHORTLY_MS)
    past = start + max(1, round(segment.duration * 1000)) + length
    phase = zlib.crc32(segment.camera.encode()) % every
    k = -(-(first - phase) // every)
    found = []
    while (end := k * every + phase) < past:
        found.append(CaptionStretch(_EPOCH + (end - length) * _MS, _EPOCH + end * _MS))
        k += 1
    return found
