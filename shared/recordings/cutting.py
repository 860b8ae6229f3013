"""Cuts a file of a recording into its original segments. Pure: nothing is decoded, and no picture changes.

    for one in split_file(camera, record, data):
        decode(one.payload, before=one.before, fps=5, frames=one.segment.frames)

A decoder gets what a worker decoded live: the same frames, each with those before it in its group of pictures.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from msgspec.structs import replace

from shared.contract.segment import Codec, Segment
from shared.recordings.records import Cut, Recorded
from shared.runtime.errors import BadSegment
from shared.video import fmp4
from shared.video.mp4 import moof
from shared.video.mp4.moof import Fragment, Sample
from shared.video.recovery import recovery_frames

_MS = dt.timedelta(milliseconds=1)
# Bytes of the length prefix of a NAL unit, as ingest writes it.
LENGTH_SIZE = 4


class OriginalSegment(NamedTuple):
    """A segment as it was stored. seq: in MEDIA. before: payloads to decode before it, oldest first."""

    segment: Segment
    seq: int
    payload: bytes
    before: tuple[bytes, ...]


class _Run(NamedTuple):
    """Consecutive frames of one fragment. begin, end: bytes of the file."""

    decode_time: int
    samples: tuple[Sample, ...]
    begin: int
    end: int


def split_file(camera: str, record: Recorded, data: bytes) -> Iterator[OriginalSegment]:
    """Yield the segments of a file, in order. data: all of it. Raises BadSegment if it contradicts its record."""
    video = fmp4.read(data)
    codec = _codec(record)
    init = fmp4.init(video)
    payloads: list[bytes] = []
    starts: list[_Start] = []
    counts = [cut.frames for cut in record.cuts]
    for n, (cut, runs) in enumerate(zip(record.cuts, _runs(video.fragments, counts), strict=True)):
        payloads.append(init + b"".join(_fragment(data, run, k) for k, run in enumerate(runs, 1)))
        start = _start(codec, data, runs[0])
        if start is not None:
            starts.append(_Start(n, start))
        begin = _first(starts, n, counts)
        key_seq = record.cuts[begin].seq if begin < n else None
        head = replace(segment_of(camera, record, cut), key_seq=key_seq, recovery=start or None)
        yield OriginalSegment(head, cut.seq, payloads[n], tuple(payloads[begin:n]))


class _Start(NamedTuple):
    """Where decoding may begin: a segment's number, and after how many frames pictures are correct."""

    n: int
    recovery: int


def _start(codec: Codec, data: bytes, run: _Run) -> int | None:
    """Return 0 for a run that begins with a keyframe, None if decoding can't begin with it."""
    first = run.samples[0]
    # Recovery points are marked as keyframes, too.
    recovery = recovery_frames(codec, data[run.begin : run.begin + first.size], LENGTH_SIZE)
    return recovery or (0 if first.key else None)


def _first(starts: Sequence[_Start], n: int, counts: Sequence[int]) -> int:
    """Return the segment to decode from, so that the n-th's pictures are correct."""
    for start in reversed(starts):
        if sum(counts[start.n : n]) >= start.recovery:
            return start.n
    return starts[0].n if starts else 0


def _runs(fragments: Sequence[Fragment], counts: Sequence[int]) -> Iterator[list[_Run]]:
    """Yield the frames of each segment. counts: how many it has. Raises BadSegment."""
    if sum(len(fragment.samples) for fragment in fragments) != sum(counts) or not all(counts):
        raise BadSegment("the file has other frames than its index says")
    rest = iter(fragments)
    at, fragment = 0, next(rest)
    for count in counts:
        found = []
        while count:
            if at == len(fragment.samples):
                at, fragment = 0, next(rest)
            taken = min(count, len(fragment.samples) - at)
            found.append(_run(fragment, at, at + taken))
            at, count = at + taken, count - taken
        yield found


def _run(fragment: Fragment, first: int, last: int) -> _Run:
    if len(fragment.spans) != 1:
        raise BadSegment("a group of the file lies in more than one place")
    sizes = [*accumulate((sample.size for sample in fragment.samples), initial=fragment.spans[0][0])]
    time = fragment.decode_time + sum(sample.duration for sample in fragment.samples[:first])
    return _Run(time, fragment.samples[first:last], sizes[first], sizes[last])


def _fragment(data: bytes, run: _Run, sequence: int) -> bytes:
    head = moof.written(Fragment(run.decode_time, run.samples, ((run.begin, run.end),)), sequence)
    return head + data[run.begin : run.end]


def _codec(record: Recorded) -> Codec:
    return "h264" if record.codec.startswith("avc") else "hevc"


def segment_of(camera: str, record: Recorded, cut: Cut) -> Segment:
    """Rebuild a segment's headers, without its dependence on earlier segments."""
    return Segment(
        camera=camera,
        epoch=record.epoch,
        n=cut.n,
        start=record.start + cut.start_ms * _MS,
        duration=cut.ms / 1000,
        codec=_codec(record),
        width=record.width,
        height=record.height,
        frames=cut.frames,
    )
