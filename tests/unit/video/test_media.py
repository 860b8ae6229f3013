"""Frames out of segments: encoded here, so that every picture's place in time is known by its brightness."""

from __future__ import annotations

import io
import itertools
import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.runtime.errors import BadSegment
from shared.video import decode as media
from shared.video.container import opened
from shared.video.decode import decode, fitted, sample
from shared.video.mp4 import announced
from tests.fuzz import good
from tests.support.examples import examples

FPS = 25
SIZE = (160, 96)
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
X264 = {"preset": "ultrafast", "crf": "10"}
X265 = {"preset": "ultrafast", "crf": "10", "x265-params": "log-level=none:pools=1:frame-threads=1"}


def clip(frames: int = FPS, codec: str = "libx264", b: int = 0) -> bytes:
    """One GOP whose frame n is grey of brightness 16 + 4n, under an edge that moves."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=FRAGMENTED) as container:
        stream = container.add_stream(codec, rate=FPS, options=X264 if codec == "libx264" else X265)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 1000, b
        for n in range(frames):
            picture = np.full((SIZE[1], SIZE[0], 3), 16 + 4 * n, np.uint8)
            picture[:8, : 4 * n % SIZE[0]] = 255
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def cut(payload: bytes, frames: int) -> list[bytes]:
    """`payload` remuxed into pieces of `frames` each, the first alone with a keyframe, as ingest cuts a long GOP."""
    pieces = []
    with av.open(io.BytesIO(payload)) as source:
        packets = [p for p in source.demux(source.streams.video[0]) if p.size]
        for i in range(0, len(packets), frames):
            out = io.BytesIO()
            with av.open(out, "w", format="mp4", options=FRAGMENTED) as container:
                stream = container.add_stream_from_template(source.streams.video[0])
                base = packets[i].dts
                for packet in packets[i : i + frames]:
                    packet.pts, packet.dts, packet.stream = packet.pts - base, packet.dts - base, stream
                    container.mux(packet)
            pieces.append(out.getvalue())
    return pieces


def numbers(decoded: media.Decoded) -> list[int]:
    """Return the frame numbers of the pictures, read from their brightness below the edge."""
    return [round((float(p.pixels[40:].mean()) - 16) / 4) for p in decoded.pictures]


KINDS = [
    pytest.param({}, id="h264"),
    pytest.param({"b": 3}, id="h264-b-frames"),
    pytest.param({"codec": "libx265"}, id="hevc"),
    pytest.param({"codec": "libx265", "b": 3}, id="hevc-b-frames"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (0.1, [0]),
        (1, [0]),
        (2, [0, 12]),
        (5, [0, 5, 10, 15, 20]),
        (8, [0, 3, 6, 9, 12, 16, 19, 22]),
        (25, list(range(25))),
        (500, list(range(25))),
    ],
)
def test_frames_lie_on_the_grid(kind: dict[str, object], threads: int, fps: float, expected: list[int]) -> None:
    decoded = decode(clip(**kind), fps=fps, frames=FPS, threads=threads)  # type: ignore[arg-type]
    assert numbers(decoded) == expected
    assert [p.offset for p in decoded.pictures] == pytest.approx([n / FPS for n in expected])
    assert decoded.damaged is None


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_the_nearest_to_the_requested_times(kind: dict[str, object]) -> None:
    """Whatever their order, each once; what lies outside is taken at the end that is nearer."""
    payload = clip(**kind)  # type: ignore[arg-type]
    for at, expected in (
        ([0.0], [0]),
        ([0.2, 0.6], [5, 15]),
        ([0.611, 0.21, 0.2], [5, 15]),
        ([-3.0, 0.5, 1e9], [0, 12, 24]),
        ([n / FPS for n in range(FPS)], list(range(FPS))),
    ):
        decoded = decode(payload, at=at, frames=FPS)
        assert numbers(decoded) == expected
        assert [p.offset for p in decoded.pictures] == pytest.approx([n / FPS for n in expected])
    first, second = cut(payload, 13)
    assert numbers(decode(second, before=[first], at=[0.2], frames=12)) == [18] or "b" in kind


def test_exactly_one_of_rate_and_times_is_required() -> None:
    for given_both in ({}, {"at": []}, {"fps": 5, "at": [0.2]}):
        with pytest.raises(ValueError, match="one of fps and at"):
            decode(clip(5), **given_both)  # type: ignore[arg-type]


def test_pictures_are_stretched_to_the_requested_size() -> None:
    payload = clip(5)
    assert {p.pixels.shape for p in decode(payload, fps=5).pictures} == {(96, 160, 3)}
    picture = decode(payload, fps=5, size=(30, 40)).pictures[0].pixels
    assert picture.shape == (40, 30, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("kind", KINDS)
def test_dependent_segments_decode_after_the_ones_before_them(kind: dict[str, object]) -> None:
    pieces = cut(clip(60, **kind), 20)  # type: ignore[arg-type]
    seen: list[int] = []
    for n, piece in enumerate(pieces):
        decoded = decode(piece, before=pieces[:n], fps=FPS, frames=20)
        assert decoded.damaged is None
        offsets = [p.offset for p in decoded.pictures]
        assert offsets[0] == 0
        assert offsets == sorted(offsets)
        seen += numbers(decoded)
    assert sorted(seen) == list(range(60))
    with pytest.raises(BadSegment, match="Key-Seq"):
        decode(pieces[1], fps=5)


def test_unreferenced_frames_and_the_tail_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[tuple[int, str]] = []
    frames = media._frames

    def spy(decoder: av.VideoCodecContext, *args: object) -> object:
        class Counting:
            skip_frame = "DEFAULT"

            def decode(self, packet: av.Packet | None) -> object:
                if packet is not None:
                    requests.append((packet.pts, self.skip_frame))
                    decoder.skip_frame = self.skip_frame
                return decoder.decode(packet)

        return frames(Counting(), *args)  # type: ignore[arg-type]

    payload = clip(b=2)
    monkeypatch.setattr(media, "_frames", spy)
    assert numbers(decode(payload, fps=1)) == [0]
    assert requests == [(0, "DEFAULT")]
    requests.clear()
    assert numbers(decode(payload, at=[0.0])) == [0]
    assert requests == [(0, "DEFAULT")]
    requests.clear()
    assert len(decode(payload, fps=5).pictures) == 5
    assert len(requests) < 25
    assert sum(skip == "DEFAULT" for _, skip in requests) == 5


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0" * 1000, bytes(np.random.default_rng(0).integers(0, 256, 100_000, np.uint8))],
    ids=["empty", "zeros", "random"],
)
def test_data_that_is_no_video_is_a_bad_segment(payload: bytes) -> None:
    with pytest.raises(BadSegment):
        decode(payload, fps=5)


def test_video_of_another_codec_is_a_bad_segment() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height = SIZE
        container.mux(stream.encode(av.VideoFrame(*SIZE, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(BadSegment, match="codec is mpeg4"):
        decode(out.getvalue(), fps=5)


def test_invalid_utf_8_does_not_make_video_unreadable() -> None:
    out = io.BytesIO()
    with av.open(io.BytesIO(clip())) as source, av.open(out, "w", format="mp4", options=FRAGMENTED) as target:
        target.metadata["title"] = "TITLE"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    payload = out.getvalue()
    assert payload.count(b"TITLE") == 1
    assert len(decode(payload.replace(b"TITLE", b"T\xeetre"), fps=5).pictures) == 5


def test_a_truncated_segment_gives_its_decodable_part_and_reports_damage() -> None:
    payload = clip()
    remaining = 0
    for length in range(0, len(payload), 97):
        try:
            decoded = decode(payload[:length], fps=FPS, frames=FPS)
        except BadSegment:
            assert remaining == 0
            continue
        remaining = len(decoded.pictures)
        assert numbers(decoded) == list(range(remaining))
        assert (decoded.damaged is None) == (remaining == FPS)
    assert remaining >= FPS - 1


def test_more_frames_than_announced_are_refused() -> None:
    payload = clip()
    assert decode(payload, fps=1, frames=13).damaged is None
    with pytest.raises(BadSegment, match="more than 24 frames"):
        decode(payload, fps=1, frames=12)


def test_a_resolution_beyond_8k_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_PIXELS", SIZE[0] * SIZE[1] // 2)
    with pytest.raises(BadSegment):
        decode(clip(), fps=1)


def test_pictures_that_fill_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_BYTES", 2 * 300 * 300 * 3)
    assert len(decode(clip(), fps=2, size=(300, 300)).pictures) == 2
    with pytest.raises(BadSegment, match="ask for fewer"):
        decode(clip(), fps=3, size=(300, 300))


_PAYLOADS = {codec: clip(codec=codec, b=2) for codec in ("libx264", "libx265")}


@given(
    codec=st.sampled_from(sorted(_PAYLOADS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=30),
    head=st.booleans(),
)
@settings(max_examples=examples(150))
def test_damaged_data_is_a_bad_segment_or_pictures(codec: str, changes: list[tuple[float, int]], head: bool) -> None:
    damaged = bytearray(_PAYLOADS[codec])
    for place, value in changes:
        damaged[int(place * (1500 if head else len(damaged)))] = value
    try:
        decoded = decode(bytes(damaged), fps=5, size=(32, 32), frames=FPS)
    except BadSegment as e:
        assert str(e)
    else:
        assert decoded.pictures
        assert all(0 <= p.offset <= media.MAX_SECONDS and p.pixels.shape == (32, 32, 3) for p in decoded.pictures)


def test_threads_decode_in_parallel() -> None:
    payload = clip(b=2)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: numbers(decode(payload, fps=5)), range(40)))
    assert results == [[0, 5, 10, 15, 20]] * 40


@given(
    gaps=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=120),
    fps=st.floats(0.05, 120),
)
@example(gaps=[0.04] * 25, fps=5)
def test_sample_has_the_requested_count_and_starts_at_the_first(gaps: list[float], fps: float) -> None:
    offsets = [0.0, *itertools.accumulate(gaps[:-1])]
    duration = offsets[-1] + gaps[-1]
    taken = sample(offsets, duration, fps)
    assert taken[0] == 0
    assert taken == sorted(set(taken))
    assert taken[-1] < len(offsets)
    assert 1 <= len(taken) <= max(1, round(duration * fps))


@given(rate=st.integers(5, 60), fps=st.floats(0.5, 30), lengths=st.lists(st.integers(1, 120), min_size=1, max_size=8))
def test_sampling_of_a_steady_camera_stays_even(rate: int, fps: float, lengths: list[int]) -> None:
    """Within a segment gaps differ by one frame at most, and the rate is right to half a picture a segment."""
    for length in lengths:
        taken = sample([n / rate for n in range(length)], length / rate, fps)
        gaps = np.diff([*taken, length])
        assert gaps.max() - gaps.min() <= 1
        assert len(taken) == min(length, max(1, round(length / rate * fps)))


sizes = st.tuples(st.integers(2, 8192), st.integers(2, 8192))


@given(sizes, st.integers(32, 4096))
def test_frame_sizes_are_even_and_keep_their_aspect(size: tuple[int, int], side: int) -> None:
    found = fitted(size, (side, side))
    scale = min(1.0, side / max(size))
    for pixels, was in zip(found, size, strict=True):
        assert pixels >= 2 and pixels % 2 == 0
        assert abs(pixels - was * scale) < 2 or pixels == 2


@given(sizes, st.integers(32, 4096))
def test_frames_are_never_larger_than_the_original_or_the_request(size: tuple[int, int], side: int) -> None:
    found = fitted(size, (side, side))
    assert max(found) <= side
    assert found[0] <= size[0] and found[1] <= size[1]


@given(sizes, st.integers(32, 4096))
def test_the_height_follows_the_aspect_if_only_the_width_is_bounded(size: tuple[int, int], side: int) -> None:
    assert fitted(size, (side, 16 * 8192 * 8192))[0] <= max(2, side)
    assert fitted(size[::-1], (side, side)) == fitted(size, (side, side))[::-1]


@pytest.mark.parametrize(
    ("name", "count_at"),
    [(b"trun", 4), (b"stsz", 8), (b"stts", 4)],
    ids=["of a fragment", "of a file", "of one duration"],
)
def test_a_video_that_announces_millions_of_frames_is_refused_before_libav_lists_them(
    name: bytes, count_at: int
) -> None:
    """Six kilobytes had libav take 1.7 GB and a second for a table of frames that have no bytes."""
    payload = bytearray(good.payloads()[0])
    at = payload.index(name) + 4
    # No field of each frame's own, and one size or duration for all of them.
    payload[at : at + 12] = struct.pack(">III", 0, 1, 1 << 26)
    payload[at + count_at : at + count_at + 4] = struct.pack(">I", 1 if name == b"stts" else 1 << 26)
    # The same in a box whose size has 64 bits: all that follows its name is 8 bytes later.
    large = payload[: at - 8] + struct.pack(">I4sQ", 1, name, 1 << 30) + payload[at:]
    for hostile in (bytes(payload), bytes(large)):
        assert announced.frames(hostile) >= 1 << 26
        with pytest.raises(BadSegment, match="announces"), opened(hostile):
            pass


def test_segments_of_ingest_announce_exactly_their_frames() -> None:
    for piece in [*good.pieces(), *good.pieces("libx265")]:
        assert announced.frames(piece.payload) == piece.segment.frames


@given(st.binary(max_size=400))
@example(b"\x00\x00\x00\x01mdat" + b"\x00" * 8)
@example(b"\x00\x00\x00\x08cmov")
def test_counting_frames_accepts_any_data(data: bytes) -> None:
    assert announced.frames(data) >= 0
    # The bytes of frames are not parsed: they may hold any name.
    assert announced.frames(struct.pack(">I4s", 8 + len(data), b"mdat") + data) == 0
