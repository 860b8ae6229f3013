"""Puts segments one after the other on a clock, as their headers date them. Pure.

    timeline = Timeline(origin)
    placed = timeline.place(video, segment.start, segment.duration)

A segment's own times are exact, and begin at 0. Its header says when it begins, to the millisecond. So one that follows
the one before is placed where that ended, to the tick; and by its header where frames were lost in between.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec

from shared.runtime.errors import BadSegment
from shared.video.moof import Fragment
from shared.video.moov import Track

# What headers say is rounded to a millisecond, at both of a segment's ends.
_ROUNDING_US = 2000
_MICROSECOND = dt.timedelta(microseconds=1)
_MOST_SECONDS = 3600


class Video(msgspec.Struct, frozen=True):
    """A segment's MP4: its track and its fragments, of which there is one at least. Its bytes stay where they are."""

    track: Track
    fragments: tuple[Fragment, ...]

    @property
    def shown(self) -> range:
        """From when its first picture is shown until its last one is, in ticks of its own clock."""
        times = [
            decoded + sample.offset
            for fragment in self.fragments
            for sample, decoded in zip(fragment.samples, fragment.decoded, strict=True)
        ]
        return range(min(times), max(times))

    @property
    def early(self) -> int:
        """Ticks from when its first sample is decoded until its first picture is shown."""
        return self.shown.start - self.fragments[0].decode_time

    @property
    def length(self) -> int:
        """Ticks from its first picture until the last one has been shown."""
        ends = [
            decoded + sample.offset + sample.duration
            for fragment in self.fragments
            for sample, decoded in zip(fragment.samples, fragment.decoded, strict=True)
        ]
        return max(ends) - self.shown.start


class Placed(NamedTuple):
    """Where a segment lies on the timeline, in ticks.

    shown: its first picture. end: what follows it. decoded: its first sample. moved: what its samples' composition
    offsets change by, so that all segments are decoded equally early.
    """

    shown: int
    end: int
    decoded: int
    moved: int


class Timeline:
    """See the module. Segments of one track; after another one, `place` begins anew with its header.

    origin: time 0. Nothing is shown before it. early: ticks by which samples may be decoded before they are shown, at
    time 0 too. Where it is less than what a segment asks for, it becomes that, from this segment on.
    """

    def __init__(self, origin: dt.datetime, early: int = 0) -> None:
        self._origin = origin
        self._timescale = 0
        self._early, self._free = early, -early
        self._last: Placed | None = None
        self._last_shown = 0

    def place(self, video: Video, start: dt.datetime, duration: float) -> Placed:
        """start: wall clock of the first picture. duration: seconds by the header. Raises BadSegment."""
        if video.track.timescale != self._timescale:
            if self._timescale:
                self._early, self._free, self._last = 0, 0, None
            self._timescale = video.track.timescale
        own = video.shown
        begin = self._begin(max(0, self._ticks(start)))
        early = video.early
        self._early = max(self._early, early)
        decoded = max(begin - self._early, self._free)
        length = video.length
        announced = round(duration * self._timescale)
        if abs(announced - length) * 10**6 > _ROUNDING_US * self._timescale:
            length = max(len(own) + 1, announced)
        placed = Placed(begin, begin + length, decoded, begin - early - decoded)
        self._last, self._last_shown = placed, begin + len(own)
        self._free = decoded + video.fragments[-1].last - video.fragments[0].decode_time + 1
        return placed

    def _begin(self, wall: int) -> int:
        if self._last is None:
            return wall
        late = wall - self._last.end
        if abs(late) * 10**6 <= _ROUNDING_US * self._timescale:
            return self._last.end
        # It may begin before the one before it ends where that one's last picture was taken to be shown for longer than
        # it was. Where it begins before that picture, two clocks differ: then it follows.
        return wall if wall > self._last_shown else self._last.end

    def _ticks(self, time: dt.datetime) -> int:
        microseconds = (time - self._origin) // _MICROSECOND
        return (microseconds * self._timescale + 500_000) // 10**6


def check_span(video: Video) -> Video:
    """The same. Raises BadSegment where its times are further apart than a segment's can be."""
    if len(video.shown) > _MOST_SECONDS * video.track.timescale:
        raise BadSegment(f"its times span over {_MOST_SECONDS} s")
    return video
