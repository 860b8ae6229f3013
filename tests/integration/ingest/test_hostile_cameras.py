"""Cameras that attack ingest: its memory, its processor, the bus. The others of the process must not notice."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from services.ingest.camera.connection import CameraConnection, SegmentRateLimit
from services.ingest.camera.opening import open_source
from services.ingest.cutting.parameters import Probe
from services.ingest.cutting.piece import Piece
from services.ingest.failures import Failure
from services.ingest.settings import Cutting, Reaching
from shared.contract.cameras import Camera
from shared.video.decode import decode
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video import footage
from tests.support.video.hostile_camera import HostileCamera, Rtp, description, pictures, reply
from tests.support.waiting import patience_s, until

__all__ = ["bus", "start"]

pytestmark = pytest.mark.xdist_group("ingest")

TICKS = 3600
MB = 1024 * 1024
# A keyframe of H.265 that claims 16640 pixels of width: parameter sets, and the start of a slice.
WIDE = [
    bytes.fromhex(unit)
    for unit in (
        "40010c01ffff0160000003009000000300000300ba970240",
        "4201010160000003009000000300000300baa00020808105965eaf0820",
        "4401c0718012",
        "2801ac74415e6294852c242bffd76c1fcaf678ce9dff299f29100ebf94cf89b8f0115e3190044c13",
    )
]


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> list[list[bytes]]:
    """A second of small pictures, the first of them a keyframe."""
    path = footage.make(tmp_path_factory.mktemp("still") / "still.mp4", frames=25)
    return pictures(str(path))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[list[bytes]]:
    path = footage.make(tmp_path_factory.mktemp("large") / "large.mp4", frames=1, size=(640, 480))
    return pictures(str(path))


def resident_mb(ingest: Ingest) -> float:
    """Its current memory."""
    status = Path(f"/proc/{ingest.process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def most_mb(ingest: Ingest) -> float:
    """Its peak memory."""
    status = Path(f"/proc/{ingest.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def playing(still: list[list[bytes]]) -> Callable[[Rtp], None]:
    """An honest camera."""

    def play(rtp: Rtp) -> None:
        for n in itertools.count():
            rtp.picture(still[n % len(still)], n * TICKS)
            time.sleep(0.04)

    return play


def sending(all: Iterable[tuple[list[bytes], int]]) -> Callable[[Rtp], None]:
    """A camera that sends pictures with their timestamps, as fast as the client reads."""

    def play(rtp: Rtp) -> None:
        for units, timestamp in all:
            rtp.picture(units, timestamp)

    return play


# ---- memory


def untimed(still: list[list[bytes]], sent: list[int]) -> Callable[[Rtp], None]:
    """Pictures with the timestamp that libav reads as none."""

    def play(rtp: Rtp) -> None:
        for _ in range(2000):
            filler = b"\x0c" + b"\xff" * 200_000
            rtp.picture([*still[0], filler], 0xFFFF_FFFF)
            sent.append(len(filler))

    return play


def unended(still: list[list[bytes]], sent: list[int]) -> Callable[[Rtp], None]:
    """A picture without an end."""

    def play(rtp: Rtp) -> None:
        rtp.picture(still[0], 0)
        rtp.packet(b"\x7c\x85\x88" + b"\x5a" * 60_000, TICKS)
        for _ in range(8000):
            rtp.packet(b"\x7c\x05" + b"\x5a" * 60_000, TICKS)
            sent.append(60_000)

    return play


@pytest.mark.slow
@pytest.mark.parametrize("attack", [untimed, unended])
async def test_data_of_a_camera_does_not_fill_memory(
    admin: Client,
    bus: Bus,
    start: Callable[..., Ingest],
    still: list[list[bytes]],
    attack: Callable[[list[list[bytes]], list[int]], Callable[[Rtp], None]],
) -> None:
    sent: list[int] = []
    with HostileCamera(playing(still)) as good, HostileCamera(attack(still, sent)) as bad:
        ingest = start()
        await add(admin, "good", good.url)
        await until(lambda: len(bus.of("good")) >= 2)
        before = resident_mb(ingest)
        await add(admin, "bad", bad.url)
        await until(lambda: sum(sent) > 400 * MB or bus.states("bad"))
        assert most_mb(ingest) < before + 150
        await until(lambda: bus.states("bad") == ["offline"])
        seen = len(bus.of("good"))
        await until(lambda: len(bus.of("good")) >= seen + 2)
        assert bus.states("good") == ["online"]


@pytest.mark.slow
async def test_a_long_description_does_not_fill_memory(admin: Client, bus: Bus, start: Callable[..., Ingest]) -> None:
    """The limit holds for the connection that libav makes, whatever an earlier one received."""
    body = description(more=f"a=x:{'y' * 1000}\r\n" * 300_000)

    def answer(number: int, request: str) -> str:
        return reply(request, "Content-Type: application/sdp", body=body)

    with HostileCamera(answers={"DESCRIBE": answer}) as camera:
        ingest = start()
        await add(admin, "lobby", camera.url)
        await until(lambda: bus.states("lobby"))
        assert bus.states("lobby") == ["offline"]
        assert most_mb(ingest) < 250


def test_constant_timestamps_are_reported(still: list[list[bytes]]) -> None:
    """No segment ends while no time passes; the buffer until then is bounded."""
    with HostileCamera(sending((still[min(n, 1 + n % 24)], 7) for n in range(6000))) as camera:
        pieces, failure = read(camera.url, max_bytes=64 * MB)
    assert len(pieces) <= 1
    assert (failure.cause, "stand still" in failure.reason) == ("untimed", True)


# ---- the processor


def test_ingest_decodes_no_frame_of_a_camera(still: list[list[bytes]]) -> None:
    """A decoder has no time limit: some kilobytes of H.265, of thousands of slices, would take it minutes.

    Only a decoder knows a picture's format.
    """
    with HostileCamera(playing(still)) as camera:
        source = open_source(Camera(url=camera.url), None, Reaching(10.0))
        stream = source.stream
        assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (320, 240, None)
        source.close()


def test_ingest_decodes_no_frame_after_changed_parameters(still: list[list[bytes]]) -> None:
    keyframe = b"".join(b"\0\0\0\1" + unit for unit in still[0])
    stream = Probe("h264", keyframe).stream
    assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (320, 240, None)


@pytest.mark.parametrize("alone", [True, False])
def test_a_second_video_stream_that_comes_first_hides_nothing(still: list[list[bytes]], alone: bool) -> None:
    """alone: whether the parameter sets are in the camera's description alone, and not in its video too."""
    kinds = {7: "", 8: ""}
    kinds |= {unit[0] & 31: base64.b64encode(unit).decode() for unit in still[0] if unit[0] & 31 in kinds}
    sets = f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={kinds[7]},{kinds[8]}\r\n"
    other = description(more=sets).partition("m=video")[2].replace("control:track", "control:other")
    bare = [[unit for unit in picture if unit[0] & 31 not in (6, 7, 8)] for picture in still]

    def set_up(number: int, request: str) -> str:
        channels = re.findall(r"interleaved=(\d+-\d+)", request)[0]
        return reply(request, "Session: 1", f"Transport: RTP/AVP/TCP;unicast;interleaved={channels}")

    def play(rtp: Rtp) -> None:
        for n, picture in enumerate(bare):
            rtp.picture(picture, n * TICKS, channel=2)
        for n in range(100):
            rtp.picture((bare if alone else still)[n % 25], n * TICKS)
        rtp.connection.shutdown(socket.SHUT_RDWR)

    sdp = f"{description(more=sets)}m=video{other}"
    with HostileCamera(play, sdp, {"SETUP": set_up}) as camera:
        pieces, _ = read(camera.url)
    assert {(piece.segment.width, piece.segment.height) for piece in pieces} == {(320, 240)}
    assert all(decode(piece.payload, fps=5).damaged is None for piece in pieces)


# ---- the bus


def jumping(still: list[list[bytes]], large: list[list[bytes]]) -> Callable[[Rtp], None]:
    """Keyframes alternately from now and from minutes later: each begins an epoch."""
    return sending((still[0], n % 2 * 90_000 * 300) for n in range(10_000))


def running(still: list[list[bytes]], large: list[list[bytes]]) -> Callable[[Rtp], None]:
    """A second from frame to frame."""
    return sending((still[0], n * 90_000) for n in range(10_000))


def resizing(still: list[list[bytes]], large: list[list[bytes]]) -> Callable[[Rtp], None]:
    """A picture of another size with each frame."""
    return sending(((still, large)[n % 2][0], n * TICKS) for n in range(10_000))


@pytest.mark.parametrize("attack", [jumping, running, resizing])
def test_a_camera_does_not_flood_the_bus_with_segments(
    still: list[list[bytes]],
    large: list[list[bytes]],
    attack: Callable[[list[list[bytes]], list[list[bytes]]], Callable[[Rtp], None]],
) -> None:
    with HostileCamera(attack(still, large)) as camera:
        pieces, failure = read(camera.url)
    assert (failure.cause, "too fast" in failure.reason) == ("unsteady", True)
    assert len(pieces) < 1000


@given(st.lists(st.floats(0, 5), max_size=500))
def test_segments_pass_at_most_at_the_rate_limit(waits: list[float]) -> None:
    pace = SegmentRateLimit(segment_s=1.0, max_bytes=MB)
    now, passed = 0.0, 0
    for wait in waits:
        now += wait
        passed += pace.admits(1000, now)
    assert passed <= 121 + 4 * now


def test_a_steady_camera_passes_the_rate_limit() -> None:
    """This holds after a minute without network too, and if its bit rate alone causes many segments."""
    pace = SegmentRateLimit(segment_s=1.0, max_bytes=MB)
    assert all(pace.admits(1000, 0.0) for _ in range(60))
    assert all(pace.admits(1000, float(n)) for n in range(1, 1000))
    assert all(pace.admits(MB * 2 // 3, 1000.0) for _ in range(1000))


def test_a_size_beyond_the_headers_is_no_segment() -> None:
    """Each would be a dead letter. The parameter sets are H.265's: 16640 pixels wide, 64 high."""
    with HostileCamera(sending((WIDE, n * TICKS) for n in range(100)), codec="H265") as camera:
        pieces, failure = read(camera.url)
    assert not pieces
    assert (failure.cause, "16640x64" in failure.reason) == ("size", True)


def read(url: str, max_bytes: int = 8 * MB) -> tuple[list[Piece], Failure]:
    """The output of a connection, until it ends by itself."""
    return asyncio.run(_read(url, max_bytes))


async def _read(url: str, max_bytes: int) -> tuple[list[Piece], Failure]:
    pieces: list[Piece] = []
    cutting, reaching = Cutting(1.0, max_bytes), Reaching(10.0)
    connection = CameraConnection("lobby", Camera(url=url), None, cutting, reaching, lambda: None, pieces.append)
    connection.start()
    async with asyncio.timeout(patience_s()):
        failure = await connection.ended
    return pieces, failure
