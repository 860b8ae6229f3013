"""Segments as browsers take them: joined to one MP4, or on a running clock, picture by picture what the camera sent."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.cutting.clock import FixedClock
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.settings import Cutting
from shared.runtime.errors import BadSegment
from shared.video import fmp4, moof, moov, parameter_sets
from shared.video.boxes import MOST_BOXES, box, full
from shared.video.fmp4 import Joined, Part
from shared.video.moof import Fragment, Sample
from shared.video.moov import Track
from shared.video.timeline import Timeline, Video
from tests import footage
from tidegate.demo import clips
from tidegate.demo import footage as real

T0 = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)
VIDEOS = [
    pytest.param({"codec": "libx264", "gop": 25}, id="h264"),
    pytest.param({"codec": "libx264", "gop": 7, "b_frames": 2}, id="h264-several-gops"),
    pytest.param({"codec": "libx264", "gop": 60, "b_frames": 3}, id="h264-b-frames-long-gop"),
    pytest.param({"codec": "libx265", "gop": 10}, id="hevc"),
    pytest.param({"codec": "libx265", "gop": 60, "b_frames": 3}, id="hevc-b-frames-long-gop"),
]


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


def part(piece: Piece, late: float = 0.0) -> Part:
    return Part(fmp4.read(piece.payload), piece.segment.start + s(late), piece.segment.duration)


def joined(pieces: Sequence[Piece]) -> tuple[Joined, bytes]:
    found = fmp4.join([part(piece) for piece in pieces])
    data = b"".join(found.buffers([piece.payload for piece in pieces]))
    assert len(data) == found.size
    return found, data


def frames(video: bytes) -> list[tuple[Fraction, np.ndarray]]:
    """Seconds and luma of every frame, in the order in which they are shown."""
    with av.open(io.BytesIO(video)) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="gray")) for f in container.decode(video=0)]


def alone(pieces: Sequence[Piece]) -> Iterator[tuple[int, Fraction, np.ndarray]]:
    """The number of its segment, seconds after its segment's first, and luma of each frame, with no MP4 but the
    segments' own: a decoder a GOP."""
    for _, gop in itertools.groupby(enumerate(pieces), key=lambda one: one[1].gop):
        decoder: Any = None
        found = []
        shown: dict[int, tuple[int, Fraction]] = {}
        for n, piece in gop:
            with av.open(io.BytesIO(piece.payload)) as container:
                stream = container.streams.video[0]
                if decoder is None:
                    decoder = av.CodecContext.create(stream.codec_context.name, "r")
                    decoder.extradata = stream.codec_context.extradata
                packets = [p for p in container.demux(stream) if p.size]
                first = min(p.pts for p in packets)
                for packet in packets:
                    shown[len(shown)] = n, (packet.pts - first) * stream.time_base
                    packet.pts = packet.dts = len(shown) - 1
                    found += decoder.decode(packet)
        found += decoder.decode(None)
        yield from sorted(((*shown[f.pts], f.to_ndarray(format="gray")) for f in found), key=lambda one: one[:2])


def said(*command: str) -> str:
    """What ffmpeg or ffprobe of the system says of a file."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: apt-get install ffmpeg")
    done = subprocess.run([*command], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("video", VIDEOS)
def test_joined_segments_are_those_segments_picture_by_picture(tmp_path: Path, video: dict[str, Any]) -> None:
    path = footage.make(tmp_path / "v.mp4", frames=130, **video)
    pieces = clips.pieces(path, "cam")
    assert len(pieces) > 3
    clip, data = joined(pieces)
    shown, single = frames(data), list(alone(pieces))
    assert clip.placed == len(pieces)
    assert [t for t, _ in shown] == [Fraction(n, 25) for n in range(130)]
    assert [t for t, _ in shown] == [Fraction(clip.starts[n]).limit_denominator(25) + t for n, t, _ in single]
    assert all(np.array_equal(a, b) for (_, a), (_, _, b) in zip(shown, single, strict=True))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, frames(path.read_bytes()), strict=True))
    assert clip.duration == 130 / 25


@pytest.mark.parametrize("video", VIDEOS)
def test_players_take_it_without_a_word(tmp_path: Path, video: dict[str, Any]) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", frames=130, **video), "cam")
    _, data = joined(pieces)
    path = tmp_path / "joined.mp4"
    path.write_bytes(data)
    assert said("ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-") == ""
    # To other files, and from the middle on: by the index.
    assert said("ffmpeg", "-v", "warning", "-i", str(path), "-c", "copy", str(tmp_path / "copy.mp4")) == ""
    assert said("ffmpeg", "-v", "warning", "-ss", "3", "-i", str(path), "-frames:v", "1", "-f", "null", "-") == ""
    entries = ["-show_entries", "format=duration,start_time:stream=codec_tag_string", "-of", "csv=p=0"]
    tag = {"libx264": "avc1", "libx265": "hvc1"}[video["codec"]]
    assert said("ffprobe", "-v", "warning", *entries, str(path)).split() == [tag, "0.000000,5.200000"]
    first = said("ffprobe", "-v", "warning", "-show_entries", "frame=pts_time", "-of", "csv=p=0", str(path)).split()
    assert [float(t.strip(",")) for t in first] == pytest.approx([n / 25 for n in range(130)], abs=1e-6)


@pytest.mark.parametrize("video", VIDEOS)
def test_players_seek_in_it(tmp_path: Path, video: dict[str, Any]) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", frames=130, **video), "cam")
    _, data = joined(pieces)
    whole = frames(data)
    for wanted in (4.0, 0.5, 1.9, 2.2, 3.3):
        with av.open(io.BytesIO(data)) as container:
            container.seek(round(wanted * 10**6))
            stream = container.streams.video[0]
            found = [(f.pts * stream.time_base, f.to_ndarray(format="gray")) for f in container.decode(stream)]
        assert found[0][0] <= Fraction(wanted)
        assert found[0][0] > wanted - 2.5
        # To its end: none is passed over.
        assert [time for time, _ in found] == [time for time, _ in whole if time >= found[0][0]]
        for time, picture in found:
            assert np.array_equal(picture, dict(whole)[time])


def test_real_footage_joins_from_any_gop() -> None:
    path = real.embedded(real.cache() / f"footage-{real.VERSION}")[0]
    pieces, source = clips.pieces(path, "street"), frames(path.read_bytes())
    before = sum(piece.segment.frames for piece in pieces[:3])
    _, data = joined(pieces[3:13])
    shown = frames(data)
    assert len(shown) == sum(piece.segment.frames for piece in pieces[3:13])
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, source[before:], strict=False))


def test_a_part_of_a_gop_is_joined_too(tmp_path: Path) -> None:
    """What an earlier clip ended with: its own pictures can't be decoded, those of the next GOP can."""
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", frames=130, gop=50), "cam")
    assert pieces[1].dependent
    clip, data = joined(pieces[1:])
    assert clip.placed == len(pieces) - 1
    assert len(frames(data)) >= 80


def test_the_video_is_not_copied(tmp_path: Path) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4"), "cam")
    clip = fmp4.join([part(piece) for piece in pieces])
    views = [piece for piece in clip.buffers([p.payload for p in pieces]) if isinstance(piece, memoryview)]
    assert [view.obj is piece.payload for view, piece in zip(views, pieces, strict=True)] == [True] * 4
    assert sum(map(len, views)) > 0.95 * clip.size


def test_frames_reordered_more_in_some_segments(tmp_path: Path) -> None:
    """RTSP gives no decode times where frames are reordered: each segment gets its own."""
    path = footage.make(tmp_path / "v.mp4", frames=150, gop=25, b_frames=3)
    pieces: list[Piece] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        cutter = Segmenter("cam", stream, Cutting(0.1, 2**23), FixedClock(T0.timestamp()), pieces.append)
        for packet in container.demux(stream):
            if packet.size:
                packet.dts = None
                cutter.push(packet, T0.timestamp())
        cutter.finish(T0.timestamp())
    early = {part(piece).video.early for piece in pieces}
    assert len(early) > 1, "a segment is as the other, so that this tests nothing"
    _, data = joined(pieces)
    assert [t for t, _ in frames(data)] == [Fraction(n, 25) for n in range(150)]
    with av.open(io.BytesIO(data)) as container:
        times = [p.dts for p in container.demux(video=0) if p.size]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_a_hole_keeps_the_clock(tmp_path: Path) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4"), "cam")
    clip = fmp4.join([part(p) for p in pieces[:2]] + [part(p, late=1.5) for p in pieces[2:]])
    data = b"".join(clip.buffers([p.payload for p in pieces]))
    times = [float(t) for t, _ in frames(data)]
    assert times == pytest.approx([n / 25 for n in range(50)] + [3.5 + n / 25 for n in range(50)], abs=1e-3)
    assert clip.starts == pytest.approx((0, 1, 3.5, 4.5), abs=1e-3)
    assert clip.duration == pytest.approx(5.5, abs=1e-3)


def test_a_hole_of_a_day_is_written() -> None:
    """Fields of 32 bits end at 13 hours of a camera's clock."""
    payload = made([(0, [Sample(40, 100, True, 0)])], Track(**fields_of(TRACK) | {"timescale": 90_000}))
    parts = [Part(fmp4.read(payload), T0 + s(n * 86400), 0.04) for n in range(3)]
    clip = fmp4.join(parts)
    assert clip.starts == (0, 86400, 172800)
    data = b"".join(clip.buffers([payload] * 3))
    assert b"tfdt\1\0\0\0" + struct.pack(">Q", 172800 * 90_000) in data


@pytest.mark.slow
def test_another_track_ends_it(tmp_path: Path) -> None:
    small = clips.pieces(footage.make(tmp_path / "a.mp4"), "cam")
    large = clips.pieces(footage.make(tmp_path / "b.mp4", size=(640, 480)), "cam")
    hevc = clips.pieces(footage.make(tmp_path / "c.mp4", codec="libx265"), "cam")
    for other in (large, hevc):
        assert not fmp4.same_track(part(small[0]).video, part(other[0]).video)
        clip, data = joined([*small[:2], *other, *small])
        assert clip.placed == len(clip.starts) == 2
        assert len(frames(data)) == 50
    assert fmp4.same_track(part(small[0]).video, part(small[-1]).video)


def test_what_x265_says_of_itself_makes_no_other_track(tmp_path: Path) -> None:
    """It writes its options into the head: a camera that was restarted may say others, and its video is the same."""
    piece = clips.pieces(footage.make(tmp_path / "v.mp4", codec="libx265"), "cam")[0]
    at = piece.payload.index(b"x265")
    other = piece._replace(payload=piece.payload[:at] + b"y266" + piece.payload[at + 4 :])
    assert fmp4.same_track(part(piece).video, part(other).video)
    at = piece.payload.index(b"hvcC") + 4 + 12  # the level
    other = piece._replace(payload=piece.payload[:at] + b"\xff" + piece.payload[at + 1 :])
    assert not fmp4.same_track(part(piece).video, part(other).video)


@pytest.mark.parametrize("video", VIDEOS)
def test_segments_on_a_running_clock(tmp_path: Path, video: dict[str, Any]) -> None:
    """As MSE takes them: the head once, then each segment by itself, on one clock."""
    path = footage.make(tmp_path / "v.mp4", frames=130, **video)
    pieces = clips.pieces(path, "cam")
    timeline = Timeline(pieces[0].segment.start - s(90))
    first = fmp4.read(pieces[0].payload)
    data = fmp4.init(first)
    for n, piece in enumerate(pieces):
        one = fmp4.read(piece.payload)
        placed = timeline.place(one, piece.segment.start, piece.segment.duration)
        data += fmp4.moved(piece.payload, one, placed, n)
        begun = [t for t, _ in frames(data)]
        assert begun[0] == 90
        assert len(begun) == sum(p.segment.frames for p in pieces[: n + 1])
    shown = frames(data)
    assert [t for t, _ in shown] == [90 + Fraction(n, 25) for n in range(130)]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, frames(path.read_bytes()), strict=True))


def test_a_picture_that_stands_alone_lasts_as_its_header_says(tmp_path: Path) -> None:
    """Its own MP4 can't say how long it is shown: nothing follows it there."""
    payload = made([(0, [Sample(0, 5, True, 0)])])
    video = fmp4.read(payload)
    placed = Timeline(T0).place(video, T0, 0.5)
    again = fmp4.read(fmp4.init(video) + fmp4.moved(payload, video, placed))
    assert again.length == 500


# ---- what is said of a codec


def test_codecs_in_the_words_of_browsers(tmp_path: Path) -> None:
    """The first is H.264's high profile at level 3.1; the second ISO/IEC 14496-15's own example, in E.3."""
    assert parameter_sets.of_avc(bytes([1, 0x64, 0, 0x1F, 0xFF, 0xE1, 0])).codec == "avc1.64001f"
    assert parameter_sets.of_avc(bytes([1, 0x64, 0, 0x1F, 0xFF, 0xE0, 0])).codec == "avc3.64001f"
    head = bytes([1, 1, 0x60, 0, 0, 0, 0xB0, 0, 0, 0, 0, 0, 93, *bytes(9)])
    sets = b"".join(bytes([kind, 0, 1, 0, 2, kind << 1, 1]) for kind in (34, 33, 32))
    main = parameter_sets.of_hevc(head + b"\3" + sets)
    assert main.codec == "hvc1.1.6.L93.B0"
    assert [main.record[23 + 7 * n] for n in range(3)] == [0x80 | 32, 0x80 | 33, 0x80 | 34]
    assert parameter_sets.of_hevc(head + b"\0").codec == "hev1.1.6.L93.B0"
    high = bytes([1, 0x42 | 0x20, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0x10, 153, *bytes(9)])
    assert parameter_sets.of_hevc(high + b"\3" + sets).codec == "hvc1.A2.4.H153.90.0.0.0.0.10"
    video = part(clips.pieces(footage.make(tmp_path / "v.mp4"), "cam")[0]).video
    assert (video.track.width, video.track.height, video.track.timescale) == (320, 240, 12800)
    assert video.track.codec.startswith("avc1.42c0")


def test_parameter_sets_are_in_front_once(tmp_path: Path) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", codec="libx265"), "cam")
    assert pieces[0].payload.count(b"hev1") == 1
    clip, data = joined(pieces)
    assert (data.count(b"hev1"), data.count(b"hvc1"), data.count(b"hvcC")) == (0, 1, 1)
    assert clip.init == fmp4.init(part(pieces[0]).video) or b"mehd" in clip.init
    again = fmp4.read(data)
    assert again.track.same(part(pieces[0]).video.track)


def test_a_turned_picture_stays_turned(tmp_path: Path) -> None:
    """A telephone films sideways, and says so in a matrix."""
    piece = clips.pieces(footage.make(tmp_path / "v.mp4"), "cam")[0]
    at = piece.payload.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    assert piece.payload[at : at + 4] == b"\0\1\0\0"
    other = piece._replace(payload=piece.payload[:at] + turned + piece.payload[at + 36 :])
    _, data = joined([other])
    with av.open(io.BytesIO(data)) as container:
        assert next(container.decode(video=0)).rotation % 180 == 90
    assert not fmp4.same_track(part(piece).video, part(other).video)


# ---- any fragments

TRACK = Track(
    id=1, timescale=1000, codec="avc1.64001f", entry=b"avc1", configuration=b"", width=64, height=48, decisive=b"x"
)
AVCC = full(b"avcC", 1, 0x64001F, b"\xff\xe1\0")


def fields_of(track: Track) -> dict[str, Any]:
    return {name: getattr(track, name) for name in track.__struct_fields__}


def made(
    fragments: Sequence[tuple[int, Sequence[Sample]]], track: Track = TRACK, *, head: bytes | None = None
) -> bytes:
    """A payload of such samples, whose bytes are 0."""
    track = Track(**fields_of(track) | {"configuration": AVCC})
    out = moov.written(track) if head is None else head
    for n, (time, samples) in enumerate(fragments):
        size = sum(sample.size for sample in samples)
        out += moof.written(Fragment(time, tuple(samples), ((0, size),)), n) + bytes(size)
    return out


def rows(first: bool = True) -> st.SearchStrategy[list[Sample]]:
    sample = st.builds(Sample, st.integers(1, 80), st.integers(1, 50), st.booleans(), st.integers(-100, 100))
    return st.lists(sample, min_size=1, max_size=8)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    fragments, at = [], draw(st.integers(0, 500))
    for _ in range(draw(st.integers(1, 3))):
        samples = draw(rows())
        fragments.append((at, samples))
        at += sum(sample.duration for sample in samples) + draw(st.integers(0, 30))
    return made(fragments)


def presented(video: Video) -> list[int]:
    return [
        decoded + sample.offset
        for fragment in video.fragments
        for sample, decoded in zip(fragment.samples, fragment.decoded, strict=True)
    ]


@given(payloads())
def test_what_is_written_is_read(payload: bytes) -> None:
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
def test_any_row_is_decoded_in_order_and_shown_in_order(row: list[tuple[bytes, int]]) -> None:
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
    payload = made([(0, samples), (200, samples)])
    later = made([(0, [x._replace(key=False) for x in samples])])
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


# ---- what is hostile


def test_any_cut_is_refused_in_words() -> None:
    payload = made([(0, [Sample(40, 100, True, 0)] * 3)])
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
def test_what_no_ingest_writes_is_refused(spoil: Any, words: str) -> None:
    payload = made([(0, [Sample(40, 100, True, 0)] * 3)])
    with pytest.raises(BadSegment, match=words):
        fmp4.read(spoil(payload))


def run(count: int, flags: int, table: bytes = b"") -> bytes:
    """A payload whose one fragment has such a `trun`."""
    head = moov.written(Track(**fields_of(TRACK) | {"configuration": AVCC}))
    tfhd = full(b"tfhd", 0, 0x20018, struct.pack(">III", 1, 40, 1000))
    trun = full(b"trun", 0, flags, struct.pack(">I", count), table)
    traf = box(b"traf", tfhd, full(b"tfdt", 0, 0, bytes(4)), *[trun] * 2)
    return head + box(b"moof", full(b"mfhd", 0, 0, bytes(4)), traf) + box(b"mdat", bytes(3000))


def test_frames_can_not_be_more_than_the_bytes_that_are_there() -> None:
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
        fmp4.read(made([(0, [Sample(40, 10, True, 0), Sample(40, 10, False, 2**31 - 1)])]))


def test_a_box_of_64_bits_is_read() -> None:
    payload = made([(0, [Sample(40, 100, True, 0)])])
    at = nested(payload, b"moov")
    size = int.from_bytes(payload[at : at + 4], "big")
    long = struct.pack(">I4sQ", 1, b"moov", size + 8) + payload[at + 8 : at + size]
    assert fmp4.read(payload[:at] + long + payload[at + size :]).shown == range(0, 0)
