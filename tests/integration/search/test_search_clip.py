"""Evidence: segments out of a real MEDIA, as one video and as pictures, equal to the camera's video frame by frame."""

from __future__ import annotations

import datetime as dt
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.search.clip import WITHIN, StoredSegment, collect, join, nearest, picture
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.questions.search import Unanswerable
from shared.contract.segment import Segment, to_headers
from shared.runtime.errors import BadSegment
from shared.video import pictures
from shared.video.decode import decode
from tests.support.video import footage
from tidegate.demo import clips
from tidegate.demo import footage as real

MB = 2**20
T0 = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


def frames(video: bytes) -> list[tuple[float, np.ndarray]]:
    """Seconds and luma of every frame, in presentation order."""
    with av.open(io.BytesIO(video)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="gray")) for f in container.decode(video=0)]


def top_level(video: bytes) -> list[str]:
    boxes, at = [], 0
    while at < len(video):
        boxes.append(video[at + 4 : at + 8].decode())
        at += int.from_bytes(video[at : at + 4], "big")
    return boxes


def stored(pieces: Sequence[Piece]) -> list[StoredSegment]:
    """The same segments alone in MEDIA, from sequence 1 on."""
    seqs: dict[str, int] = {}
    out = []
    for seq, piece in enumerate(pieces, 1):
        seqs[piece.segment.message_id] = seq
        key_seq = seqs[piece.gop] if piece.dependent else None
        out.append(StoredSegment(seq, msgspec.structs.replace(piece.segment, key_seq=key_seq), piece.payload))
    return out


async def publish(client: Client, pieces: Sequence[Piece], camera: str | None = None) -> list[int]:
    """Publish as ingest does; return their sequences in MEDIA."""
    seqs: dict[str, int] = {}
    for piece in pieces:
        key_seq = seqs[piece.gop] if piece.dependent else None
        segment = msgspec.structs.replace(piece.segment, key_seq=key_seq, camera=camera or piece.segment.camera)
        ack = await client.jetstream().publish(names.media(segment.camera), piece.payload, headers=to_headers(segment))
        seqs[piece.segment.message_id] = ack.seq
    return list(seqs.values())


def numbers(found: Sequence[StoredSegment]) -> list[int]:
    return [one.segment.n for one in found]


VIDEOS = [
    pytest.param({"codec": "libx264", "gop": 25}, id="h264"),
    pytest.param({"codec": "libx264", "gop": 50, "b_frames": 2}, id="h264-b-frames-long-gop"),
    pytest.param({"codec": "libx264", "gop": 130, "b_frames": 3}, id="h264-one-gop"),
    pytest.param({"codec": "libx265", "gop": 10}, id="hevc"),
    pytest.param({"codec": "libx265", "gop": 60, "b_frames": 3}, id="hevc-b-frames-long-gop"),
]


@pytest.mark.parametrize("video", VIDEOS)
def test_joined_segments_are_the_source_frame_by_frame(tmp_path: Path, video: dict[str, object]) -> None:
    path = footage.make(tmp_path / "v.mp4", frames=130, **video)  # type: ignore[arg-type]
    pieces = clips.pieces(path, "cam")
    assert len(pieces) > 3
    clip = join(stored(pieces))
    shown, source = frames(clip.data), frames(path.read_bytes())
    assert [t for t, _ in shown] == pytest.approx([n / 25 for n in range(130)], abs=1e-4)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, source, strict=True))
    assert clip.start == pieces[0].segment.start
    assert (clip.end - clip.start).total_seconds() == pytest.approx(130 / 25, abs=0.01)
    with av.open(io.BytesIO(clip.data)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(130 / 25, abs=1e-3)
        assert stream.codec_context.codec_tag == {"libx264": "avc1", "libx265": "hvc1"}[str(video["codec"])]
        decode_times = [p.dts for p in container.demux(stream) if p.size]
    assert all(a < b for a, b in itertools.pairwise(decode_times))
    boxes = top_level(clip.data)
    assert boxes.index("moov") < boxes.index("mdat")


def test_real_footage_joins_from_any_gop() -> None:
    path = real.embedded(real.cache() / f"footage-{real.VERSION}")[0]
    whole, source = stored(clips.pieces(path, "street")), frames(path.read_bytes())
    part = whole[3:13]
    before = sum(one.segment.frames for one in whole[:3])
    shown = frames(join(part).data)
    assert len(shown) == sum(one.segment.frames for one in part)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, source[before:], strict=False))


def test_a_hole_keeps_the_clock(tmp_path: Path) -> None:
    """A gap between two segments that ingest had to drop: the last frame stays until video goes on."""
    pieces = stored(clips.pieces(footage.make(tmp_path / "v.mp4"), "cam"))
    late = msgspec.structs.replace(pieces[2].segment, start=pieces[2].segment.start + s(1.5))
    clip = join([*pieces[:2], pieces[2]._replace(segment=late)])
    times = [t for t, _ in frames(clip.data)]
    assert times == pytest.approx([n / 25 for n in range(50)] + [3.5 + n / 25 for n in range(25)], abs=0.002)
    assert clip.end == late.start + s(1)


def test_other_parameters_end_the_clip(tmp_path: Path) -> None:
    small = stored(clips.pieces(footage.make(tmp_path / "a.mp4"), "cam"))
    large = stored(clips.pieces(footage.make(tmp_path / "b.mp4", size=(640, 480)), "cam"))
    clip = join([*small[:2], *large])
    assert len(frames(clip.data)) == 50
    assert (clip.start, clip.end) == (small[0].segment.start, small[1].end)


@pytest.mark.parametrize("payload", [b"", b"\0" * 1000], ids=["empty", "zeros"])
def test_a_segment_without_video_is_bad(tmp_path: Path, payload: bytes) -> None:
    pieces = stored(clips.pieces(footage.make(tmp_path / "v.mp4"), "cam"))
    with pytest.raises(BadSegment):
        join([pieces[0], pieces[1]._replace(payload=payload)])


@pytest.mark.slow
def test_a_truncated_segment_gives_its_readable_frames(tmp_path: Path) -> None:
    pieces = stored(clips.pieces(footage.make(tmp_path / "v.mp4"), "cam"))
    counts = []
    for length in range(0, len(pieces[1].payload), 997):
        try:
            clip = join([pieces[0], pieces[1]._replace(payload=pieces[1].payload[:length]), pieces[2]])
        except BadSegment:
            assert not counts
            continue
        times = [t for t, _ in frames(clip.data)]
        assert times[-25:] == pytest.approx([2 + n / 25 for n in range(25)], abs=0.01)
        counts.append(len(times))
    assert counts == sorted(counts)
    assert counts[0] < 60 and counts[-1] > 70


# ---- adjacent segments


def one(n: int, size: int, key: bool) -> StoredSegment:
    segment = Segment(
        camera="cam",
        epoch="e",
        n=n,
        start=T0 + s(n),
        duration=1.0,
        codec="h264",
        width=320,
        height=240,
        frames=25,
        key_seq=None if key else 1,
    )
    return StoredSegment(n + 1, segment, b"\0" * size)


@given(
    st.lists(st.tuples(st.integers(1, 50_000), st.booleans()), max_size=20),
    st.integers(0, 20),
    st.integers(8192, 400_000),
)
def test_the_nearest_segments_that_fit_are_chosen(rest: list[tuple[int, bool]], index: int, max_bytes: int) -> None:
    run = [one(n, size, key) for n, (size, key) in enumerate([(1000, True), *rest])]
    assume(index < len(run))
    try:
        remaining = nearest(run, index, max_bytes)
    except Unanswerable:
        gop = next(n for n in range(index, -1, -1) if run[n].segment.key_seq is None)
        assert sum(len(x.payload) + 2000 for x in run[gop : index + 1]) + 8192 > max_bytes
        return
    first, last = run.index(remaining[0]), run.index(remaining[-1])
    assert remaining == run[first : last + 1]
    assert first <= index <= last
    assert remaining[0].segment.key_seq is None
    assert sum(len(x.payload) for x in remaining) < max_bytes
    # Nothing more fits: neither the next segment nor the GOP before.
    left = max_bytes - 8192 - sum(len(x.payload) + 25 * 48 for x in remaining)
    assert last + 1 == len(run) or len(run[last + 1].payload) + 25 * 48 > left
    gop = max((n for n in range(first) if run[n].segment.key_seq is None), default=None)
    assert gop is None or sum(len(x.payload) + 25 * 48 for x in run[gop:first]) > left


def test_both_sides_get_equal_room() -> None:
    run = [one(n, 10_000, True) for n in range(21)]
    assert numbers(nearest(run, 10, 8192 + 7 * 11_200)) == [7, 8, 9, 10, 11, 12, 13]
    assert numbers(nearest(run, 1, 8192 + 7 * 11_200)) == [0, 1, 2, 3, 4, 5, 6]


# ---- out of MEDIA


@pytest.fixture
def video(tmp_path: Path) -> list[Piece]:
    """Twelve segments of a second, each a GOP."""
    return clips.pieces(footage.make(tmp_path / "v.mp4", frames=300), "cam")


async def test_the_segments_of_a_moment_are_found_among_other_cameras(admin: Client, video: list[Piece]) -> None:
    seqs = {}
    for piece in video:
        for camera in ("a", "b", "c"):
            (seq,) = await publish(admin, [piece], camera)
            seqs[camera, piece.segment.n] = seq
    start = video[0].segment.start
    for best, first, last in itertools.product((0, 5, 11), (0.0, 4.5, 5.0), (6.2, 7.0, 11.9)):
        found = await collect(
            admin.jetstream(), "b", seqs["b", best], start + s(first), start + s(last), max_bytes=8 * MB
        )
        covered = range(min(best, int(first)), max(best, int(np.ceil(last)) - 1) + 1)
        assert numbers(found) == list(covered), (best, first, last)
        assert {x.segment.camera for x in found} == {"b"}
        assert [x.payload for x in found] == [video[n].payload for n in covered]


async def test_a_long_gop_is_read_from_its_start(admin: Client, tmp_path: Path) -> None:
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", frames=250, gop=100, b_frames=2), "cam")
    assert [p.dependent for p in pieces].count(False) == 3
    seqs = await publish(admin, pieces)
    keys = [n for n, p in enumerate(pieces) if not p.dependent]
    best = keys[1] + 2
    start = pieces[best].segment.start
    found = await collect(admin.jetstream(), "cam", seqs[best], start, start + s(0.5), max_bytes=8 * MB)
    assert numbers(found) == list(range(keys[1], best + 1))
    assert len(frames(join(found).data)) == sum(x.segment.frames for x in found)


async def test_a_missing_segment_ends_the_stretch_on_its_side(admin: Client, video: list[Piece]) -> None:
    js = admin.jetstream()
    remaining = [p for p in video if p.segment.n not in (3, 8)]
    seqs = dict(zip([p.segment.n for p in remaining], await publish(admin, remaining), strict=True))
    start = video[0].segment.start
    for best, covered in ((5, [4, 5, 6, 7]), (1, [0, 1, 2]), (10, [9, 10, 11])):
        found = await collect(js, "cam", seqs[best], start, start + s(12), max_bytes=8 * MB)
        assert numbers(found) == covered


async def test_another_epoch_is_not_part_of_it(admin: Client, tmp_path: Path, video: list[Piece]) -> None:
    js = admin.jetstream()
    again = clips.pieces(tmp_path / "v.mp4", "cam")
    seqs = await publish(admin, [*video[:6], *again])
    start = video[0].segment.start
    old = await collect(js, "cam", seqs[3], start, start + s(30), max_bytes=8 * MB)
    assert numbers(old) == [0, 1, 2, 3, 4, 5]
    new = await collect(js, "cam", seqs[8], start - s(30), start + s(30), max_bytes=8 * MB)
    assert {x.segment.epoch for x in new} == {again[0].segment.epoch}
    assert numbers(new) == list(range(12))


async def test_replays_and_foreign_messages_are_skipped(admin: Client, video: list[Piece]) -> None:
    js = admin.jetstream()
    seqs = await publish(admin, video[:3])
    replay = to_headers(video[1].segment) | {REPLAY_OF: f"MEDIA/{seqs[1]}", "Nats-Msg-Id": "replay"}
    replayed = (await js.publish(names.media("cam"), video[1].payload, headers=replay)).seq
    await js.publish(names.media("cam"), b"nonsense")
    seqs += await publish(admin, video[3:])
    start = video[0].segment.start
    found = await collect(js, "cam", seqs[4], start, start + s(6), max_bytes=8 * MB)
    assert numbers(found) == [0, 1, 2, 3, 4, 5]
    assert [x.seq for x in found] == seqs[:6]
    # An event from a replay names the replay: it stands alone.
    alone = await collect(js, "cam", replayed, start, start + s(6), max_bytes=8 * MB)
    assert [x.seq for x in alone] == [replayed]


async def test_a_clip_is_within_the_limit_and_has_the_best_frame(admin: Client, video: list[Piece]) -> None:
    seqs = await publish(admin, video)
    start = video[0].segment.start
    sizes = []
    for most in (200_000, 400_000, 800_000):
        found = await collect(admin.jetstream(), "cam", seqs[6], start, start + s(12), max_bytes=most)
        assert seqs[6] in [x.seq for x in found]
        clip = join(found)
        assert len(clip.data) <= most
        assert len(frames(clip.data)) == 25 * len(found)
        sizes.append(len(found))
    assert sizes == sorted(set(sizes))
    with pytest.raises(Unanswerable, match="max_payload"):
        await collect(admin.jetstream(), "cam", seqs[6], start, start + s(12), max_bytes=20_000)


async def test_expired_video_is_reported(admin: Client, video: list[Piece]) -> None:
    js = admin.jetstream()
    seqs = await publish(admin, video)
    await js.purge_stream(names.MEDIA, seq=seqs[4])
    start = video[0].segment.start
    with pytest.raises(Unanswerable, match="no longer kept in MEDIA"):
        await collect(js, "cam", seqs[2], start, start + s(5), max_bytes=8 * MB)
    found = await collect(js, "cam", seqs[6], start, start + s(8), max_bytes=8 * MB)
    assert numbers(found) == [4, 5, 6, 7]
    with pytest.raises(Unanswerable):
        await collect(js, "other", seqs[6], start, start + s(8), max_bytes=8 * MB)


async def test_a_partial_gop_is_no_video(admin: Client, tmp_path: Path) -> None:
    js = admin.jetstream()
    pieces = clips.pieces(footage.make(tmp_path / "v.mp4", frames=200, gop=100), "cam")
    seqs = await publish(admin, pieces)
    await js.purge_stream(names.MEDIA, seq=seqs[1])
    start = pieces[0].segment.start
    with pytest.raises(Unanswerable, match="no longer kept"):
        await collect(js, "cam", seqs[2], start, start + s(4), max_bytes=8 * MB)
    key = next(n for n, p in enumerate(pieces) if n and not p.dependent)
    found = await collect(js, "cam", seqs[key], start, start + s(8), max_bytes=8 * MB)
    assert numbers(found) == list(range(key, len(pieces)))


# ---- pictures


def pixels(picture: bytes) -> np.ndarray:
    with av.open(io.BytesIO(picture)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_a_picture_is_the_frame_at_the_offset(tmp_path: Path) -> None:
    path = footage.make(tmp_path / "v.mp4", gop=100, b_frames=2)
    pieces = stored(clips.pieces(path, "cam"))
    with av.open(str(path)) as container:
        source = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
    before = sum(x.segment.frames for x in pieces[:2])
    for n in (0, 7, 20):
        earlier = [x.payload for x in pieces[:2]]
        shown = pixels(picture(decode(pieces[2].payload, at=[n / 25 + 0.01], within=WITHIN, before=earlier)))
        assert shown.shape == (240, 320, 3)
        errors = [np.abs(shown.astype(int) - frame).mean() for frame in source]
        assert int(np.argmin(errors)) == before + n


def test_a_box_is_outlined() -> None:
    grey = np.full((200, 300, 3), 90, np.uint8)
    drawn = pictures.outlined(grey, (0.1, 0.25, 0.5, 0.75))
    changed = np.argwhere((drawn != grey).any(axis=2))
    assert (changed.min(axis=0).tolist(), changed.max(axis=0).tolist()) == ([50, 30], [149, 150])
    assert (drawn[60:140, 40:140] == 90).all()
    assert (grey == 90).all()
    shown = pixels(pictures.jpeg(drawn)).astype(int)
    assert shown.shape == grey.shape
    assert np.abs(shown - drawn).mean() < 4


@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_any_box_can_be_drawn(box: tuple[float, float, float, float]) -> None:
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    drawn = pictures.outlined(np.zeros((36, 64, 3), np.uint8), (x1, y1, x2, y2))
    assert drawn.any()
