"""Selects the segments of a camera's next file. Pure.

    found = next_window(heads, ended=False)       # None: later segments decide

A file begins with a segment that decoding can begin with, and ends before such a segment, a minute later. So each file
plays alone. It ends earlier if the camera was away, sends another codec or size, or restarts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, NamedTuple

from shared.contract.segment import Segment

LENGTH = dt.timedelta(seconds=60)
# A longer group of pictures is cut, so that memory is bounded: its rest can't be played alone.
LONGEST = 5 * LENGTH
MOST_BYTES = 256 * 2**20
# The shortest gap between two segments that is a hole: headers are rounded, and cameras' clocks vary.
HOLE = dt.timedelta(seconds=2)


class Head(NamedTuple):
    """A segment in MEDIA, without its video. main: whether it is of the main stream of a camera with a substream."""

    seq: int
    segment: Segment
    size: int
    main: bool = False

    @property
    def end(self) -> dt.datetime:
        return self.segment.start + dt.timedelta(seconds=self.segment.duration)


class Window(NamedTuple):
    """passed: how many segments at the beginning can't be decoded. taken: how many after these make the file; 0 if none
    can be decoded. why: the reason for its end.
    """

    passed: int
    taken: int
    why: Literal["full", "hole", "other", "long", "end"]


def next_window(heads: Sequence[Head], *, ended: bool) -> Window | None:
    """Return the window of the next file; None: wait for more.

    heads: stored segments of a camera from its position on, in order. ended: whether it has been silent for long, so
    that the remaining segments make a file.
    """
    first = next((n for n, head in enumerate(heads) if head.segment.starts_gop), None)
    if first is None:
        # The segment that they are decoded from is gone or damaged: waiting is pointless.
        return Window(len(heads), 0, "end") if heads else None
    size = heads[first].size
    for n in range(first + 1, len(heads)):
        why = _ends(heads[first], heads[n - 1], heads[n], size)
        if why:
            return Window(first, n - first, why)
        size += heads[n].size
    return Window(first, len(heads) - first, "end") if ended else None


def _ends(first: Head, before: Head, head: Head, size: int) -> Literal["full", "hole", "other", "long"] | None:
    """Return why a file that begins with `first` ends before `head`, if it does."""
    if _kind(head.segment) != _kind(before.segment) or head.segment.epoch != before.segment.epoch:
        return "other"
    if head.segment.n != before.segment.n + 1 or abs(head.segment.start - before.end) > HOLE:
        return "hole"
    length = head.end - first.segment.start
    if head.segment.starts_gop and head.segment.start - first.segment.start >= LENGTH:
        return "full"
    return "long" if length > LONGEST or size + head.size > MOST_BYTES else None


def _kind(segment: Segment) -> tuple[str, int, int]:
    return segment.codec, segment.width, segment.height
