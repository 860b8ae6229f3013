"""Reduces a file to its keyframes, each shown until the next: few bytes, and a picture every few seconds.

    read = keyframe_segments("lobby", record, data)        # segments of a frame or two, to be made a file by `files`

Pure: no picture changes, and none is decoded. Video that does not begin with a keyframe, as with intra refresh, can't
be thinned: the result is empty then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from shared.recordings import cutting
from shared.recordings.cutting import LENGTH_SIZE, OriginalSegment
from shared.recordings.files import SegmentWithVideo
from shared.recordings.records import Recorded
from shared.recordings.windows import Head
from shared.video import fmp4
from shared.video.mp4 import moof
from shared.video.mp4.moof import Fragment, Sample
from shared.video.recovery import recovery_frames
from shared.video.timeline import Video

_SECOND = dt.timedelta(seconds=1)


class _Key(NamedTuple):
    """A keyframe. decoded: in ticks of its segment's clock. begin, end: its bytes."""

    decoded: int
    sample: Sample
    begin: int
    end: int


class _Part(NamedTuple):
    """A segment with keyframes."""

    whole: OriginalSegment
    video: Video
    keys: list[_Key]

    @property
    def start(self) -> dt.datetime:
        """The time of its first keyframe."""
        ticks = self.keys[0].decoded + self.keys[0].sample.offset - self.video.shown.start
        return self.whole.segment.start + ticks / self.video.track.timescale * _SECOND


def keyframe_segments(camera: str, record: Recorded, data: bytes) -> list[SegmentWithVideo]:
    """Return a file's segments with keyframes, reduced to these. data: all of the file. Raises BadSegment."""
    wholes = list(cutting.split_file(camera, record, data))
    videos = ((whole, fmp4.read(whole.payload)) for whole in wholes)
    parts = [_Part(whole, video, keys) for whole, video in videos if (keys := _keys(whole, video))]
    if not parts or parts[0].start != wholes[0].segment.start:
        return []
    ends = [*(part.start for part in parts[1:]), record.end]
    return [_thin(part, until) for part, until in zip(parts, ends, strict=True)]


def _keys(whole: OriginalSegment, video: Video) -> list[_Key]:
    codec, data = whole.segment.codec, memoryview(whole.payload)
    found: list[_Key] = []
    for fragment in video.fragments:
        # Each group of a file is contiguous.
        begin = fragment.spans[0][0]
        for decoded, sample in zip(fragment.decoded, fragment.samples, strict=True):
            end = begin + sample.size
            # Recovery points are marked as keyframes, too.
            if sample.key and not recovery_frames(codec, data[begin:end], LENGTH_SIZE):
                found.append(_Key(decoded, sample, begin, end))
            begin = end
    return found


def _thin(part: _Part, until: dt.datetime) -> SegmentWithVideo:
    """Build the reduced segment. until: the end of its last keyframe."""
    whole, timescale, keys = part.whole, part.video.track.timescale, part.keys
    seconds = (until - part.start) / _SECOND
    end = keys[0].decoded + max(round(seconds * timescale), keys[-1].decoded - keys[0].decoded + 1)
    samples = _lasting(keys, end)
    fragment = Fragment(keys[0].decoded, samples, tuple((key.begin, key.end) for key in keys))
    frames = b"".join(whole.payload[key.begin : key.end] for key in keys)
    payload = fmp4.init(part.video) + moof.written(fragment, 1) + frames
    segment = replace(whole.segment, start=part.start, duration=seconds, frames=len(keys), key_seq=None, recovery=None)
    return SegmentWithVideo(Head(whole.seq, segment, len(payload)), payload)


def _lasting(keys: Sequence[_Key], end: int) -> tuple[Sample, ...]:
    """Return samples that each last until the next one is decoded, the last until `end`."""
    ends = [*(key.decoded for key in keys[1:]), end]
    return tuple(key.sample._replace(duration=until - key.decoded) for key, until in zip(keys, ends, strict=True))
