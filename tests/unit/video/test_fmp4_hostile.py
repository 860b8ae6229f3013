"""Fragmented MP4 from other writers: any sequence of segments, and refusals with a reason."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.errors import BadSegment
from shared.video import fmp4
from shared.video.fmp4 import Part
from shared.video.mp4 import moov
from shared.video.mp4.boxes import MOST_BOXES, box, full
from shared.video.mp4.moof import Sample
from shared.video.mp4.moov import Track
from shared.video.timeline import Timeline
from tests.support.video.fragments import AVCC, T0, TRACK, fields_of, mp4, payloads, presented, s


@given(payloads())
def test_a_moved_video_keeps_its_samples_and_times(payload: bytes) -> None:
    video = fmp4.read(payload)
    begin = T0 + s(1)
    again = fmp4.read(
        fmp4.init(video) + fmp4.moved(payload, video, Timeline(T0).place(video, begin, video.length / 1000))
    )
    assert [t - again.shown.start for t in presented(again)] == [t - video.shown.start for t in presented(video)]
    assert again.shown.start == 1000
    assert [(x.size, x.key) for f in again.fragments for x in f.samples] == [
        (x.size, x.key) for f in video.fragments for x in f.samples
    ]


@given(st.lists(st.tuples(payloads(), st.integers(-200, 1500)), min_size=1, max_size=6))
def test_any_sequence_has_ordered_decode_and_display_times(row: list[tuple[bytes, int]]) -> None:
    """However its segments overlap, or lie apart."""
    parts, clock = [], 0
    for payload, gap in row:
        video = fmp4.read(payload)
        parts.append(Part(video, T0 + s(clock / 1000), video.length / 1000))
        clock += video.length + gap
    clip = fmp4.join(parts)
    data = b"".join(clip.buffers([payload for payload, _ in row]))
    assert (clip.placed, len(data)) == (len(row), clip.size)
    again = fmp4.read(data)
    decoded = [t for fragment in again.fragments for t in fragment.decoded]
    assert all(a < b for a, b in itertools.pairwise(decoded))
    assert decoded[0] == 0
    assert all(a.last + a.samples[-1].duration == b.decode_time for a, b in itertools.pairwise(again.fragments))
    shown = presented(again)
    early, at = shown[0] - presented(parts[0].video)[0] + parts[0].video.shown.start, 0
    for one, start in zip(parts, clip.starts, strict=True):
        own = presented(one.video)
        found = shown[at : at + len(own)]
        assert [t - early - round(start * 1000) for t in found] == [t - one.video.shown.start for t in own]
        at += len(own)
    ends = [round(x * 1000) for x in (*clip.starts[1:], clip.duration)]
    assert all(
        round(start * 1000) + len(one.video.shown) < end
        for one, start, end in zip(parts, clip.starts, ends, strict=True)
    )


def test_the_index_leads_to_every_keyframe() -> None:
    samples = [Sample(40, 100, n == 0, 0) for n in range(5)]
    payload = mp4([(0, samples), (200, samples)])
    later = mp4([(0, [x._replace(key=False) for x in samples])])
    parts = [
        Part(fmp4.read(one), T0 + s(n), 0.2 if one is later else 0.4) for n, one in enumerate((payload, later, payload))
    ]
    clip = fmp4.join(parts)
    data = b"".join(clip.buffers([payload, later, payload]))
    at = data.index(b"sidx") - 4
    version, track, timescale, earliest, offset, _, count = struct.unpack_from(">IIIQQHH", data, at + 8)
    assert (version >> 24, track, timescale, earliest, offset, count) == (1, 1, 1000, 0, 0, 4)
    place = at + int.from_bytes(data[at : at + 4], "big")
    durations = []
    for n in range(count):
        size, duration, access = struct.unpack_from(">III", data, at + 40 + 12 * n)
        assert data[place + 4 : place + 8] == b"moof"
        assert access >> 28 == 9
        place += size
        durations.append(duration)
    assert place == len(data)
    assert durations == [200, 1800, 200, 200]


def test_any_truncation_is_refused_with_a_reason() -> None:
    payload = mp4([(0, [Sample(40, 100, True, 0)] * 3)])
    for length in range(len(payload)):
        with pytest.raises(BadSegment):
            fmp4.read(payload[:length])


def nested(payload: bytes, kind: bytes) -> int:
    return payload.index(kind) - 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda p: p + moov.written(TRACK), "two heads", id="two-heads"),
        pytest.param(lambda p: p[nested(p, b"moof") :], "before its head", id="no-head"),
        pytest.param(lambda p: p[: nested(p, b"moof")], "no frames", id="no-fragment"),
        pytest.param(lambda p: p + box(b"free") * MOST_BOXES, "boxes in one place", id="many-boxes"),
        pytest.param(lambda p: p.replace(b"avc1" + bytes(6), b"encv" + bytes(6)), "codec is 'encv'", id="encrypted"),
        pytest.param(lambda p: p.replace(b"avcC", b"free"), "no avcC", id="no-parameters"),
        pytest.param(
            lambda p: p.replace(b"tfhd\0\2\0\0\0\0\0\1", b"tfhd\0\2\0\0\0\0\0\2"), "another track", id="other"
        ),
        pytest.param(lambda p: p + p[nested(p, b"moof") :], "one after the other", id="twice"),
    ],
)
def test_files_that_no_ingest_writes_are_refused(spoil: Any, words: str) -> None:
    payload = mp4([(0, [Sample(40, 100, True, 0)] * 3)])
    with pytest.raises(BadSegment, match=words):
        fmp4.read(spoil(payload))


def run(count: int, flags: int, table: bytes = b"") -> bytes:
    """A payload whose one fragment has such a `trun`."""
    head = moov.written(Track(**fields_of(TRACK) | {"configuration": AVCC}))
    tfhd = full(b"tfhd", 0, 0x20018, struct.pack(">III", 1, 40, 1000))
    trun = full(b"trun", 0, flags, struct.pack(">I", count), table)
    traf = box(b"traf", tfhd, full(b"tfdt", 0, 0, bytes(4)), *[trun] * 2)
    return head + box(b"moof", full(b"mfhd", 0, 0, bytes(4)), traf) + box(b"mdat", bytes(3000))


def test_more_frames_than_bytes_are_refused() -> None:
    """A few bytes that say each frame lies where the one before it does would be written out as gigabytes."""
    with pytest.raises(BadSegment, match="announces 4294967295 frames"):
        fmp4.read(run(2**32 - 1, 0))
    with pytest.raises(BadSegment, match="outside of it"):
        fmp4.read(run(5, 0))
    with pytest.raises(BadSegment, match="lie upon each other"):
        fmp4.read(run(2, 1, struct.pack(">i", 8)))
    with pytest.raises(BadSegment, match="outside of it"):
        fmp4.read(run(1, 1, struct.pack(">i", -(2**31))))
    with pytest.raises(BadSegment, match="too short for what it should say"):
        fmp4.read(run(3, 0xF00, bytes(4)))


def test_times_that_span_hours_are_refused() -> None:
    with pytest.raises(BadSegment, match="span over 3600 s"):
        fmp4.read(mp4([(0, [Sample(40, 10, True, 0), Sample(40, 10, False, 2**31 - 1)])]))


def test_a_box_of_64_bits_is_read() -> None:
    payload = mp4([(0, [Sample(40, 100, True, 0)])])
    at = nested(payload, b"moov")
    size = int.from_bytes(payload[at : at + 4], "big")
    long = struct.pack(">I4sQ", 1, b"moov", size + 8) + payload[at + 8 : at + size]
    assert fmp4.read(payload[:at] + long + payload[at + size :]).shown == range(0, 0)
