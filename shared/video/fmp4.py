"""Segments of MEDIA for browsers: a row of them as one MP4, or each one on a running clock. Pure.

    video = read(payload)                        # its track and the places of its frames: nothing is decoded or copied
    joined = join([Part(video, segment.start, segment.duration), ...])
    joined.size, joined.buffers(payloads)        # one fragmented MP4 with an index, which players can seek in

    media = moved(payload, video, timeline.place(video, segment.start, segment.duration))       # for MSE

Pictures are those of the segments, one by one, and no byte of video is changed or copied.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from shared.runtime.errors import BadSegment
from shared.video.mp4 import moof, moov
from shared.video.mp4.boxes import Fields, children, full, only
from shared.video.mp4.moof import MOST_FRAMES, Fragment
from shared.video.mp4.moov import Track
from shared.video.timeline import Placed, Timeline, Video, check_span

# `sidx` counts entries in 16 bits, and bytes in 31; the rest is room for a fragment's head.
_MOST_ENTRIES, _MOST_BYTES = 2**16 - 1, 2**31 - 2**24
# Durations have 32 bits: a hole of hours is truncated.
_MOST = 2**32 - 1
_KEY = 0x90000000  # begins with a picture that depends on no other


class Part(NamedTuple):
    """A segment of a row. start, duration: as in its header."""

    video: Video
    start: dt.datetime
    duration: float


class Span(NamedTuple):
    """Bytes begin:end of the payload of the part of that number."""

    part: int
    begin: int
    end: int


class Group(NamedTuple):
    """The samples from one keyframe to the next. shown: seconds of the video at which it begins. size: bytes."""

    shown: float
    size: int


class Joined(NamedTuple):
    """One MP4, as pieces in order: bytes of its own, and spans of payloads.

    size: bytes in all. init: its head. placed: the number of its parts. starts: when the first picture of each is
    shown, in seconds of the video, which begins at 0 and ends at `duration`. groups: contiguous up to its end, after
    `init` and an index. early: ticks of its own clock at which it begins.
    """

    pieces: tuple[bytes | Span, ...]
    size: int
    init: bytes
    placed: int
    starts: tuple[float, ...]
    duration: float
    groups: tuple[Group, ...]
    early: int

    def buffers(self, payloads: Sequence[bytes]) -> Iterator[bytes | memoryview]:
        """Yield all its bytes. payloads: of the parts, in their order."""
        views = [memoryview(payload) for payload in payloads]
        for piece in self.pieces:
            yield views[piece.part][piece.begin : piece.end] if isinstance(piece, Span) else piece


def read(payload: bytes) -> Video:
    """Parse a segment. Raises BadSegment."""
    track, fragments, expected = None, list[Fragment](), 0
    for box in children(payload, 0, len(payload)):
        if box.kind == b"moov":
            if track is not None:
                raise BadSegment("its MP4 has two heads")
            track = moov.read(payload, box)
        elif box.kind == b"moof":
            if track is None:
                raise BadSegment("its MP4 has a fragment before its head")
            fragments.append(moof.read(payload, box, track, expected))
            expected = fragments[-1].last + fragments[-1].samples[-1].duration
    if track is None or not fragments:
        raise BadSegment("its MP4 has no frames")
    _check(payload, fragments)
    return check_span(Video(track, tuple(fragments)))


def same_track(a: Video, b: Video) -> bool:
    """Whether the fragments of `b` may follow those of `a`: a decoder configured for one accepts the other."""
    return a.track.same(b.track)


def join(parts: Sequence[Part]) -> Joined:
    """Join at least one part, in order, into one MP4, up to the first with another track. Raises BadSegment."""
    track = parts[0].video.track
    count = next((n for n, part in enumerate(parts) if not track.same(part.video.track)), len(parts))
    early = max(part.video.early for part in parts[:count])
    timeline = Timeline(parts[0].start, early)
    placed = [timeline.place(*part) for part in parts[:count]]
    fragments: list[tuple[int, Fragment]] = []
    for n, (part, place) in enumerate(zip(parts, placed, strict=False)):
        following = placed[n + 1].decoded if n + 1 < count else None
        fragments += [(n, fragment) for fragment in _moved(part.video, place, following, early)]
    groups = _groups(fragments, early)
    heads = [moof.written(group.fragment, n) for n, group in enumerate(groups, 1)]
    sizes = [len(head) + group.fragment.size for head, group in zip(heads, groups, strict=True)]
    duration = placed[-1].end - placed[0].shown
    init = moov.written(track, duration, early)
    ends = [*(group.shown for group in groups[1:]), placed[-1].end]
    index = _index(
        track.timescale,
        groups[0].shown,
        [
            (end - group.shown, size, group.fragment.samples[0].key)
            for group, end, size in zip(groups, ends, sizes, strict=True)
        ],
    )
    pieces: list[bytes | Span] = [init + index]
    for head, group in zip(heads, groups, strict=True):
        pieces += [head, *group.spans]
    return Joined(
        tuple(pieces),
        len(init) + len(index) + sum(sizes),
        init,
        count,
        tuple(place.shown / track.timescale for place in placed),
        duration / track.timescale,
        tuple(Group(group.shown / track.timescale, size) for group, size in zip(groups, sizes, strict=True)),
        early,
    )


def init(video: Video) -> bytes:
    """Return the head for fragments of `moved`."""
    return moov.written(video.track)


def moved(payload: bytes, video: Video, placed: Placed, sequence: int = 1) -> bytes:
    """Return a segment's fragments at a place on a timeline. sequence: number of the first. Raises BadSegment."""
    view = memoryview(payload)
    out: list[bytes | memoryview] = []
    for n, fragment in enumerate(_moved(video, placed, None, 0)):
        out += [moof.written(fragment, sequence + n), *(view[begin:end] for begin, end in fragment.spans)]
    return b"".join(out)


def codec(head: bytes) -> str:
    """Return the codec for MSE, such as `avc1.64001f`. head: `init` of a row. Raises BadSegment."""
    return _track(head).codec


def opening(head: bytes, groups: Sequence[Group], duration: float, early: int) -> bytes:
    """Return the head of a video of moved groups, with its own length and index.

    head: `init` of a row that they could follow. groups: all that follow, at least one. duration: seconds of all.
    early: of that row. Raises BadSegment.
    """
    track = _track(head)
    end = round(duration * track.timescale)
    shown = [round(group.shown * track.timescale) for group in groups]
    row = zip(shown, [*shown[1:], end], (group.size for group in groups), strict=True)
    index = _index(track.timescale, shown[0], [(until - begin, size, True) for begin, until, size in row])
    return moov.written(track, end - shown[0], early) + index


def _track(head: bytes) -> Track:
    found = next((one for one in children(head, 0, len(head)) if one.kind == b"moov"), None)
    if found is None:
        raise BadSegment("it is no head of a video")
    return moov.read(head, found)


def later(group: bytes, ticks: int, sequence: int = 1) -> bytes:
    """Return a group of `join`, moved by `ticks` on its clock, for the head of another row. Raises BadSegment."""
    moof_at = next(iter(children(group, 0, len(group))), None)
    if moof_at is None or moof_at.kind != b"moof":
        raise BadSegment("it is no group of pictures: it begins with no fragment")
    mfhd = only(group, moof_at, b"mfhd")
    tfdt = only(group, only(group, moof_at, b"traf"), b"tfdt")
    fields = Fields(group, tfdt)
    if fields.version()[0] != 1:
        raise BadSegment("it is no group of pictures of ours: its time has 32 bits")
    time = fields.u64() + ticks
    if not 0 <= time < 2**63:
        raise BadSegment("it can't be moved so far")
    moved = bytearray(group)
    struct.pack_into(">I", moved, mfhd.begin + 4, sequence)
    struct.pack_into(">Q", moved, tfdt.begin + 4, time)
    return bytes(moved)


def _check(payload: bytes, fragments: Sequence[Fragment]) -> None:
    """Raise BadSegment for fragments that would grow when written, or could not be decoded in their order."""
    if sum(len(fragment.samples) for fragment in fragments) > MOST_FRAMES:
        raise BadSegment(f"its MP4 has over {MOST_FRAMES} frames")
    if sum(fragment.size for fragment in fragments) > len(payload):
        raise BadSegment("its MP4 has frames that lie upon each other")
    before = -1
    for fragment in fragments:
        if fragment.decode_time <= before or not all(sample.duration for sample in fragment.samples[:-1]):
            raise BadSegment("its MP4 has frames that are not decoded one after the other")
        before = fragment.last


def _moved(video: Video, placed: Placed, following: int | None, early: int) -> Iterator[Fragment]:
    """Yield its fragments at their place, the last sample of each lasting until the next one's first.

    following: the decode time after the segment, if known. early: added to all decode times.
    """
    first = video.fragments[0].decode_time
    starts = [placed.decoded + early + fragment.decode_time - first for fragment in video.fragments]
    if following is None:
        following = placed.end + placed.decoded - placed.shown
    following += early
    for fragment, start, end in zip(video.fragments, starts, [*starts[1:], following], strict=True):
        last = fragment.samples[-1]
        samples = [
            *fragment.samples[:-1],
            last._replace(duration=min(max(1, end - start - fragment.last + fragment.decode_time), _MOST)),
        ]
        if placed.moved:
            samples = [sample._replace(offset=sample.offset + placed.moved) for sample in samples]
        yield msgspec.structs.replace(fragment, decode_time=start, samples=tuple(samples))


class _Group(NamedTuple):
    """The samples from one keyframe to the next, as one fragment. shown: its first picture. spans: their bytes."""

    fragment: Fragment
    shown: int
    spans: list[Span]


def _groups(fragments: Sequence[tuple[int, Fragment]], early: int) -> list[_Group]:
    """Join fragments, with the numbers of their parts, to groups that begin with a keyframe, for seeking.

    After a seek, libav and browsers skip a fragment that is not in the index.
    """
    begins: list[tuple[int, int]] = []  # the number of a group's first fragment, and when its first picture is shown
    for n, (_, fragment) in enumerate(fragments):
        shown = min(d + s.offset for d, s in zip(fragment.decoded, fragment.samples, strict=True)) - early
        if not begins or (fragment.samples[0].key and shown > begins[-1][1]):
            begins.append((n, shown))
    begins = begins[:: -(-len(begins) // _MOST_ENTRIES)]
    found = []
    for (begin, shown), (end, _) in zip(begins, [*begins[1:], (len(fragments), 0)], strict=True):
        row = fragments[begin:end]
        samples = tuple(sample for _, fragment in row for sample in fragment.samples)
        spans = [Span(part, *span) for part, fragment in row for span in fragment.spans]
        whole = Fragment(row[0][1].decode_time, samples, tuple((span.begin, span.end) for span in spans))
        if whole.size > _MOST_BYTES:
            raise BadSegment("over 2 GB of its video are without a keyframe")
        found.append(_Group(whole, shown, spans))
    return found


def _index(timescale: int, first: int, groups: Sequence[tuple[int, int, bool]]) -> bytes:
    """Return `sidx` (ISO/IEC 14496-12, 8.16.3): an entry for each group. first: when its first picture is shown.

    groups: (ticks, bytes, whether it begins with a keyframe).
    """
    rows = [struct.pack(">III", size, min(ticks, _MOST), _KEY if key else 0) for ticks, size, key in groups]
    head = struct.pack(">IIQQHH", moov.TRACK, timescale, first, 0, 0, len(rows))
    return full(b"sidx", 1, 0, head, *rows)
