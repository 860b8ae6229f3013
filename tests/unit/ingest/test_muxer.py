"""Packets to segments and back: every frame of every segment decodes, whatever the camera's GOP."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import av
import pytest

from services.ingest.cutting.clock import FixedClock, WallClock
from services.ingest.cutting.piece import Piece
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.settings import Cutting
from tests.support.video import footage

T0 = 1_700_000_000.0
MB = 1024 * 1024


def demux(path: Path) -> tuple[Any, list[Any]]:
    """The stream, which keeps its container alive, and its packets."""
    container = av.open(str(path))
    stream = container.streams.video[0]
    return stream, [p for p in container.demux(stream) if p.size]


def segments(stream: Any, packets: list[Any], max_bytes: int = 8 * MB) -> tuple[list[Piece], Segmenter]:
    pieces: list[Piece] = []
    segmenter = Segmenter("cam", stream, Cutting(1.0, max_bytes), FixedClock(T0), pieces.append)
    for packet in packets:
        segmenter.push(packet, T0)
    segmenter.finish(T0)
    return pieces, segmenter


def decoded(pieces: list[Piece]) -> int:
    """Frames of a GOP's segments, through one decoder that knows the first one's parameters alone."""
    context: Any = None
    frames = 0
    for piece in pieces:
        with av.open(io.BytesIO(piece.payload)) as container:
            stream = container.streams.video[0]
            if context is None:
                context = av.CodecContext.create(stream.codec_context.name, "r")
                context.extradata = stream.codec_context.extradata
            for packet in container.demux(stream):
                if packet.size:
                    frames += sum(not f.is_corrupt for f in context.decode(packet))
    return frames + len(context.decode(None))


def gops(pieces: list[Piece]) -> list[list[Piece]]:
    out: list[list[Piece]] = []
    for piece in pieces:
        if not piece.dependent:
            out.append([])
        out[-1].append(piece)
    return out


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("gop", "b_frames"), [(25, 0), (10, 0), (50, 3), (100, 2), (1, 0)])
def test_every_frame_decodes(tmp_path: Path, codec: str, gop: int, b_frames: int) -> None:
    path = footage.make(tmp_path / "v.mp4", codec=codec, gop=gop, b_frames=b_frames, frames=120, audio=True)
    pieces, segmenter = segments(*demux(path))
    assert not segmenter.dropped
    assert [p.segment.n for p in pieces] == list(range(len(pieces)))
    assert sum(p.segment.frames for p in pieces) == 120
    for gop_pieces in gops(pieces):
        assert decoded(gop_pieces) == sum(p.segment.frames for p in gop_pieces)
        assert {p.gop for p in gop_pieces} == {gop_pieces[0].segment.message_id}
    for a, b in itertools.pairwise(pieces):
        gap = (b.segment.start - a.segment.start).total_seconds() - a.segment.duration
        assert abs(gap) < 0.002
    assert sum(p.segment.duration for p in pieces) == pytest.approx(120 / 25, abs=0.01)
    assert {p.segment.codec for p in pieces} == {"h264" if codec == "libx264" else "hevc"}


def test_segment_is_one_mp4_for_browsers(tmp_path: Path) -> None:
    pieces, _ = segments(*demux(footage.make(tmp_path / "v.mp4", gop=25)))
    payload = pieces[1].payload
    boxes, at = [], 0
    while at < len(payload):
        boxes.append(payload[at + 4 : at + 8].decode())
        at += int.from_bytes(payload[at : at + 4], "big")
    assert boxes[:4] == ["ftyp", "moov", "moof", "mdat"]


def test_no_message_is_over_the_limit(tmp_path: Path) -> None:
    stream, packets = demux(footage.make(tmp_path / "v.mp4", size=(640, 480), gop=50))
    limit = max(p.size for p in packets) + 8192 + 2000
    pieces, segmenter = segments(stream, packets, max_bytes=limit)
    assert all(p.size <= limit for p in pieces)
    assert sum(p.segment.frames for p in pieces) + sum(segmenter.dropped.values()) == 100
    assert any(p.dependent for p in pieces)
    for gop in gops(pieces):
        assert decoded(gop) == sum(p.segment.frames for p in gop)


def test_keyframe_over_the_limit_costs_its_gop_and_is_counted(tmp_path: Path) -> None:
    stream, packets = demux(footage.make(tmp_path / "v.mp4", gop=25))
    limit = max(p.size for p in packets) // 2 + 8192
    pieces, segmenter = segments(stream, packets, max_bytes=limit)
    assert pieces == []
    assert segmenter.dropped == {"oversize": 100}


def test_starts_at_a_keyframe(tmp_path: Path) -> None:
    stream, packets = demux(footage.make(tmp_path / "v.mp4", gop=25))
    pieces, segmenter = segments(stream, packets[10:])
    assert segmenter.dropped == {"no_keyframe": 15}
    assert decoded(pieces[:1]) == 25


def test_first_packets_without_timestamps(tmp_path: Path) -> None:
    """RTSP sessions begin like this; the muxer would refuse such packets."""
    stream, packets = demux(footage.make(tmp_path / "v.mp4", gop=50, b_frames=2))
    packets[0].pts = packets[0].dts = None
    packets[1].dts = None
    packets[2].dts = packets[3].dts
    pieces, segmenter = segments(stream, packets)
    assert not segmenter.dropped
    assert [decoded(g) for g in gops(pieces)] == [50, 50]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("at", [0, 10, 24, 25, 49, 50])
def test_a_frame_sent_twice_is_stored_once(tmp_path: Path, codec: str, at: int) -> None:
    """A server that retries after a success does this: H.265 gives one picture for both, H.264 two."""
    path = footage.make(tmp_path / "v.mp4", codec=codec, gop=50)
    once, _ = segments(*demux(path))
    stream, packets = demux(path)
    packets.insert(at, demux(path)[1][at])
    pieces, segmenter = segments(stream, packets)
    assert [sum(p.segment.frames for p in gop) for gop in gops(pieces)] == [decoded(gop) for gop in gops(pieces)]
    assert [p.segment.frames for p in pieces] == [p.segment.frames for p in once]
    assert segmenter.dropped == {"repeated": 1}


def test_identical_looking_frames_are_all_stored(tmp_path: Path) -> None:
    """A still scene repeats the same bytes, each time at a later time."""
    stream, packets = demux(footage.make(tmp_path / "v.mp4", gop=1, frames=1))
    still = [*packets, *(demux(tmp_path / "v.mp4")[1][0] for _ in range(24))]
    for n, packet in enumerate(still):
        packet.pts = packet.dts = n * 512
    pieces, segmenter = segments(stream, still)
    assert not segmenter.dropped
    assert sum(p.segment.frames for p in pieces) == decoded(pieces) == 25


def test_clock_set_back_is_a_new_epoch(tmp_path: Path) -> None:
    stream, packets = demux(footage.make(tmp_path / "v.mp4", gop=25))
    for packet in packets[60:]:
        packet.pts -= 2**20
        packet.dts -= 2**20
    pieces, segmenter = segments(stream, packets)
    epochs = list(dict.fromkeys(p.segment.epoch for p in pieces))
    assert len(epochs) == 2
    assert [p.segment.n for p in pieces if p.segment.epoch == epochs[1]] == [0]
    assert segmenter.dropped == {"clock_jump": 15}
    assert all(p.segment.duration <= 1.01 for p in pieces)


def test_new_resolution_mid_stream_is_a_new_epoch(tmp_path: Path) -> None:
    """The stream is Annex B, as in RTSP, with parameter sets in band."""
    small = footage.make(tmp_path / "small.h264", gop=25)
    large = footage.make(tmp_path / "large.h264", gop=25, size=(640, 480))
    stream, packets = demux(small)
    other, more = demux(large)
    for n, packet in enumerate(packets + more):
        packet.pts = packet.dts = n * 48000
    pieces, segmenter = segments(stream, packets + more)
    assert not segmenter.dropped
    widths = {p.segment.epoch: p.segment.width for p in pieces}
    assert list(widths.values()) == [320, 640]
    assert [decoded([p]) for p in pieces] == [25] * 8
    with av.open(io.BytesIO(pieces[-1].payload)) as container:
        assert container.streams.video[0].width == 640
    assert other.width == 640


def test_pieces_wait_until_the_clock_has_settled(tmp_path: Path) -> None:
    """A server's burst of 3 s at connect: the first segments are dated back, none overlaps the next."""
    stream, packets = demux(footage.make(tmp_path / "v.mp4", gop=25, frames=125))
    pieces: list[Piece] = []
    segmenter = Segmenter("cam", stream, Cutting(1.0, 8 * MB), WallClock(), pieces.append)
    for n, packet in enumerate(packets):
        segmenter.push(packet, T0 + max(0, n - 75) * 0.04)
    segmenter.finish(T0 + 2)
    starts = [p.segment.start.timestamp() - T0 for p in pieces]
    assert starts == pytest.approx([-3, -2, -1, 0, 1], abs=0.05)
