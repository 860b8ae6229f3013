"""Which of a camera's segments make its next file. Pure.

    found = window(heads, ended=False)       # None: what follows decides, and is not stored yet

A file begins with what decoding can begin with, and ends before such a one, a minute later: so each plays alone, and
none needs another. It ends earlier where the camera was away, sends another codec or size, or begins anew.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, NamedTuple

from shared.contract.segment import Segment

LENGTH = dt.timedelta(seconds=60)
# A group of pictures that lasts longer is cut, so that memory is bounded: what follows can't be played alone.
LONGEST = 5 * LENGTH
MOST_BYTES = 256 * 2**20
# What is missing between two segments, from which on it is a hole: headers are rounded, and cameras' clocks are theirs.
HOLE = dt.timedelta(seconds=2)


class Head(NamedTuple):
    """A segment in MEDIA, without its video."""

    seq: int
    segment: Segment
    size: int

    @property
    def end(self) -> dt.datetime:
        return self.segment.start + dt.timedelta(seconds=self.segment.duration)


class Window(NamedTuple):
    """passed: how many segments at the beginning can't be decoded. taken: how many after these make the file; 0 where
    all can't be. why: it ends there.
    """

    passed: int
    taken: int
    why: Literal["full", "hole", "other", "long", "end"]


def window(heads: Sequence[Head], *, ended: bool) -> Window | None:
    """heads: what is stored of a camera from its place on, in order. ended: it has sent nothing for long, so that what
    there is makes a file. None: wait for more.
    """
    first = next((n for n, head in enumerate(heads) if head.segment.starts_gop), None)
    if first is None:
        # What they are decoded from is gone, or was damaged: they wait for nothing.
        return Window(len(heads), 0, "end") if heads else None
    size = heads[first].size
    for n in range(first + 1, len(heads)):
        why = _ends(heads[first], heads[n - 1], heads[n], size)
        if why:
            return Window(first, n - first, why)
        size += heads[n].size
    return Window(first, len(heads) - first, "end") if ended else None


def _ends(first: Head, before: Head, head: Head, size: int) -> Literal["full", "hole", "other", "long"] | None:
    """Why a file that begins with `first` ends before `head`."""
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
