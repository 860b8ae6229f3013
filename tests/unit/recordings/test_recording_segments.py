"""A file of a recording gives the segments that it was made of, and the very pictures that live workers saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.ingest.cutting.piece import Piece
from shared.recordings import cutting, files
from shared.recordings.files import SegmentWithVideo
from shared.recordings.windows import Head
from shared.runtime.errors import BadSegment
from shared.video.decode import Decoded, decode
from tests.support.video import footage
from tidegate.demo import clips

FPS = 5.0


def recorded(pieces: list[Piece]) -> files.VideoFile:
    (videos,), holes = files.build_files(
        [SegmentWithVideo(Head(n, p.segment, len(p.payload)), p.payload) for n, p in enumerate(pieces, 1)], "t"
    )
    assert not holes
    return videos


def live(pieces: list[Piece], n: int) -> Decoded:
    """Decode a segment as a worker does: with the preceding part of its group of pictures."""
    begin = next(k for k, piece in enumerate(pieces) if piece.segment.message_id == pieces[n].gop)
    before = [piece.payload for piece in pieces[begin:n]]
    return decode(pieces[n].payload, before=before, fps=FPS, frames=pieces[n].segment.frames)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "gop", "b_frames"),
    [("libx264", 25, 0), ("libx264", 100, 0), ("libx264", 50, 2), ("libx264", 13, 0), ("libx265", 75, 0)],
)
def test_recorded_segments_decode_to_their_live_pictures(tmp_path: Path, codec: str, gop: int, b_frames: int) -> None:
    video = footage.make(tmp_path / "v.mp4", codec=codec, gop=gop, b_frames=b_frames, frames=250)
    pieces = clips.pieces(video, "lobby")
    videos = recorded(pieces)
    found = list(cutting.split_file("lobby", videos.record, b"".join(videos.buffers)))
    assert len(found) == len(pieces) > 5
    for n, (one, piece) in enumerate(zip(found, pieces, strict=True)):
        assert one.seq == n + 1
        assert (one.segment.n, one.segment.epoch) == (piece.segment.n, piece.segment.epoch)
        assert abs((one.segment.start - piece.segment.start).total_seconds()) <= 0.0011
        assert one.segment.duration == pytest.approx(piece.segment.duration, abs=0.0011)
        again = decode(one.payload, before=one.before, fps=FPS, frames=one.segment.frames)
        expected = live(pieces, n)
        assert [p.offset for p in again.pictures] == pytest.approx([p.offset for p in expected.pictures], abs=1e-6)
        for a, b in zip(again.pictures, expected.pictures, strict=True):
            assert np.array_equal(a.pixels, b.pixels)


def test_a_file_that_contradicts_its_index_is_refused(tmp_path: Path) -> None:
    videos = recorded(clips.pieces(footage.make(tmp_path / "v.mp4", frames=100), "lobby"))
    data = b"".join(videos.buffers)
    other = recorded(clips.pieces(footage.make(tmp_path / "w.mp4", frames=50), "lobby"))
    with pytest.raises(BadSegment, match="other frames than its index says"):
        list(cutting.split_file("lobby", other.record, data))
    with pytest.raises(BadSegment):
        list(cutting.split_file("lobby", videos.record, data[:-10]))
