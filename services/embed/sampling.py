"""Decides which frames are embedded. Pure.

Up to one frame per second, only a segment's keyframe is decoded: a ninth of the work of all frames. Below one,
keyframes are thinned out by the wall clock: one is taken at each instant k / fps since the epoch, for whole k. So
segments are independent, and all replicas decide alike.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

from shared.contract.events import Frame
from shared.contract.segment import Segment
from shared.video.decode import sample

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS = dt.timedelta(milliseconds=1)


def has_instant(start: dt.datetime, duration: float, fps: float) -> bool:
    """Whether an instant lies in [start, start + duration). Times are rounded to milliseconds, as in headers."""
    first = _milliseconds(start)
    return _instants(first, fps) < _instants(first + round(duration * 1000), fps)


def shows(head: Segment, fps: float) -> bool | None:
    """At most one frame per second: whether a segment's own first frame is embedded on its behalf. None: the previous
    keyframe of its GOP is, if `is_first_since` holds.

    A keyframe is taken once, by the segment with the first instant since. With long GOPs that is often a dependent one:
    without those, instants could miss a camera's keyframes forever.
    """
    if fps == 1:
        return head.starts_gop
    if not has_instant(head.start, head.duration, fps):
        return False
    return True if head.starts_gop else None


def is_first_since(key: Segment, segment: Segment, fps: float) -> bool:
    """Whether the first instant since the keyframe of `key` lies in `segment`, which is later in the same GOP."""
    no_earlier = _instants(_milliseconds(key.start), fps) == _instants(_milliseconds(segment.start), fps)
    return no_earlier and has_instant(segment.start, segment.duration, fps)


def choose(frames: Sequence[Frame], start: dt.datetime, duration: float, fps: float) -> list[Frame]:
    """Return the analysed frames to embed: up to one per second, only the first, thinned as above."""
    if fps < 1 and not has_instant(start, duration, fps):
        return []
    if fps <= 1:
        return list(frames[:1])
    offsets = [(frame.time - start).total_seconds() for frame in frames]
    return [frames[i] for i in sample(offsets, duration, fps)] if frames else []


def _instants(ms: int, fps: float) -> int:
    """Return the number of instants before `ms`, a pure function: each instant is in exactly one segment."""
    return math.ceil(ms * fps / 1000)


def _milliseconds(time: dt.datetime) -> int:
    return (time - _EPOCH) // _MS
