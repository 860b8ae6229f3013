"""Segments as browsers take them: joined to one MP4, or on a running clock, picture by picture what the camera sent."""

from __future__ import annotations

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

from services.ingest.cutting.clock import FixedClock
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.settings import Cutting
from shared.video import fmp4
from shared.video.fmp4 import Joined, Part
from shared.video.mp4 import parameter_sets
from shared.video.mp4.moof import Sample
from shared.video.mp4.moov import Track
from shared.video.timeline import Timeline
from tests.support.video import footage
from tests.support.video.fragments import T0, TRACK, fields_of, mp4, s
from tidegate.demo import clips
from tidegate.demo import footage as real

VIDEOS = [
    pytest.param({"codec": "libx264", "gop": 25}, id="h264"),
    pytest.param({"codec": "libx264", "gop": 7, "b_frames": 2}, id="h264-several-gops"),
    pytest.param({"codec": "libx264", "gop": 60, "b_frames": 3}, id="h264-b-frames-long-gop"),
    pytest.param({"codec": "libx265", "gop": 10}, id="hevc"),
    pytest.param({"codec": "libx265", "gop": 60, "b_frames": 3}, id="hevc-b-frames-long-gop"),
]


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


def run_tool(*command: str) -> str:
    """Return the report of the system's ffmpeg or ffprobe on a file."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: apt-get install ffmpeg")
    done = subprocess.run([*command], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("video", VIDEOS)
def test_joined_segments_equal_their_segments_picture_by_picture(tmp_path: Path, video: dict[str, Any]) -> None:
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
def test_players_accept_it_without_warnings(tmp_path: Path, video: dict[str, Any]) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", frames=130, **video), "cam")
    _, data = joined(pieces)
    path = tmp_path / "joined.mp4"
    path.write_bytes(data)
    assert run_tool("ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-") == ""
    # To other files, and from the middle on: by the index.
    assert run_tool("ffmpeg", "-v", "warning", "-i", str(path), "-c", "copy", str(tmp_path / "copy.mp4")) == ""
    assert run_tool("ffmpeg", "-v", "warning", "-ss", "3", "-i", str(path), "-frames:v", "1", "-f", "null", "-") == ""
    entries = ["-show_entries", "format=duration,start_time:stream=codec_tag_string", "-of", "csv=p=0"]
    tag = {"libx264": "avc1", "libx265": "hvc1"}[video["codec"]]
    assert run_tool("ffprobe", "-v", "warning", *entries, str(path)).split() == [tag, "0.000000,5.200000"]
    first = run_tool("ffprobe", "-v", "warning", "-show_entries", "frame=pts_time", "-of", "csv=p=0", str(path)).split()
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
        # Read to its end: no frame is skipped.
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


def test_a_partial_gop_is_joined(tmp_path: Path) -> None:
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


def test_a_gap_keeps_the_clock(tmp_path: Path) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4"), "cam")
    clip = fmp4.join([part(p) for p in pieces[:2]] + [part(p, late=1.5) for p in pieces[2:]])
    data = b"".join(clip.buffers([p.payload for p in pieces]))
    times = [float(t) for t, _ in frames(data)]
    assert times == pytest.approx([n / 25 for n in range(50)] + [3.5 + n / 25 for n in range(50)], abs=1e-3)
    assert clip.starts == pytest.approx((0, 1, 3.5, 4.5), abs=1e-3)
    assert clip.duration == pytest.approx(5.5, abs=1e-3)


def test_a_gap_of_a_day_is_written() -> None:
    """Fields of 32 bits end at 13 hours of a camera's clock."""
    payload = mp4([(0, [Sample(40, 100, True, 0)])], Track(**fields_of(TRACK) | {"timescale": 90_000}))
    parts = [Part(fmp4.read(payload), T0 + s(n * 86400), 0.04) for n in range(3)]
    clip = fmp4.join(parts)
    assert clip.starts == (0, 86400, 172800)
    data = b"".join(clip.buffers([payload] * 3))
    assert b"tfdt\1\0\0\0" + struct.pack(">Q", 172800 * 90_000) in data


@pytest.mark.slow
def test_another_track_ends_the_join(tmp_path: Path) -> None:
    small = clips.pieces(footage.make(tmp_path / "a.mp4"), "cam")
    large = clips.pieces(footage.make(tmp_path / "b.mp4", size=(640, 480)), "cam")
    hevc = clips.pieces(footage.make(tmp_path / "c.mp4", codec="libx265"), "cam")
    for other in (large, hevc):
        assert not fmp4.same_track(part(small[0]).video, part(other[0]).video)
        clip, data = joined([*small[:2], *other, *small])
        assert clip.placed == len(clip.starts) == 2
        assert len(frames(data)) == 50
    assert fmp4.same_track(part(small[0]).video, part(small[-1]).video)


def test_the_banner_of_x265_makes_no_other_track(tmp_path: Path) -> None:
    """x265 writes its options into the header: a restarted camera may have other options and the same video."""
    piece = clips.pieces(footage.make(tmp_path / "v.mp4", codec="libx265"), "cam")[0]
    at = piece.payload.index(b"x265")
    other = piece._replace(payload=piece.payload[:at] + b"y266" + piece.payload[at + 4 :])
    assert fmp4.same_track(part(piece).video, part(other).video)
    at = piece.payload.index(b"hvcC") + 4 + 12  # the level
    other = piece._replace(payload=piece.payload[:at] + b"\xff" + piece.payload[at + 1 :])
    assert not fmp4.same_track(part(piece).video, part(other).video)


@pytest.mark.parametrize("video", VIDEOS)
def test_segments_on_a_running_clock(tmp_path: Path, video: dict[str, Any]) -> None:
    """The form that MSE takes: the header once, then each segment by itself, on one clock."""
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


def test_a_single_picture_has_the_duration_of_its_header(tmp_path: Path) -> None:
    """Its own MP4 can't say how long it is shown: nothing follows it there."""
    payload = mp4([(0, [Sample(0, 5, True, 0)])])
    video = fmp4.read(payload)
    placed = Timeline(T0).place(video, T0, 0.5)
    again = fmp4.read(fmp4.init(video) + fmp4.moved(payload, video, placed))
    assert again.length == 500


def test_codecs_are_named_as_browsers_expect(tmp_path: Path) -> None:
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


def test_a_rotated_picture_stays_rotated(tmp_path: Path) -> None:
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
