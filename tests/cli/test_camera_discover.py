"""`tidegate camera discover`, run as people run it: a list, a login, a picture, and a camera with video."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract.cameras import Camera
from shared.runtime import install
from tests.support.escapes import EVIL
from tests.support.processes.command_line import COMMAND
from tests.support.processes.ingest_process import Bus, Ingest, bus
from tests.support.video import footage
from tests.support.video.hostile_camera import HostileCamera
from tests.support.video.onvif_device import OnvifDevice, Stream, http, network
from tests.support.video.rtsp_server import serving
from tests.support.waiting import patience_s, until
from tests.support.without_extras import python, without
from tidegate.local.server import NatsServer

__all__ = ["bus"]

PASSWORD = "p%41/ss:w@rd?#"
QUOTED = "p%2541%2Fss%3Aw%40rd%3F%23"
USER = ("--user", "viewer", "--password-stdin")


async def discover(
    *arguments: str, stdin: str = "", server: NatsServer | None = None, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command. Its output never has the password."""
    environment = os.environ | (server.environment("admin") if server else {}) | {"COLUMNS": "200"}
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, "camera", "discover", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=patience_s(),
    )
    assert (done.returncode == 0) is ok, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and PASSWORD not in done.stdout + done.stderr
    assert QUOTED not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def rtsp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("cameras")
    footage.make(folder / "video.mp4", frames=50)
    with serving(folder, folder / "log") as url:
        yield f"{url}/video.mp4?play_count=0"


def device(*streams: Stream, **changes: object) -> OnvifDevice:
    """A device with a login, on the host of the camera server."""
    return OnvifDevice(streams, **{"login": ("viewer", PASSWORD), "ip": "127.0.0.1"} | changes)  # type: ignore[arg-type]


@pytest.mark.slow
async def test_cameras_are_listed_for_people_and_for_programs() -> None:
    net = network()
    evil = "".join(f"%{byte:02x}" for byte in EVIL.encode())
    with (
        OnvifDevice([Stream("main", "H264", 1280, 720, "rtsp://me:pw@10.0.0.7/main")], ip=f"{net}.2") as open_one,
        OnvifDevice(login=("me", "pw"), ip=f"{net}.3", scopes=f"onvif://www.onvif.org/name/{evil}") as closed,
    ):
        shown = await discover("--interface", f"{net}.1", "--timeout", "2")
        listed = await discover("--interface", f"{net}.1", "--timeout", "2", "--json")
    first, second = shown.stdout.splitlines()
    assert first == f"{open_one.address}\tFront Door\tACME\tModel-1\tH264 1280x720 rtsp://10.0.0.7/main"
    assert second.startswith(f"{closed.address}\t") and second.endswith("login needed")
    assert second.replace("\t", " ").isprintable()
    assert "tidegate camera discover ADDRESS --user NAME" in shown.stderr
    one, other = map(json.loads, listed.stdout.splitlines())
    assert (one["address"], one["note"], other["note"]) == (open_one.service, "", "login needed")
    assert one["profiles"][0]["url"] == "rtsp://10.0.0.7/main"


async def test_an_empty_network_is_answered_with_the_next_step() -> None:
    done = await discover("--interface", f"{network()}.1", "--timeout", "0.2")
    assert done.stdout == "" and "ONVIF may be off" in done.stderr


async def test_a_camera_is_added_and_its_video_arrives(
    server: NatsServer, admin: Client, bus: Bus, rtsp: str, tmp_path: Path
) -> None:
    ingest = Ingest(server, tmp_path)
    wide = Stream("main", "H265", 1920, 1080, "rtsp://127.0.0.1:9/main", "Main")
    fits = Stream("sub", "H264", 640, 360, rtsp, "Sub")
    try:
        with device(wide, fits, Stream("tiny", "H264", 320, 240, "rtsp://127.0.0.1:9/tiny")) as camera:
            done = await discover(camera.address, *USER, "--add", "lobby", stdin=PASSWORD, server=server)
            assert all(PASSWORD not in request.body for request in camera.heard)
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert [(row[0], row[4]) for row in rows[:3]] == [("main", ""), ("sub", "yes"), ("tiny", "")]
        assert rows[3] == [f"camera lobby: {rtsp}"]
        assert "main (H265 1920x1080 at 25 fps) can't be its main stream, as camera detect is at" in done.stderr
        entry, stored = (
            await registry.read(admin.jetstream(), "lobby"),
            await registry.credentials(admin.jetstream(), "lobby"),
        )
        assert entry == Camera(url=rtsp) and stored and stored.secret == f"viewer:{QUOTED}"
        await until(lambda: len(bus.of("lobby")) > 1)
    finally:
        ingest.stop()
    with device(fits) as camera:
        refused = await discover(camera.address, *USER, "--add", "lobby", stdin=PASSWORD, server=server, ok=False)
    assert "is there already" in refused.stderr


async def test_a_camera_is_added_with_its_substream(server: NatsServer, admin: Client) -> None:
    streams = [
        Stream("main", "H265", 3840, 2160, "rtsp://127.0.0.1:9/main"),
        Stream("sub", "H264", 640, 360, "rtsp://127.0.0.1:9/sub?x=1"),
    ]
    with device(*streams) as camera:
        listed = await discover(camera.address, *USER, "--json", stdin=PASSWORD)
        (proposed,) = json.loads(listed.stdout)["streams"]
        assert (proposed["main"], proposed["detect"]) == ("main", "sub") and "large enough" in proposed["reason"]
        done = await discover(camera.address, *USER, "--add", "lobby", stdin=PASSWORD, server=server)
        await discover(camera.address, *USER, "--add", "yard", "--one-stream", stdin=PASSWORD, server=server)
    assert f"camera lobby: {streams[0].url}, detection by {streams[1].url}" in done.stdout
    assert proposed["reason"] in done.stderr
    assert await registry.read(admin.jetstream(), "lobby") == Camera(url=streams[0].url, detect=streams[1].url)
    assert await registry.read(admin.jetstream(), "yard") == Camera(url=streams[1].url)


async def test_a_picture_is_saved_from_the_stream(rtsp: str, tmp_path: Path) -> None:
    picture = tmp_path / "lobby.jpg"
    with device(Stream("1", "H264", 1280, 720, rtsp, "Main")) as camera:
        options = ("--profile", "Main", "--picture", str(picture), "--json")
        done = await discover(camera.address, *USER, *options, stdin=PASSWORD)
    assert picture.read_bytes().startswith(b"\xff\xd8") and f"{picture}: h264" in done.stderr
    (profile,) = json.loads(done.stdout)["profiles"]
    assert profile["suits"] and profile["url"] == rtsp and profile["foreign_host"] == ""


async def test_a_stream_on_another_host_gets_no_login(tmp_path: Path) -> None:
    """The chosen device is on 127.0.0.1, and lures the login to a machine of its own choice."""
    with HostileCamera() as thief:
        lure = Stream("main", "H264", 1280, 720, thief.url.replace("127.0.0.1", "127.0.0.2"))
        with device(lure) as camera:
            for options in (["--picture", str(tmp_path / "x.jpg")], ["--add", "lobby"]):
                done = await discover(camera.address, *USER, *options, stdin=PASSWORD, ok=False)
                assert "nothing is sent there" in done.stderr and "--trust-host 127.0.0.2" in done.stderr
                options += ["--trust-host", "127.0.0.3"]
                assert (
                    "nothing is sent there"
                    in (await discover(camera.address, *USER, *options, stdin=PASSWORD, ok=False)).stderr
                )
            assert "\tat another host" in (await discover(camera.address, *USER, stdin=PASSWORD)).stdout
        assert thief.heard == [] and not (tmp_path / "x.jpg").exists()


async def test_a_trusted_host_gets_the_camera(server: NatsServer, admin: Client) -> None:
    with device(Stream("main", "H264", 1280, 720, "rtsp://127.0.0.2/main")) as camera:
        options = ("--add", "lobby", "--trust-host", "127.0.0.2")
        await discover(camera.address, *USER, *options, stdin=PASSWORD, server=server)
    stored = await registry.credentials(admin.jetstream(), "lobby")
    assert stored and stored.origin == "rtsp://127.0.0.2:554"


async def test_a_name_and_its_ip_are_one_host(server: NatsServer, admin: Client) -> None:
    with device(Stream("main", "H264", 1280, 720, "rtsp://127.0.0.1/main")) as camera:
        address = camera.address.replace("127.0.0.1", "localhost")
        await discover(address, *USER, "--add", "lobby", stdin=PASSWORD, server=server)
    assert (await registry.read(admin.jetstream(), "lobby")).url == "rtsp://127.0.0.1/main"


@pytest.mark.slow
async def test_a_failed_login_and_a_missing_one_say_what_to_do() -> None:
    with device(Stream("main", "H264", 1280, 720, "rtsp://127.0.0.1/main")) as camera:
        assert "give --user NAME" in (await discover(camera.address, ok=False)).stderr
        assert "refuses this login" in (await discover(camera.address, *USER, stdin="wrong", ok=False)).stderr
    assert "its port" in (await discover(camera.address, ok=False)).stderr
    moved = http(b"", "302 Found", "Location: http://me:hunter2@10.0.0.8/")
    with device(answers={"GetProfiles": lambda _: moved}) as camera:
        redirected = await discover(camera.address, *USER, stdin=PASSWORD, ok=False)
    assert "redirects to http://***@10.0.0.8/" in redirected.stderr


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--user", "viewer"), "--user is for one device: give its ADDRESS"),
        (("--add", "lobby"), "--add is for one device"),
        (("10.0.0.7", "--interface", "127.0.0.1"), "--interface is for the list"),
        (("--interface", "eth0"), "--interface is no IPv4 address"),
        (("--interface", "203.0.113.9"), "give the address of one by --interface"),
        (("10.0.0.7", "--password-stdin"), "give --user NAME too"),
        (("10.0.0.7", "--user", "viewer"), "--password-stdin or --password-file"),
        (("http://me:pw@10.0.0.7",), "give the user by --user"),
        (("10.0.0.7", "--add", "the lobby"), "'the lobby'"),
    ],
)
async def test_a_mistake_is_refused_before_anything_is_sent(arguments: tuple[str, ...], remedy: str) -> None:
    assert remedy in (await discover(*arguments, ok=False)).stderr


@pytest.mark.slow
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    packages = without(tmp_path / "packages", "httpx")
    done = python(packages, "-m", "tidegate", "camera", "discover")
    remedy = re.escape(install.command("onvif"))
    assert re.fullmatch(rf"tidegate: camera discover needs httpx, which is not installed: {remedy}\n", done.stderr)
    assert done.returncode == 1 and python(packages, "-m", "tidegate", "camera", "--help").returncode == 0
