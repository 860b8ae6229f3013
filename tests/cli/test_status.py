"""`tidegate status`: what is wrong comes first, exit codes serve scripts, and nothing changes on the server."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract import events, names
from shared.contract.cameras import Camera
from shared.contract.events import CameraStatus
from shared.site import journal
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s
from tests.support.worlds.jobs_world import film
from tidegate.local.server import NatsServer

SCREEN = 45


async def status(
    server: NatsServer, *options: str, user: str = "admin", **env: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment(user) | {"COLUMNS": "160"} | env
    return await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, "status", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience_s(),
    )


async def report(client: Client, camera: str, state: str, reason: str, **more: str) -> None:
    fields = {"state": state, "reason": reason, "url": "rtsp://127.0.0.1:9", "ingest": "i"} | more
    status = msgspec.convert({"camera": camera, "time": dt.datetime.now(dt.UTC), **fields}, CameraStatus)
    await client.jetstream().publish(names.event("cameras", camera), events.encode(status))


async def test_an_empty_server_is_well_and_stays_as_it_is(server: NatsServer, admin: Client) -> None:
    before = await admin.jetstream().streams_info()
    done = await status(server)
    assert done.returncode == 0, done.stderr
    assert "all is well" in done.stdout.splitlines()[0] and "Cameras: none" in done.stdout
    after = await admin.jetstream().streams_info()
    assert [(s.state.last_seq, s.state.consumer_count) for s in after] == [
        (s.state.last_seq, s.state.consumer_count) for s in before
    ]


async def test_an_offline_camera_and_waiting_segments_are_shown(server: NatsServer, admin: Client) -> None:
    for id in ("yard", "lobby"):
        await registry.put(admin.jetstream(), id, Camera(url="rtsp://127.0.0.1:9/x"), None)
    await report(admin, "yard", "offline", "nothing listens")
    await report(admin, "lobby", "online", "video arrives")
    await film(admin, 3)
    done = await status(server, "--json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["level"] == "bad" and found["left_out"] == []
    wrong = {f["what"]: f for f in found["wrong"]}
    assert wrong["camera yard"]["found"] == "It delivers no video: nothing listens." and wrong["camera yard"]["remedy"]
    lobby, yard = found["cameras"]
    assert (yard["camera"], yard["state"], yard["reason"]) == ("yard", "offline", "nothing listens")
    assert lobby["state"] == "online" and lobby["silent_s"] is not None
    cv = next(s for s in found["services"] if s["service"] == "cv")
    assert cv["pending"] == 3 and cv["oldest_s"] > 0 and cv["running"] == 0


async def test_a_missing_main_stream_is_named_with_its_reason(server: NatsServer, admin: Client) -> None:
    entry = Camera(url="rtsp://127.0.0.1:9/main", detect="rtsp://127.0.0.1:9/sub")
    await registry.put(admin.jetstream(), "lobby", entry, None)
    await report(admin, "lobby", "online", "video arrives; its main stream: nothing listens", main="offline")
    await film(admin, 3)
    found = json.loads((await status(server, "--json")).stdout)
    (wrong,) = [f for f in found["wrong"] if f["camera"] == "lobby"]
    assert wrong["what"] == "camera lobby" and wrong["level"] == "warn" and "connections" in wrong["remedy"]
    assert wrong["found"] == "Its main stream, which is recorded, does not arrive: nothing listens."
    assert found["cameras"][0]["state"] == "online"


async def test_two_hundred_cameras_fit_a_screen_and_their_texts_are_inert(server: NatsServer, admin: Client) -> None:
    await asyncio.gather(
        *(registry.put(admin.jetstream(), f"c{n}", Camera(url="rtsp://127.0.0.1:9/x"), None) for n in range(200))
    )
    for n in range(100):
        await report(admin, f"c{n}", "offline", "no\x1b[2J\x1b]0;x\x07 answer")
    done = await status(server)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= SCREEN and "\x1b" not in done.stdout
    assert "Cameras: 100 connecting, 100 offline" in done.stdout and "and 192 more cameras: --json" in done.stdout
    assert "problems" in lines[0] and lines[1].startswith("bad ")


@pytest.mark.slow
async def test_missing_streams_are_found_with_their_remedy(server: NatsServer, admin: Client) -> None:
    await admin.jetstream().delete_stream(names.DLQ)
    done = await status(server)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "bad   stream DLQ: It is missing.\n      remedy: tidegate setup" in done.stdout
    for stream in await admin.jetstream().streams_info():
        await admin.jetstream().delete_stream(str(stream.config.name))
    none = await status(server)
    assert none.returncode == 1 and "None of Tidegate's streams is there." in none.stdout
    assert none.stdout.count("remedy") == 1


async def test_a_viewer_sees_what_is_left_out(server: NatsServer) -> None:
    done = await status(server, user="viewer")
    assert done.returncode == 0
    assert "left out: viewer may not read cameras; viewer may not read the streams MEDIA, EVENTS" in done.stdout
    assert "connect as admin" in done.stdout
    assert "violation" not in done.stdout + done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
async def test_a_server_that_can_not_be_reached_has_its_own_exit_code(server: NatsServer, tmp_path: Path) -> None:
    wrong = await status(server, NATS_PASSWORD="wrong", NATS_PASSWORD_FILE="")
    assert wrong.returncode == 3 and "refuses user 'admin'" in wrong.stdout
    away = await status(server, "--json", NATS_URL="nats://127.0.0.1:1")
    found = json.loads(away.stdout)
    assert away.returncode == 3 and found["level"] == "unreachable" and "no NATS server answers" in str(found["wrong"])
    nothing = await status(server, "--data", str(tmp_path / "none"), NATS_URL="")
    assert nothing.returncode == 3 and "nothing runs on" in nothing.stdout and not (tmp_path / "none").exists()


@pytest.mark.slow
async def test_an_interrupted_apply_is_shown(server: NatsServer, admin: Client) -> None:
    bucket = await admin.jetstream().key_value(names.SITE)
    await bucket.put(journal.LOCK, msgspec.json.encode(journal.Lock(by="alice@here", phase="committed")))
    done = await status(server)
    assert done.returncode == 1
    assert "the changes of alice@here were interrupted" in done.stdout and "tidegate apply -f" in done.stdout
    assert "alice" not in (await status(server, user="viewer")).stdout
