"""Selects the recorded stream of a camera with two: the main one, and the substream while that is away. Pure.

    heads = select_streams(heads, ledger.last, ended=False)

A camera without a main stream has one stream, and all of it is recorded. Whether there is a main stream follows from
the segments alone: so a change of the camera's settings loses nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from shared.recordings.ledger import Last
from shared.recordings.windows import HOLE, Head

# The most by which the clocks of two streams differ, as ingest ensures.
SKEW = dt.timedelta(seconds=0.2)
# The main stream is away once the substream is this much ahead: its segments are larger, and take longer to arrive.
AWAY = dt.timedelta(seconds=10)
# A segment is at most this late, as long as ingest's buffers; one of an earlier time follows a clock that stepped back.
LATE = dt.timedelta(seconds=60)


def select_streams(heads: Sequence[Head], last: Last | None, *, ended: bool) -> list[Head]:
    """Return the segments to record, each time from one stream, in order of sequence.

    heads: of both streams, in that order, after the last processed one. ended: whether both have been silent for long.
    Segments of the substream after the last one of the main stream are left out until that is away.
    """
    edge: Last | Head | None = last if last and last.main else None
    found: list[Head] = []
    substream: list[Head] = []
    for head in heads:
        if not head.main:
            substream.append(head)
        elif edge or last is None or not _shows_again(last.end, head):
            found += _between(edge, substream, head)
            found.append(head)
            edge, substream = head, []
    return found + _after(edge, substream, ended=ended)


def _between(edge: Last | Head | None, substream: Sequence[Head], main: Head) -> list[Head]:
    """Return the segments of the substream that fill a hole before one of the main stream. edge: what precedes them."""
    if edge and main.segment.start - edge.end <= HOLE:
        return []
    return [head for head in _beginning(edge, substream) if head.end <= main.segment.start + SKEW]


def _after(edge: Last | Head | None, substream: Sequence[Head], *, ended: bool) -> list[Head]:
    if edge and substream:
        ahead = abs(substream[-1].end - edge.end)
        if ahead < AWAY and not (ended and ahead > HOLE):
            return []
    return _beginning(edge, substream)


def _beginning(edge: Last | Head | None, substream: Sequence[Head]) -> list[Head]:
    """Return the substream from its first keyframe on that shows nothing again."""
    if edge is None:
        return list(substream)
    new = [head for head in substream if not _shows_again(edge.end, head)]
    first = next((n for n, head in enumerate(new) if head.segment.starts_gop), len(new))
    return new[first:]


def _shows_again(end: dt.datetime, head: Head) -> bool:
    """Whether a segment shows a time of the other stream that is recorded until `end`."""
    return SKEW < end - head.segment.start <= LATE
