"""`tidegate erase`: what it prints, refuses and leaves in the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.bus.log import Log
from shared.contract import names
from tests.support.processes.command_line import tidegate_on
from tests.support.worlds.erasing_world import everything, fill
from tidegate.erasing import table
from tidegate.local.server import NatsServer


async def audited(client: Client) -> list[dict[str, object]]:
    async with Log(client, names.AUDIT) as log:
        return [json.loads(one.data) for one in await log.all(names.audit(">"))]


async def test_a_dry_run_prints_every_store_with_its_retention(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    await fill(admin, "lobby")
    before = await everything(admin, ["lobby"])
    done = await tidegate_on(server, "erase", "lobby", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.splitlines()}
    assert list(lines) == list(table.every())
    assert lines[names.EVENTS][:3] == ["7", "0.0 MB", "7 d, or EVENTS_MAX_BYTES"]
    assert lines[names.MEDIA][2] == "10 min, or MEDIA_MAX_BYTES"
    assert lines["recordings"][2] == "7 d, with incidents 30 d"
    assert "without the server's key" in " ".join(done.stderr.split())
    assert await everything(admin, ["lobby"]) == before
    assert await audited(admin) == []


@pytest.mark.slow
async def test_it_refuses_what_can_not_be_meant(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await admin.jetstream().publish("$KV.cameras.lobby", b'{"url": "rtsp://10.0.0.7/1"}')
    await fill(admin, "lobby2")
    before = await everything(admin, ["lobby", "lobby2"])
    for arguments, why in (
        (("lobby", "--yes"), "'tidegate camera disable lobby'"),
        (("lobby", "--remove"), "give --yes"),
        (("lobby", "--from", "1h", "--remove", "--yes"), "leave --from and --to out"),
        (("lobby", "--from", "1h", "--to", "2h", "--yes"), "--from must be before --to"),
        (("lobby*", "--yes"), "camera id 'lobby*'"),
        (("lobby.>", "--dry-run"), "camera id 'lobby.>'"),
    ):
        refused = await tidegate_on(server, "erase", *arguments, cwd=tmp_path)
        assert refused.returncode == 1 and why in refused.stderr, refused.stderr
    assert await everything(admin, ["lobby", "lobby2"]) == before
    assert await audited(admin) == []


@pytest.mark.slow
async def test_all_of_a_camera_is_erased_and_the_log_says_by_whom(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """It waits for results of the video that it has deleted, and a minute for those of jobs."""
    for camera in ("lobby", "lobby2"):
        await fill(admin, camera)
    for stream in (names.VLM, names.ASKS, names.CAPTIONS, names.BACKFILL):
        await admin.jetstream().purge_stream(stream)
    await admin.jetstream().publish("$KV.cameras.lobby", b'{"url": "rtsp://10.0.0.7/1"}')
    others = await everything(admin, ["lobby2"])
    done = await tidegate_on(server, "erase", "lobby", "--remove", "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "MEDIA: 1 erased" in done.stdout
    assert "camera lobby: everything is erased" in done.stdout
    assert not any((await everything(admin, ["lobby"])).values())
    assert await everything(admin, ["lobby2"]) == others
    begun, ended = await audited(admin)
    assert begun["action"] == ended["action"] == "camera.erase" and begun["camera"] == "lobby"
    assert begun["role"] == "admin" and "@" in str(begun["person"])
    details = ended["details"]
    assert isinstance(details, dict) and details["state"] == "done" and details["range"] == "all"
    assert details["erased"][names.EVENTS] == 7 and details["not_reached"] == []
    again = await tidegate_on(server, "erase", "lobby", "--yes", cwd=tmp_path)
    assert again.returncode == 0 and "0 items" in again.stdout


async def test_a_store_that_is_not_reached_is_named_with_its_remedy(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    await admin.jetstream().publish("$KV.recorder.camera.lobby", b"{}")
    done = await tidegate_on(server, "erase", "lobby", "--yes", cwd=tmp_path)
    assert done.returncode == 1
    assert "recordings: no recorder answers for this camera: start it ('tidegate up --record')" in done.stderr
    assert "is not erased yet" in done.stderr
    _, ended = await audited(admin)
    assert isinstance(ended["details"], dict) and ended["details"]["state"] == "incomplete"
