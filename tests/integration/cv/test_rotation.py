"""Video that was filmed sideways, as by telephones, and is marked so: all results of it are upright.

The picture has four colours, so that no turn and no mirror image of it is another.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.cv.__main__ import run as run_cv
from services.cv.settings import CvSettings
from services.search import clip
from services.search.clip import StoredSegment
from shared.contract import names
from shared.contract import segment as segments
from shared.contract.events import Detections
from shared.video.decode import Image, decode
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.processes.service import serving, settled
from tests.support.waiting import until
from tidegate.demo import footage as demo_footage
from tidegate.local.server import NatsServer

__all__ = ["bus", "start"]

FPS = 10
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
# Top left, top right, bottom left, bottom right.
COLOURS = [(250, 250, 250), (200, 0, 0), (0, 160, 0), (0, 0, 220)]


class Turn(NamedTuple):
    """Correct the stored picture: turn it by `degrees` counterclockwise, then mirror it."""

    degrees: int
    mirrored: bool = False
    flipped: bool = False

    def stored(self, upright: Image) -> Image:
        """The stored picture of a camera that is held like this."""
        pixels = upright[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(np.rot90(pixels, -self.degrees // 90))


TURNS = [Turn(0), Turn(90), Turn(180), Turn(270), Turn(0, mirrored=True), Turn(90, flipped=True), Turn(180, True)]


def upright(width: int = 96, height: int = 160) -> Image:
    picture = np.zeros((height, width, 3), np.uint8)
    for n, colour in enumerate(COLOURS):
        rows = slice(0, height // 2) if n < 2 else slice(height // 2, height)
        columns = slice(0, width // 2) if n % 2 == 0 else slice(width // 2, width)
        picture[rows, columns] = colour
    return picture


def assert_upright(pixels: Image) -> None:
    """Whether each quarter has its colour in its middle."""
    height, width = pixels.shape[:2]
    middles = pixels[height // 4 :: height // 2, width // 4 :: width // 2].reshape(-1, 3)
    assert np.abs(middles.astype(int) - COLOURS).max() < 30, middles


def film(
    turn: Turn, pictures: Iterator[Image] | None = None, *, codec: str = "libx264", gop: int = 10, **options: str
) -> bytes:
    """An MP4 whose matrix has the rotation of its pictures. A second of `upright`, unless pictures are given."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=options) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options={"preset": "ultrafast", "crf": "12"})
        if codec == "libx265":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
        stream.set_display_rotation(turn.degrees, turn.mirrored, turn.flipped)
        stream.gop_size, stream.max_b_frames = gop, 0
        for n, picture in enumerate(pictures or (upright() for _ in range(FPS))):
            stored = turn.stored(picture)
            if n == 0:
                stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuv420p"
            frame = av.VideoFrame.from_ndarray(stored, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def with_orientation_message(payload: bytes, degrees: int) -> bytes:
    """An H.264 MP4 whose keyframes carry a display orientation SEI message (D.1.27), which holds until the next."""
    # Its payload: three flags, 16 bits of the turn, 010 for "until the next", an extension flag, and a closing bit.
    bits = round(degrees / 360 * 2**16) << 5 | 0b01001
    unit = bytes([6, 47, 3]) + bits.to_bytes(3, "big") + b"\x80"
    out = io.BytesIO()
    with av.open(io.BytesIO(payload)) as source, av.open(out, "w", format="mp4", options=FRAGMENTED) as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                message = len(unit).to_bytes(4, "big") + unit if packet.is_keyframe else b""
                built = av.Packet(message + bytes(packet))
                built.pts, built.dts, built.time_base = packet.pts, packet.dts, packet.time_base
                built.duration, built.is_keyframe, built.stream = packet.duration, packet.is_keyframe, stream
                target.mux_one(built)
    return out.getvalue()


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_rotated_pictures_are_upright(turn: Turn, codec: str) -> None:
    decoded = decode(film(turn, codec=codec, **FRAGMENTED), fps=FPS)
    assert len(decoded.pictures) == FPS and decoded.size == (96, 160)
    for picture in decoded.pictures:
        assert picture.pixels.shape == (160, 96, 3) and picture.pixels.flags.c_contiguous
        assert_upright(picture.pixels)


@pytest.mark.parametrize("turn", TURNS)
def test_upright_pictures_have_the_requested_size(turn: Turn) -> None:
    payload = film(turn, **FRAGMENTED)
    for size in ((300, 300), (64, 32)):
        decoded = decode(payload, at=[0.5], size=size)
        assert decoded.pictures[0].pixels.shape[1::-1] == size and decoded.size == (96, 160)
        assert_upright(decoded.pictures[0].pixels)
    fitting = decode(payload, at=[0.5], within=(80, 80)).pictures[0].pixels
    assert fitting.shape == (80, 48, 3)
    assert_upright(fitting)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotation_message_in_the_video_applies_from_its_keyframe_on(degrees: int) -> None:
    """An RTSP camera has no matrix: H.264 has the orientation in the video itself."""
    turn = Turn(degrees)
    plain = film(Turn(0), (turn.stored(upright()) for _ in range(2 * FPS)), gop=FPS, **FRAGMENTED)
    decoded = decode(with_orientation_message(plain, degrees), fps=FPS)
    assert len(decoded.pictures) == 2 * FPS
    for picture in decoded.pictures:
        assert_upright(picture.pixels)


def test_a_dependent_segment_has_the_rotation_of_its_gop() -> None:
    turn = Turn(90)
    plain = film(Turn(0), (turn.stored(upright()) for _ in range(FPS)), gop=FPS, **FRAGMENTED)
    whole = with_orientation_message(plain, 90)
    pieces = []
    with av.open(io.BytesIO(whole)) as source:
        packets = [p for p in source.demux(video=0) if p.size]
        for part in (packets[:5], packets[5:]):
            out = io.BytesIO()
            with av.open(out, "w", format="mp4", options=FRAGMENTED) as target:
                stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
                first = part[0].dts
                for packet in part:
                    packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, stream
                    target.mux_one(packet)
            pieces.append(out.getvalue())
    for picture in decode(pieces[1], before=[pieces[0]], fps=FPS).pictures:
        assert_upright(picture.pixels)


@pytest.mark.parametrize("turn", [Turn(90), Turn(180), Turn(270, mirrored=True)])
async def test_a_rotated_file_is_upright_in_clips_and_pictures(
    turn: Turn, bus: Bus, admin: Client, start: Callable[..., Ingest], tmp_path: Path
) -> None:
    (tmp_path / "phone.mp4").write_bytes(film(turn, (upright() for _ in range(3 * FPS)), gop=FPS))
    start()
    await add(admin, "phone", (tmp_path / "phone.mp4").as_uri(), realtime=False)
    await until(lambda: sum(s.frames for s in bus.of("phone")) == 3 * FPS)
    stored = [StoredSegment(n, head, payload) for n, (head, payload, _) in enumerate(bus.segments)]
    for one in stored:
        for picture in decode(one.payload, fps=FPS).pictures:
            assert_upright(picture.pixels)
    assert_upright(decode(clip.join(stored).data, at=[2.0]).pictures[0].pixels)
    assert_upright(shown(clip.picture(decode(stored[0].payload, at=[0.0], within=(48, 480)))))


def shown(jpeg: bytes) -> Image:
    with av.open(io.BytesIO(jpeg)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


async def test_boxes_refer_to_the_upright_frame(server: NatsServer, admin: Client) -> None:
    """A street filmed sideways gives the detections of one filmed upright, at the same places."""
    street = demo_footage.embedded(demo_footage.cache() / f"footage-{demo_footage.VERSION}")[0]
    with av.open(str(street)) as container:
        frames = [f.to_ndarray(format="rgb24") for f, _ in zip(container.decode(video=0), range(10), strict=False)]
    height, width = frames[0].shape[:2]
    js = admin.jetstream()
    for camera, turn in (("upright", Turn(0)), ("sideways", Turn(90)), ("headfirst", Turn(180))):
        head = segments.Segment(
            camera=camera, epoch="e", n=0, start=dt.datetime.now(dt.UTC), duration=1.0, codec="h264",
            width=width, height=height, frames=10,
        )  # fmt: skip
        await js.publish(names.media(camera), film(turn, iter(frames), **FRAGMENTED), headers=segments.to_headers(head))
    async with serving(server, "cv", run_cv, CvSettings(cv_fps=2)):
        await settled(admin, "MEDIA", "cv")
    found = {}
    for camera in ("upright", "sideways", "headfirst"):
        message = await js.get_last_msg(names.EVENTS, names.event("detections", camera))
        found[camera] = msgspec.json.decode(message.data or b"", type=Detections)
    assert found["upright"].frames[0].objects, "something is in the street"
    for event in found.values():
        assert (event.width, event.height) == (width, height)
        for frame, same in zip(event.frames, found["upright"].frames, strict=True):
            assert [o.label for o in frame.objects[:2]] == [o.label for o in same.objects[:2]]
            for a, b in zip(frame.objects[:2], same.objects[:2], strict=True):
                assert np.abs(np.array(a.box) - b.box).max() < 0.05


def test_a_file_for_the_demo_is_upright(tmp_path: Path) -> None:
    """A camera's viewers get no matrix: the file itself is rotated."""
    (tmp_path / "phone.mp4").write_bytes(film(Turn(90), gop=FPS))
    assert not demo_footage.is_serveable(tmp_path / "phone.mp4")
    demo_footage.serveable(tmp_path / "phone.mp4", tmp_path / "camera.mp4")
    with av.open(str(tmp_path / "camera.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0 and (frame.width, frame.height) == (96, 160)
        assert_upright(frame.to_ndarray(format="rgb24"))
