"""Cameras by the console: state, rights to change them, the picture before saving, and no secret."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import names
from shared.contract.cameras import Camera
from shared.contract.events import VideoStatus
from tests.support.console.audit_log import audited
from tests.support.console.cameras import film, now, say, status
from tests.support.console.people import add_camera, console_on
from tests.support.video import footage
from tests.support.video import rtsp_server as rtsp
from tests.support.video.walking_people import Walk, detections, publish
from tests.support.waiting import LONGEST_S, patience_s, until
from tidegate.local.server import NatsServer

SECRET = "s3cr3t-pässword"
QUOTED = "s3cr3t-p%C3%A4ssword"


async def listed(client: httpx.AsyncClient, **params: Any) -> dict[str, dict[str, Any]]:
    answer = await client.get("cameras", params=params)
    assert answer.status_code == 200, answer.text
    return {camera["id"]: camera for camera in answer.json()["cameras"]}


async def becomes(client: httpx.AsyncClient, id: str, **wanted: Any) -> dict[str, Any]:
    """The camera in the list, once it has this state."""
    async with asyncio.timeout(patience_s()):
        while True:
            camera = (await listed(client))[id]
            if all(camera[name] == value for name, value in wanted.items()):
                return camera
            await asyncio.sleep(0.05)


async def test_a_camera_is_listed_with_its_state(server: NatsServer, admin: Client) -> None:
    """Events from before the console's start count like events while it runs."""
    for id in ("online", "offline", "unreadable", "new", "off"):
        await add_camera(admin, id, enabled=id != "off")
    await say(admin, status("offline", "offline", "nothing listens at the camera's address"), "1")
    await say(admin, status("online", "online", codec="h264", width=1280, height=720), "2")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        offline = await becomes(anna, "offline", state="offline")
        assert offline["reason"] == "nothing listens at the camera's address"
        online = await becomes(anna, "online", state="online")
        assert (online["codec"], online["width"], online["height"], online["reason"]) == ("h264", 1280, 720, "")
        assert (await listed(anna))["new"]["state"] == "connecting"
        assert (await listed(anna))["off"]["state"] == "disabled"
        await say(admin, status("unreadable", "online"), "3")
        bad = VideoStatus(
            camera="unreadable",
            time=now(),
            state="unreadable",
            cause="budget",
            reason="too large",
            since=now(),
            segments=3,
            service="cv",
            replica="r",
        )
        await say(admin, bad, "4")
        assert (await becomes(anna, "unreadable", state="unreadable"))["reason"] == "too large"
        await say(admin, status("offline", "online"), "5")
        await becomes(anna, "offline", state="online", reason="")
        await (await admin.jetstream().key_value(names.CAMERAS)).put("new", b"{}")
        assert "not a camera" in (await becomes(anna, "new", state="unusable"))["reason"]


async def test_arrivals_and_detections_are_reported(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "lobby")
    await add_camera(admin, "yard")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", sees_all=True)
        await say(admin, status("lobby", "online"), "1")
        for n in range(4):
            await film(admin, "lobby", n)
            await asyncio.sleep(0.1)
        walk = Walk(0, 10, (0.2, 0.9), (0.8, 0.9))
        await publish(admin, detections([walk], 1, start=now() - dt.timedelta(seconds=2)))
        camera = await becomes(anna, "lobby", seen={"person": 1})
        assert camera["fps"] > 0 and camera["latency_ms"] > 0
        assert now() - dt.datetime.fromisoformat(camera["last"]) < dt.timedelta(seconds=LONGEST_S)
        assert list(await listed(anna, text="pers")) == ["lobby"]
        assert list(await listed(anna, states="connecting")) == ["yard"]


async def test_a_list_is_read_in_pages(server: NatsServer, admin: Client) -> None:
    for id in ("a", "b", "c", "vault"):
        await add_camera(admin, id)
    async with console_on(server, admin) as console:
        anna = await console.person("anna", cameras=["a", "b", "c"])
        first = (await anna.get("cameras", params={"limit": 2})).json()
        assert ([c["id"] for c in first["cameras"]], first["total"], first["next"]) == (["a", "b"], 3, "b")
        rest = (await anna.get("cameras", params={"limit": 2, "after": "b"})).json()
        assert ([c["id"] for c in rest["cameras"]], rest["next"]) == (["c"], None)


async def test_a_hidden_camera_counts_as_missing(server: NatsServer, admin: Client) -> None:
    await add_camera(admin, "vault")
    async with console_on(server, admin) as console:
        eve = await console.person("eve", "operator", cameras=["lobby"])
        requests: list[tuple[str, str, Any]] = [
            ("GET", "", None),
            ("PATCH", "", {"fps": 1}),
            ("DELETE", "", None),
            ("GET", "/rules", None),
            ("PUT", "/rules", {"text": "rules: []"}),
            ("DELETE", "/rules", None),
            ("POST", "/rules/preview", {"text": "rules: []"}),
        ]
        for method, path, body in requests:
            reports = [
                (await eve.request(method, f"cameras/{id}{path}", json=body)).json()["error"].replace(id, "…")
                for id in ("vault", "valut")
            ]
            assert reports[0] == reports[1] == "there is no camera '…'", (method, path)
        tried = await eve.post("camera-tests", json={"camera": "vault"})
        assert tried.json() == {"error": "there is no camera 'vault'"}
        assert await listed(eve) == {}
        assert [reports["action"] for reports in await audited(admin)] == ["session.begin"]


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_people_without_the_right_change_no_camera(server: NatsServer, admin: Client, role: Any) -> None:
    """The author of an address decides what the camera shows, so that access to some cameras does not suffice."""
    await add_camera(admin, "lobby")
    async with console_on(server, admin) as console:
        eve = await console.person("eve", role, cameras=["lobby"])
        refused = [
            await eve.post("cameras", json={"id": "new", "url": "rtsp://10.0.0.8/a"}),
            await eve.patch("cameras/lobby", json={"url": "rtsp://10.0.0.9/a"}),
            await eve.patch("cameras/lobby", json={"detect": "/other"}),
            await eve.post("camera-tests", json={"url": "rtsp://10.0.0.8/a"}),
            await eve.post("camera-tests", json={"camera": "lobby", "url": "rtsp://10.0.0.8/a"}),
        ]
        assert [answer.status_code for answer in refused] == [403] * 5
        assert (await eve.patch("cameras/lobby", json={"fps": 2})).status_code == (403 if role == "viewer" else 200)
        existing = await registry.all(admin.jetstream())
        assert list(existing) == ["lobby"] and existing["lobby"].url == "rtsp://10.0.0.7/stream1"  # type: ignore[union-attr]


async def test_only_an_admin_adds_a_file(server: NatsServer, admin: Client) -> None:
    async with console_on(server, admin) as console:
        olga, root = (
            await console.person("olga", "operator", sees_all=True),
            await console.person("root", "admin", sees_all=True),
        )
        film = {"id": "film", "url": "file:///videos/a.mp4"}
        assert (await olga.post("cameras", json=film)).status_code == 403
        assert (await root.post("cameras", json=film)).status_code == 201
        assert (await olga.patch("cameras/film", json={"loop": True})).status_code == 200
        for change in ({"url": "file:///etc/passwd"}, {"detect": "/etc/passwd"}):
            assert (await olga.patch("cameras/film", json=change)).status_code == 403
        for camera in ({"url": "file:///etc/passwd"}, {"camera": "film"}):
            answer = await root.post("camera-tests", json=camera)
            assert answer.status_code == 400 and "can't be tried here" in answer.json()["error"]


async def test_a_camera_is_added_changed_and_removed_without_revealing_its_password(
    server: NatsServer, admin: Client
) -> None:
    js = admin.jetstream()
    async with console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        reports = []

        async def ask(method: str, path: str, body: Any = None) -> httpx.Response:
            answer = await olga.request(method, path, json=body)
            reports.append(answer.text)
            return answer

        new = {"id": "lobby", "url": "rtsp://10.0.0.7/stream1", "user": "olga", "password": SECRET, "fps": 5}
        answer = await ask("POST", "cameras", new)
        assert answer.status_code == 201, answer.text
        one = answer.json()
        assert one["has_credentials"] is True and one["settings"]["fps"] == 5
        assert one["now"]["state"] == "connecting"
        stored = await registry.credentials(js, "lobby")
        assert stored and (stored.secret, stored.origin) == (f"olga:{QUOTED}", "rtsp://10.0.0.7:554")
        again = await ask("POST", "cameras", new)
        assert (again.status_code, again.json()["error"]) == (
            409,
            "there is a camera 'lobby' already: take another id",
        )
        changed = (await ask("PATCH", "cameras/lobby", {"fps": None, "classes": ["person"], "enabled": False})).json()
        assert (changed["settings"]["fps"], changed["settings"]["classes"]) == (None, ["person"])
        assert changed["now"]["state"] == "disabled" and changed["has_credentials"] is True
        assert await registry.credentials(js, "lobby") == stored
        alone = await ask("PATCH", "cameras/lobby", {"password": "another"})
        assert alone.status_code == 200
        assert (await registry.credentials(js, "lobby")).secret == "olga:another"  # type: ignore[union-attr]
        assert (await ask("PATCH", "cameras/lobby", {"user": "eve"})).status_code == 400
        assert (await ask("PATCH", "cameras/lobby", {})).status_code == 400
        assert (await ask("PATCH", "cameras/lobby", {"fps": -1})).status_code == 400
        assert (await ask("PATCH", "cameras/lobby", {"frames": 1})).status_code == 400
        assert (await ask("PATCH", "cameras/lobby", {"detect": "/stream1-sub"})).json()["settings"]["detect"]
        assert (await registry.read(js, "lobby")).detect == "rtsp://10.0.0.7/stream1-sub"
        away = await ask("PATCH", "cameras/lobby", {"url": "rtsp://10.0.0.99/stream1"})
        assert away.status_code == 400 and "give detect too, or unset it" in away.json()["error"]
        assert (await ask("PATCH", "cameras/lobby", {"detect": None})).json()["settings"]["detect"] is None
        moved = (await ask("PATCH", "cameras/lobby", {"url": "rtsp://10.0.0.99/stream1"})).json()
        assert moved["has_credentials"] is False
        assert moved["notices"] == [
            "its password was for rtsp://10.0.0.7:554 and is forgotten: give the one for its new address"
        ]
        inside = await ask("PATCH", "cameras/lobby", {"url": f"rtsp://eve:{QUOTED}@10.0.0.99/stream1"})
        assert inside.json()["settings"]["url"] == "rtsp://10.0.0.99/stream1"
        assert (await ask("DELETE", "cameras/lobby")).status_code == 204
        assert (await ask("GET", "cameras/lobby")).status_code == 404
        assert await registry.all(js) == {} and await registry.credentials(js, "lobby") is None
        actions = await audited(admin)
        assert [a["action"] for a in actions if a["action"].startswith("camera")] == [
            "camera.add",
            *["camera.change"] * 6,
            "camera.remove",
        ]
        assert all(a["person"] == "olga" and a["camera"] == "lobby" for a in actions[1:])
        assert "stream1" not in json.dumps(actions), "the path of a URL may be a secret"
        for text in (*reports, json.dumps(actions)):
            assert SECRET not in text and QUOTED not in text and "another" not in text.replace("take another id", "")


async def test_viewers_do_not_see_credentials(server: NatsServer, admin: Client) -> None:
    await registry.add(admin.jetstream(), "lobby", Camera(url="rtsp://10.0.0.7/a"), f"olga:{QUOTED}")
    async with console_on(server, admin) as console:
        anna = await console.person("anna", cameras=["lobby"])
        answer = await anna.get("cameras/lobby")
        assert answer.json()["has_credentials"] is None and QUOTED not in answer.text
        assert (await anna.get("cameras/test")).status_code == 404


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cameras")
    footage.make(folder / "lobby.mp4")
    return folder


@pytest.mark.slow
async def test_a_camera_shows_its_picture_before_it_is_saved(
    server: NatsServer, admin: Client, video: Path, tmp_path: Path
) -> None:
    async with console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        with rtsp.serving(video, tmp_path / "log") as url:
            tried = (await olga.post("camera-tests", json={"url": f"{url}/lobby.mp4?play_count=0"})).json()
            assert tried["error"] == "" and base64.b64decode(tried["picture"]).startswith(b"\xff\xd8\xff")
            assert (tried["codec"], tried["width"], tried["height"], tried["fps"]) == ("h264", 320, 240, 25.0)
            await add_camera(admin, "lobby", f"{url}/nothing.mp4")
            await until(lambda: "lobby" in console.console.cameras.values)
            wrong = (await olga.post("camera-tests", json={"camera": "lobby"})).json()
            assert (wrong["picture"], wrong["cause"]) == (None, "not_found")
            right = await olga.post("camera-tests", json={"camera": "lobby", "url": f"{url}/lobby.mp4?play_count=0"})
            assert right.json()["picture"]
            assert (await registry.read(admin.jetstream(), "lobby")).url.endswith("/nothing.mp4")
        missing = (await olga.post("camera-tests", json={"url": f"{url}/lobby.mp4"})).json()
        assert missing["cause"] == "refused" and "nothing listens" in missing["error"]


async def test_a_password_is_tried_only_at_its_own_address(server: NatsServer, admin: Client) -> None:
    """A listener that asks for a password gets none that belongs to another address."""
    heard = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while text := await reader.readuntil(b"\r\n\r\n"):
            heard.append(text.decode())
            number = next(line.split(":")[1].strip() for line in heard[-1].splitlines() if line.startswith("CSeq"))
            basic = 'WWW-Authenticate: Basic realm="r"'
            writer.write(f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n{basic}\r\n\r\n".encode())

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        await registry.add(admin.jetstream(), "lobby", Camera(url="rtsp://10.0.0.7/a"), "olga:kept")
        await until(lambda: "lobby" in console.console.cameras.values)
        here = f"rtsp://127.0.0.1:{port}/a"
        elsewhere = (await olga.post("camera-tests", json={"camera": "lobby", "url": here})).json()
        assert elsewhere["cause"] == "unauthorized"
        assert heard and not any("Authorization: " in text for text in heard)
        given = {"camera": "lobby", "url": here, "user": "olga", "password": "given"}
        answer = await olga.post("camera-tests", json=given)
        assert answer.json()["cause"] == "unauthorized" and "given" not in answer.text
        reply = base64.b64encode(b"olga:given").decode()
        assert any(reply in text for text in heard)
        assert "kept" not in json.dumps(await audited(admin)) and "given" not in json.dumps(await audited(admin))


async def test_concurrent_tries_are_limited_and_end_with_their_browser(server: NatsServer, admin: Client) -> None:
    opened: list[asyncio.StreamWriter] = []
    closed = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await reader.read(65_536)
        closed.append(await reader.read())
        writer.close()

    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"rtsp://127.0.0.1:{listener.sockets[0].getsockname()[1]}/a"
    async with listener, console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        trying = [asyncio.create_task(olga.post("camera-tests", json={"url": url})) for _ in range(2)]
        await until(lambda: len(opened) == 2)
        third = await olga.post("camera-tests", json={"url": url})
        assert third.status_code == 429 and "in a moment" in third.json()["error"]
        for task in trying:
            task.cancel()
        await asyncio.gather(*trying, return_exceptions=True)
        await until(lambda: len(closed) == 2 and not console.pages.cameras.trial.limit.in_flight)


async def test_a_disconnected_browser_is_no_error(
    server: NatsServer, admin: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    async with console_on(server, admin) as console:
        olga = await console.person("olga", "operator", sees_all=True)
        port = int(console.url.split(":")[2].strip("/"))
        cookie = "; ".join(f"{name}={value}" for name, value in olga.cookies.items())
        head = f"POST /api/v1/rules/check HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n"
        head += f"X-CSRF-Token: {olga.headers['X-CSRF-Token']}\r\nContent-Length: 99\r\n\r\n{{"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()
        assert (await olga.get("rules/schema")).status_code == 200
        await asyncio.sleep(0.2)
    output = capsys.readouterr()
    assert "a request failed" not in output.out + output.err
