"""Cameras without keyframes: with intra refresh, a picture is renewed in parts over some frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.ingest.cutting.recovery_points import RecoveryPoints
from services.ingest.cutting.segmenter import Segmenter
from services.ingest.failures import SourceError
from services.ingest.settings import Cutting
from shared.contract.segment import from_headers, to_headers
from shared.recordings import cutting
from shared.recordings.files import SegmentWithVideo, build_files
from shared.recordings.records import Recorded
from shared.recordings.thinning import keyframe_segments
from shared.recordings.windows import Head
from shared.runtime.errors import BadSegment
from shared.video import gop
from shared.video.decode import Image, decode
from shared.video.recovery import recovery_frames
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video.rtsp_server import serving
from tests.support.waiting import until
from tidegate.demo import clips

__all__ = ["bus", "start"]

pytestmark = pytest.mark.xdist_group("intra refresh")

FPS = 25
SIZE = (320, 240)
# A round of 20 frames renews a picture of 20 columns.
ROUND = 20
FRAMES = 160


def picture(n: int) -> Image:
    """Stripes that move, and a noise that is each frame's own: a frame that is not renewed is far from right."""
    ramp = np.add.outer(np.arange(SIZE[1]), np.arange(SIZE[0]) + 9 * n)
    grey = (ramp * 2 % 200 + np.random.default_rng(n).integers(0, 40, ramp.shape)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def brighter(n: int) -> Image:
    """One noise, brighter with each frame: x265 renews a picture for certain only where nothing moves."""
    grey = (np.random.default_rng(1).integers(0, 90, SIZE[::-1]) + n).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def message(frames: int) -> bytes:
    """H.265's recovery point, D.2.8, as a unit: x265 writes none, as encoders in hardware do."""
    code = f"{2 * frames:b}"
    bits = "0" * (len(code) - 1) + code + "10" + "1"
    bits += "0" * (-len(bits) % 8)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"\0\0\0\1" + bytes([39 << 1, 1, 6, len(content)]) + content + b"\x80"


def marked(packet: av.Packet[VideoStream], n: int) -> av.Packet[VideoStream]:
    """Frame `n` of H.265 with a recovery point before it, where a round begins there."""
    if n % ROUND or not n:
        return packet
    out = av.Packet(message(ROUND - 1) + bytes(packet))
    out.pts, out.dts, out.time_base, out.stream = packet.pts, packet.dts, packet.time_base, packet.stream
    return out


@pytest.fixture(scope="module", params=["h264", "hevc"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, codec: str) -> Path:
    """The camera's video from its only keyframe on."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    refresh = f"intra-refresh=1:keyint={ROUND}:bframes=0:scenecut=0"
    clean = "log-level=none:pools=1:frame-threads=1:constrained-intra=1:no-sao=1:no-deblock=1:ref=1:no-weightp=1"
    options = {
        "h264": {"preset": "veryfast", "x264-params": refresh},
        "hevc": {"preset": "ultrafast", "x265-params": f"{refresh}:{clean}:ctu=16:min-cu-size=16"},
    }[codec]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264" if codec == "h264" else "libx265", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        packets = []
        for n in range(FRAMES):
            pixels = picture(n) if codec == "h264" else brighter(n)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            packets += stream.encode(frame)
        for n, packet in enumerate([*packets, *stream.encode(None)]):
            out.mux(packet if codec == "h264" else marked(packet, n))
    return path


@pytest.fixture(scope="module")
def joined(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video of a viewer that joins later: it begins at a recovery point, and has no keyframe."""
    path = tmp_path_factory.mktemp("joined") / "joined.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        packets = [p for p in source.demux(source.streams.video[0]) if p.size][ROUND:]
        first = packets[0].dts
        for n, packet in enumerate(packets):
            # A file without any would have all of its frames taken for keyframes.
            packet.is_keyframe = n % ROUND == 0
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, stream
            out.mux(packet)
    return path


@pytest.fixture(scope="module")
def shown(whole: Path) -> list[Image]:
    """The pictures of a plain decoding of all frames."""
    with av.open(str(whole)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def psnr(one: Image, other: Image) -> float:
    """Decibels."""
    error = float(((one.astype(float) - other) ** 2).mean())
    return 10 * np.log10(255**2 / max(error, 1e-9))


def best(found: Image, shown: list[Image]) -> tuple[float, int]:
    """Return the similarity and the index of the nearest frame."""
    # One pixel in 64 tells which frames are near; these alone are compared whole.
    few = (slice(None, None, 8), slice(None, None, 8))
    rough = [float(((found[few].astype(float) - frame[few]) ** 2).mean()) for frame in shown]
    nearest = sorted(range(len(shown)), key=rough.__getitem__)[:3]
    return max((psnr(found, shown[n]), n) for n in nearest)


@pytest.fixture(scope="module")
def camera(joined: Path) -> Iterator[str]:
    with serving(joined.parent, joined.parent / "log") as url:
        yield f"{url}/{joined.name}"


@pytest.mark.slow
async def test_a_camera_without_keyframes_decodes_correctly(
    admin: Client, bus: Bus, start: Callable[..., Ingest], camera: str, shown: list[Image]
) -> None:
    """Through a real RTSP server, ingest and JetStream: every frame after the first round equals the plain one's."""
    start()
    await add(admin, "lobby", camera)
    await until(lambda: sum(s.frames for s in bus.of("lobby")) >= FRAMES - ROUND - FPS)
    epoch = bus.of("lobby")[0].epoch
    js = admin.jetstream()
    numbers: list[int] = []
    for head, payload, _ in [found for found in bus.segments if found[0].epoch == epoch]:
        decoded = decode(payload, fps=FPS, before=await gop.earlier(js, head), frames=head.frames)
        assert decoded.damaged is None
        for found in decoded.pictures:
            decibels, n = best(found.pixels, shown)
            assert decibels > 60, f"segment {head.n} has a damaged picture at {found.offset} s"
            numbers.append(n)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] <= 2 * ROUND
    assert len(numbers) >= FRAMES - 2 * ROUND - 2 * FPS


@pytest.mark.slow
def test_no_segment_is_decoded_from_further_back_than_necessary(joined: Path, shown: list[Image]) -> None:
    pieces = clips.pieces(joined, "lobby", segment_s=0.5)
    index = {piece.segment.message_id: n for n, piece in enumerate(pieces)}
    assert [piece.segment.recovery is not None for piece in pieces].count(True) >= 4
    for n, piece in enumerate(pieces[1:], start=1):
        begin = index[piece.base or piece.gop]
        history = pieces[begin:n]
        assert sum(p.segment.frames for p in history) <= 3 * ROUND
        decoded = decode(piece.payload, fps=FPS, before=[p.payload for p in history])
        if begin or n > 2:
            assert all(best(p.pixels, shown)[0] > 60 for p in decoded.pictures)


def test_only_correct_pictures_of_the_first_segment_are_returned(joined: Path, shown: list[Image]) -> None:
    """For each requested half second: the nearest frame after the first refresh round."""
    (first, *_) = clips.pieces(joined, "lobby", segment_s=1.5)
    assert first.segment.recovery is not None
    decoded = decode(first.payload, fps=2)
    assert decoded.damaged is None
    assert all(best(p.pixels, shown)[0] > 60 for p in decoded.pictures)
    assert decoded.pictures[0].offset >= (first.segment.recovery - 1) / FPS
    assert decode(first.payload, at=[0.0]).pictures[0].offset == decoded.pictures[0].offset


def test_a_first_segment_without_correct_pictures_states_the_reason(joined: Path) -> None:
    (first, *_) = clips.pieces(joined, "lobby", segment_s=0.4)
    with pytest.raises(BadSegment, match="intra refresh"):
        decode(first.payload, fps=5)


def recorded(video: Path) -> tuple[Recorded, bytes]:
    pieces = clips.pieces(video, "lobby", segment_s=0.5)
    (videos,), _ = build_files(
        [SegmentWithVideo(Head(n, p.segment, len(p.payload)), p.payload) for n, p in enumerate(pieces, 1)], "t"
    )
    return videos.record, b"".join(videos.buffers)


def test_recorded_video_decodes_as_it_did_live(joined: Path, shown: list[Image]) -> None:
    pieces = clips.pieces(joined, "lobby", segment_s=0.5)
    for piece, one in zip(pieces, cutting.split_file("lobby", *recorded(joined)), strict=True):
        assert one.segment.recovery == piece.segment.recovery
        decoded = decode(one.payload, fps=FPS, before=one.before, frames=one.segment.frames) if one.before else None
        assert decoded is None or all(best(p.pixels, shown)[0] > 60 for p in decoded.pictures[-3:])
    assert one.before, "pictures are right only some frames after one begins"


def test_recovery_points_are_not_stored_alone_as_keyframes(joined: Path, whole: Path) -> None:
    for video, keys in ((joined, 0), (whole, 1)):
        thin = keyframe_segments("lobby", *recorded(video))
        assert [one.head.segment.frames for one in thin] == [1] * keys


# ---- where a segment is decoded from


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 120)), min_size=1, max_size=30))
def test_the_base_is_the_nearest_one_that_recovers_in_time(steps: list[tuple[int, int]]) -> None:
    """steps: frames that have passed, and after how many the pictures are right; 0 is a keyframe."""
    waves = RecoveryPoints()
    at, points = 0, []
    for n, (frames, recovery) in enumerate(steps):
        base = waves.begin(str(n), recovery)
        if not recovery:
            assert base == ""
            points.clear()
        elif right := [id for id, begin, needs in points if begin + needs <= at]:
            assert base == right[-1]
        else:
            assert base == (points[0][0] if points else "")
        points.append((str(n), at, recovery))
        waves.follow(frames)
        at += frames


def test_headers_state_where_decoding_may_begin() -> None:
    head = from_headers(
        {
            "Camera": "lobby", "Epoch": "e1", "Segment": "3", "Start": "2026-11-24T13:00:00.000Z", "Duration": "1.0",
            "Codec": "h264", "Width": "320", "Height": "240", "Frames": "25", "Key-Seq": "7", "Recovery": "20",
        }
    )  # fmt: skip
    assert head.starts_gop
    assert from_headers(to_headers(head)) == head
    assert not from_headers({k: v for k, v in to_headers(head).items() if k != "Recovery"}).starts_gop


# ---- recovery points


def test_recovery_points_of_cameras_are_read(whole: Path, joined: Path, codec: str) -> None:
    with av.open(str(whole)) as container:
        packets = [bytes(p) for p in container.demux(container.streams.video[0]) if p.size]
    found = {n: recovery_frames(codec, data, 4) for n, data in enumerate(packets)}
    assert {n for n, count in found.items() if count} == set(range(ROUND, FRAMES, ROUND))
    assert {count for count in found.values() if count} <= set(range(1, ROUND + 1))
    data = packets[ROUND]
    units = []
    while data:
        length = int.from_bytes(data[:4], "big")
        units.append(data[4 : 4 + length])
        data = data[4 + length :]
    assert recovery_frames(codec, b"".join(b"\0\0\0\1" + unit for unit in units)) == found[ROUND]
    assert recovery_frames("hevc" if codec == "h264" else "h264", packets[ROUND], 4) is None


@given(st.binary(max_size=300), st.sampled_from([0, 1, 2, 4]))
def test_any_bytes_are_parsed_without_error(data: bytes, length_size: int) -> None:
    for codec, sei, plain in (("h264", b"\x06", b"\x01"), ("hevc", b"\x4e\x01", b"\x02\x01")):
        found = recovery_frames(codec, b"\0\0\1" + sei + data + b"\0\0\1" + plain, length_size)
        assert found is None or found > 0


@given(st.integers(1, 60_000))
def test_recovery_points_of_h265_are_read(frames: int) -> None:
    plain, keyframe = b"\0\0\1\x02\x01", b"\0\0\1\x2a\x01"
    assert recovery_frames("hevc", message(frames) + plain) == frames
    assert recovery_frames("hevc", message(frames) + keyframe) is None


# ---- without any


def test_a_camera_without_keyframes_is_reported(whole: Path) -> None:
    """The packets lack the messages that would mark recovery points."""

    class Clock:
        reanchors = 0

        def observe(self, timestamp: float, arrival: float) -> bool:
            return False

        def settled(self, arrival: float) -> bool:
            return True

        def wall(self, timestamp: float) -> float:
            return timestamp

    pieces: list[Piece] = []
    with av.open(str(whole)) as container:
        stream = container.streams.video[0]
        cutter = Segmenter("lobby", stream, Cutting(1.0, 10**6), Clock(), pieces.append)
        packets = [p for p in container.demux(stream) if p.size]
    plain = [p for n, p in enumerate(packets) if n % ROUND]
    tick = float(plain[0].time_base or 0)
    with pytest.raises(SourceError, match=r"no keyframe for 60 s.*interval"):
        for n in range(100 * FPS):
            packet = plain[n % len(plain)]
            packet.pts = packet.dts = round(n / FPS / tick)
            cutter.push(packet, n / FPS)
    assert n == 60 * FPS + 1
    assert pieces == []
