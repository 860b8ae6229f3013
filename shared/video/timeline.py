"""Puts segments one after the other on a clock, by the dates in their headers. Pure.

    timeline = Timeline(origin)
    placed = timeline.place(video, segment.start, segment.duration)

A segment's own times are exact, and begin at 0. Its header dates its beginning to the millisecond. So a contiguous
segment is placed at the previous one's end, to the tick; after lost frames it is placed by its header.
"""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import msgspec

from shared.runtime.errors import BadSegment
from shared.video.mp4.moof import Fragment
from shared.video.mp4.moov import Track

# Header times are rounded to a millisecond, at both ends of a segment.
_ROUNDING_US = 2000
_MICROSECOND = dt.timedelta(microseconds=1)
_MOST_SECONDS = 3600


class Video(msgspec.Struct, frozen=True):
    """A segment's MP4: its track and its fragments, at least one. Its bytes are not copied."""

    track: Track
    fragments: tuple[Fragment, ...]

    @property
    def shown(self) -> range:
        """The display times from its first picture to its last, in ticks of its own clock."""
        times = [
            decoded + sample.offset
            for fragment in self.fragments
            for sample, decoded in zip(fragment.samples, fragment.decoded, strict=True)
        ]
        return range(min(times), max(times))

    @property
    def early(self) -> int:
        """Ticks from the decoding of its first sample to the display of its first picture."""
        return self.shown.start - self.fragments[0].decode_time

    @property
    def length(self) -> int:
        """Ticks from its first picture to the end of its last one."""
        ends = [
            decoded + sample.offset + sample.duration
            for fragment in self.fragments
            for sample, decoded in zip(fragment.samples, fragment.decoded, strict=True)
        ]
        return max(ends) - self.shown.start


class Placed(NamedTuple):
    """The place of a segment on the timeline, in ticks.

    shown: its first picture. end: the start of the next one. decoded: its first sample. moved: the change of its
    samples' composition offsets, so that all segments are decoded equally early.
    """

    shown: int
    end: int
    decoded: int
    moved: int


class Timeline:
    """See the module. Segments of one track; after another track, `place` starts again with its header.

    origin: time 0. Nothing is shown before it. early: ticks by which samples may be decoded before they are shown, at
    time 0 too. If a segment needs more, it becomes that, from this segment on.
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
        # It may begin before the previous one's end, if that one's last picture was assumed to last too long. If it
        # begins before that picture, two clocks differ: then it follows.
        return wall if wall > self._last_shown else self._last.end

    def _ticks(self, time: dt.datetime) -> int:
        microseconds = (time - self._origin) // _MICROSECOND
        return (microseconds * self._timescale + 500_000) // 10**6


def check_span(video: Video) -> Video:
    """Return `video`. Raises BadSegment if its times are further apart than a segment's can be."""
    if len(video.shown) > _MOST_SECONDS * video.track.timescale:
        raise BadSegment(f"its times span over {_MOST_SECONDS} s")
    return video
