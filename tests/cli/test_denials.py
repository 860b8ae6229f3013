"""A command that the server denies a user names what is denied and who may, within seconds, and shows nothing raw."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.client import registry
from shared.contract.cameras import Camera
from shared.contract.rights import denials
from tests.support.processes.command_line import COMMAND
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


async def run(server: NatsServer, user: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment(user)
    return await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=patience_s(),
    )


@pytest.mark.parametrize(
    ("user", "command", "denied"),
    [
        ("viewer", "camera list", "viewer may not read cameras: connect as admin,"),
        ("viewer", "rules set lobby r.yaml", "viewer may not read cameras: connect as admin,"),
        ("viewer", "rules set lobby r.yaml --force", "viewer may not read rules: connect as admin,"),
        ("viewer", "dlq list", "viewer may not read the stream DLQ: connect as admin,"),
        ("viewer", "find person", "viewer may not search: connect as admin or finder,"),
        ("viewer", "clip lobby x.mp4", "viewer may not read recordings: connect as admin or player,"),
        ("viewer", "explain cv", "viewer may not ask scalers: connect as admin,"),
        ("finder", "watch detections", "finder may not hear events.detections.>: connect as admin or viewer,"),
    ],
)
async def test_a_denied_command_names_the_right_and_who_has_it(
    server: NatsServer, tmp_path: Path, user: str, command: str, denied: str
) -> None:
    (tmp_path / "r.yaml").write_text("rules: []")
    done = await run(server, user, *command.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tidegate: {denied}") and "violation" not in line


async def test_a_viewer_watches_one_camera_without_the_right_to_look_it_up(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    await registry.put(admin.jetstream(), "lobby", Camera(url="rtsp://127.0.0.1:9/x"), None)
    watching = await asyncio.create_subprocess_exec(
        *COMMAND, "watch", "counts.lobby", "--json", env=os.environ | server.environment("viewer"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert watching.stdout
        async with asyncio.timeout(patience_s()):
            reading = asyncio.create_task(watching.stdout.readline())
            while not reading.done():
                await admin.publish("events.counts.lobby", b"{}")
                await asyncio.sleep(0.2)
        assert await reading == b"{}\n"
    finally:
        watching.terminate()
        _, errors = await watching.communicate()
    assert errors == b""


async def test_a_command_receives_replies_as_the_user_that_it_connects_as(server: NatsServer, tmp_path: Path) -> None:
    done = await run(server, "finder", "find", "person", cwd=tmp_path)
    assert "nobody answers on svc.find" in done.stderr


def test_the_inbox_is_of_the_identity_of_a_user() -> None:
    for user, inbox in (
        ("viewer", "viewer"),
        ("ACME-viewer", "viewer"),
        ("reader-desk", "reader-desk"),
        ("ACME-reader-desk", "reader-desk"),
        ("admin", "admin"),
        ("ACME-admin", "admin"),
        ("", "admin"),
        ("somebody", "admin"),
    ):
        assert denials.inbox(user) == f"_INBOX_{inbox}"
