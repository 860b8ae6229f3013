"""Joins segments of a camera into files, with a record of each. Pure, and without copying the video.

    for file in build_files(read, token)[0]:
        await store.put(file.record.key, list(file.buffers))

Damaged video is dropped, with what can't be decoded without it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shared.recordings.records import Cause, Cut, Hole, Recorded, file_key
from shared.recordings.windows import Head
from shared.runtime.errors import BadSegment
from shared.video import fmp4
from shared.video.fmp4 import Joined, Part
from shared.video.timeline import Video

_MS = dt.timedelta(milliseconds=1)


class SegmentWithVideo(NamedTuple):
    """A segment with its video."""

    head: Head
    payload: bytes


class VideoFile(NamedTuple):
    """A file. read: the segments in it."""

    record: Recorded
    joined: Joined
    read: Sequence[SegmentWithVideo]

    @property
    def buffers(self) -> Iterator[bytes | memoryview]:
        """Yield all its bytes."""
        return self.joined.buffers([one.payload for one in self.read])


class _Whole(NamedTuple):
    read: SegmentWithVideo
    video: Video


def build_files(read: Sequence[SegmentWithVideo], token: str) -> tuple[list[VideoFile], list[Hole]]:
    """Return the files of one window: one, or more if the track changes; and the holes of damaged segments.

    read: of one camera, in order. token: in the names of the files.
    """
    whole, damaged = _split_damaged(read)
    found = list[VideoFile]()
    while whole:
        joined = fmp4.join([_part(one) for one in whole])
        row = whole[: joined.placed]
        found.append(VideoFile(_record(row, joined, f"{token}-{len(found)}"), joined, [one.read for one in row]))
        whole = whole[joined.placed :]
    return found, holes(damaged, "damaged")


def _split_damaged(read: Sequence[SegmentWithVideo]) -> tuple[list[_Whole], list[Head]]:
    """Return (segments that can be decoded, those that can't)."""
    whole, damaged, broken = list[_Whole](), list[Head](), False
    for one in read:
        broken = broken and not one.head.segment.starts_gop
        if not broken:
            try:
                whole.append(_Whole(one, fmp4.read(one.payload)))
                continue
            except BadSegment:
                broken = True
        damaged.append(one.head)
    return whole, damaged


def _part(one: _Whole) -> Part:
    segment = one.read.head.segment
    return Part(one.video, segment.start, segment.duration)


def _record(row: Sequence[_Whole], joined: Joined, token: str) -> Recorded:
    first, last = row[0].read.head, row[-1].read.head
    track = row[0].video.track
    sizes = tuple(group.size for group in joined.groups)
    return Recorded(
        key=file_key(first.segment.camera, first.segment.start, token),
        start=first.segment.start,
        end=max(one.read.head.end for one in row),
        codec=track.codec,
        width=track.width,
        height=track.height,
        track=hashlib.sha256(fmp4.init(row[0].video)).hexdigest()[:16],
        timescale=track.timescale,
        early=joined.early,
        init=len(joined.init),
        head=joined.size - sum(sizes),
        groups_ms=tuple(round(group.shown * 1000) for group in joined.groups),
        sizes=sizes,
        first_seq=first.seq,
        last_seq=last.seq,
        epoch=last.segment.epoch,
        last_n=last.segment.n,
        segments=len(row),
        cuts=tuple(_cut(one, first.segment.start) for one in row),
    )


def _cut(one: _Whole, start: dt.datetime) -> Cut:
    head = one.read.head
    frames = sum(len(fragment.samples) for fragment in one.video.fragments)
    begin = round((head.segment.start - start) / _MS)
    return Cut(head.seq, head.segment.n, begin, round(head.segment.duration * 1000), frames)


def holes(missing: Sequence[Head], cause: Cause) -> list[Hole]:
    """Return one hole for each run of consecutive segments."""
    found: list[Hole] = []
    before: Head | None = None
    for head in missing:
        if before and head.segment.epoch == before.segment.epoch and head.segment.n == before.segment.n + 1:
            last = found.pop()
            found.append(Hole(since=last.since, until=head.end, cause=cause, segments=last.segments + 1))
        else:
            found.append(Hole(since=head.segment.start, until=head.end, cause=cause, segments=1))
        before = head
    return found
