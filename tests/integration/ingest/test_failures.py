"""Why a camera or file gives no video: the messages with their remedies, with real servers and files."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.ingest.camera.connection import CameraConnection
from services.ingest.settings import Cutting, Reaching
from shared.contract.cameras import new_camera
from shared.runtime.ports import free_port
from tests.support.processes.ingest_process import Bus, Ingest, add, bus, start
from tests.support.video import footage
from tests.support.video.hostile_camera import HostileCamera, reply
from tests.support.video.rtsp_server import serving
from tests.support.waiting import patience_s, until

__all__ = ["bus", "start"]


async def ending(url: str, *, timeout_s: float | None = None, **fields: object) -> tuple[str, str]:
    """The (cause, reason) with which a connection to `url` ends."""
    camera, secret = new_camera(url, **fields)
    cutting, reaching = Cutting(1.0, 1_000_000), Reaching(timeout_s or patience_s())
    connection = CameraConnection(
        "door", camera, secret, cutting, reaching, lambda: None, lambda _: connection.piece_done()
    )
    connection.start()
    async with asyncio.timeout(patience_s()):
        return await connection.ended


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of aio-rtsp-toolkit's server, which serves `video.mp4`, `sound.mp4` (without video), RTP over TCP alone."""
    folder = tmp_path_factory.mktemp("cameras")
    footage.make(folder / "video.mp4", frames=50)
    footage.make_sound(folder / "sound.mp4")
    with serving(folder, folder / "log") as url:
        yield url


@contextlib.asynccontextmanager
async def answering(statuses: list[str]) -> AsyncIterator[str]:
    """Address of a server that accepts OPTIONS, and answers all else with the first status, or not if that is empty.

    It gives answers that neither real server gives. A status is added for each answered request.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                number = next(x for x in request.splitlines() if x.lower().startswith("cseq"))
                answer = "200 OK" if request.startswith("OPTIONS") else statuses[0]
                if not answer:
                    break
                statuses.append(answer)
                writer.write(f"RTSP/1.0 {answer}\r\n{number}\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_unknown_host_is_named() -> None:
    cause, reason = await ending("rtsp://no-such-host.invalid/x")
    assert cause == "unknown_host"
    assert "no-such-host.invalid" in reason and "DNS" in reason


async def test_a_closed_port_is_distinguished_from_no_answer() -> None:
    cause, reason = await ending(f"rtsp://127.0.0.1:{free_port(0)}/x")
    assert cause == "refused" and "nothing listens" in reason and "check the host and the port" in reason
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        cause, reason = await ending(url, timeout_s=0.5)  # clock: its expiry is under test
    assert cause == "timeout" and "does not answer in time" in reason and "firewall" in reason


@pytest.mark.parametrize(
    ("status", "userinfo", "cause", "words"),
    [
        ("401 Unauthorized", "", "unauthorized", ("asks for a user and a password", "camera set")),
        ("401 Unauthorized", "me:wrong@", "unauthorized", ("refuses this user or password", "camera set")),
        ("403 Forbidden", "me:right@", "forbidden", ("give the user that right",)),
        ("404 Not Found", "", "not_found", ("no such path", "manual")),
        ("453 Not Enough Bandwidth", "", "rejected", ("refuses to play", "too many watch it")),
        ("503 Service Unavailable", "", "camera_error", ("error of its own", "restart")),
        ("", "", "invalid", ("no RTSP that can be read", "554")),
    ],
)
async def test_an_answer_of_a_camera_is_reported_with_the_remedy(
    status: str, userinfo: str, cause: str, words: tuple[str, ...]
) -> None:
    async with answering([status]) as address:
        answer = await ending(f"rtsp://{userinfo}{address}/x")
    assert answer[0] == cause
    assert all(word in answer[1] for word in words), answer[1]
    assert "wrong" not in answer[1] and "right@" not in answer[1], "no password"


@pytest.mark.parametrize(
    ("answer", "cause", "words"), [("", "timeout", "in time"), ("302 Moved", "rejected", "refuses to play")]
)
async def test_a_camera_that_refuses_to_play_has_a_clear_reason(answer: str, cause: str, words: str) -> None:
    """libav calls both 'Operation not permitted'."""

    def play(number: int, request: str) -> str:
        return reply(request, status=answer) if answer else ""

    with HostileCamera(answers={"PLAY": play}) as camera:
        result = await ending(camera.url, timeout_s=None if answer else 5.0)
    assert result[0] == cause and words in result[1], result


async def test_a_stream_without_video_is_reported(toolkit: str) -> None:
    cause, reason = await ending(f"{toolkit}/sound.mp4")
    assert cause == "no_video"
    assert "no video" in reason and "path" in reason


async def test_a_camera_with_another_transport_is_reported(toolkit: str) -> None:
    cause, reason = await ending(f"{toolkit}/video.mp4", transport="udp")
    assert cause == "transport"
    assert "over UDP" in reason and "--tcp" in reason


async def test_tls_to_a_plain_port_is_reported(toolkit: str) -> None:
    cause, reason = await ending(toolkit.replace("rtsp:", "rtsps:") + "/video.mp4", timeout_s=5.0)
    assert cause == "tls"
    assert "TLS connection failed" in reason and "rtsp://" in reason


async def test_a_file_without_video_is_reported_by_its_type(tmp_path: Path) -> None:
    good = footage.make(tmp_path / "good.mp4", frames=25)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("nothing to see\n" * 100)
    footage.make_sound(tmp_path / "sound.mp4")
    footage.make(tmp_path / "old.mp4", codec="mpeg4", frames=25)
    for name, cause, words in (
        ("gone.mp4", "not_found", ("there is no file", "gone.mp4", "machine that it runs on")),
        ("", "not_found", ("is a folder", "give a file")),
        ("cut.mp4", "invalid", ("cut.mp4", "not a video that can be read")),
        ("empty.mp4", "invalid", ("empty.mp4", "not a video that can be read")),
        ("notes.txt", "invalid", ("notes.txt", "not a video that can be read")),
        ("sound.mp4", "no_video", ("the file has no video",)),
        ("old.mp4", "codec", ("the video is mpeg4", "ffmpeg", "H.264 or H.265")),
    ):
        answer = await ending((tmp_path / name).as_uri(), realtime=False)
        assert answer[0] == cause, (name, answer)
        assert all(word in answer[1] for word in words), answer[1]
        assert "camera" not in answer[1], answer[1]
    assert await ending(good.as_uri(), realtime=False) == ("ended", "the stream has ended")


async def test_each_reason_is_reported_once(admin: Client, bus: Bus, start: Callable[..., Ingest]) -> None:
    start()
    statuses = ["404 Not Found"]
    async with answering(statuses) as address:
        await add(admin, "door", f"rtsp://{address}/x")
        await until(lambda: len(statuses) > 4)
        assert [e["reason"].partition(":")[0] for e in bus.events] == ["the camera has no such path"]
        statuses[0] = "401 Unauthorized"
        await until(lambda: len(bus.events) == 2)
    assert "asks for a user and a password" in bus.events[1]["reason"]
    assert bus.states("door") == ["offline", "offline"]
