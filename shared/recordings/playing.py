"""Plays files as one video, group by group, for playlists and clips. Pure.

    row = groups_between(files, since, until)
    text = playlist(row, head=lambda play: ..., group=lambda play: ...)

The video's clock goes on over holes and from file to file, so that no player jumps. The playlist also says when each
part was filmed. The bytes of a group are moved on the clock before they are played: `fmp4.later`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from shared.contract.segment import rfc3339
from shared.recordings.records import Count, Group, Recorded

# The shortest gap between two files that a playlist marks.
_HOLE = dt.timedelta(milliseconds=500)
_SECOND = dt.timedelta(seconds=1)


class Play(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A group of pictures in a video, which can be decoded by itself.

    n: its number, from 1. file: its key. begin, end: bytes of it. start, seconds: when it was filmed, and how long it
    is shown. at: seconds of the video at which it begins. headed, init, early: it is decoded after the first `init`
    bytes of the file `headed`, whose video begins at `early`; the clock restarts with each of these. ticks: shift on
    that clock. broken: whether it does not continue the previous group: time is missing, or another track begins.
    """

    n: Count
    file: str
    begin: Count
    end: Count
    start: dt.datetime
    seconds: float
    at: float
    ticks: int = 0
    headed: str
    init: Count
    early: Count = 0
    broken: bool = False

    @property
    def until(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.seconds)


def groups_between(files: Iterable[Recorded], since: dt.datetime, until: dt.datetime) -> list[Play]:
    """Return the groups that overlap [since, until). files: of one camera, in order."""
    row: list[Play] = []
    before: Recorded | None = None
    headed: tuple[Recorded, float] | None = None
    for file in files:
        groups = file.between(since, until)
        if not groups:
            continue
        at = row[-1].at + row[-1].seconds if row else 0.0
        same = before is not None and before.track == file.track
        if headed is None or not same:
            headed = file, at
        broken = not (row and same and abs(groups[0].start - row[-1].until) <= _HOLE)
        row += _of(file, groups, len(row) + 1, at, *headed, broken=broken)
        before = file
    return row


def _of(
    file: Recorded, groups: Sequence[Group], n: int, at: float, headed: Recorded, zero: float, *, broken: bool
) -> list[Play]:
    """Return the groups of a file, from second `at` of the video on. zero: second at which the head's clock begins."""
    # All groups of a file have the same shift, so that they follow each other to the tick.
    offset = at - (groups[0].start - file.start) / _SECOND
    ticks = round((offset - zero) * file.timescale) + headed.early - file.early
    if groups[0].start > file.start:
        # Its start is rounded to milliseconds: up to half a one later than its samples, which can't begin before 0.
        ticks += math.ceil(file.timescale / 2000)
    return [
        Play(
            n=n + i,
            file=file.key,
            begin=group.begin,
            end=group.end,
            start=group.start,
            seconds=(group.until - group.start) / _SECOND,
            at=offset + (group.start - file.start) / _SECOND,
            ticks=ticks,
            headed=headed.key,
            init=headed.init,
            early=headed.early,
            broken=broken and i == 0,
        )
        for i, group in enumerate(groups)
    ]


def playlist(row: Sequence[Play], *, head: Callable[[Play], str], group: Callable[[Play], str]) -> str:
    """Return an HTTP Live Streaming playlist (RFC 8216) of a finished video.

    head, group: addresses of a group's `init` bytes, and of the group's shifted bytes.
    """
    longest = max((play.seconds for play in row), default=1.0)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{math.ceil(longest)}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    headed = ""
    for play in row:
        if play.broken:
            if play.headed != headed:
                # After a hole the clock goes on. Players restart at a discontinuity: VLC ends if no head follows.
                lines += ["#EXT-X-DISCONTINUITY"] if headed else []
                headed = play.headed
                lines.append(f'#EXT-X-MAP:URI="{head(play)}"')
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(play.start)}")
        lines += [f"#EXTINF:{play.seconds:.3f},", group(play)]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])
