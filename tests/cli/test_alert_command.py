"""`tidegate alert`: the list, a picture beyond its video, why there is none, and the erasure of a camera."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.events import Alert
from tests.support.processes.command_line import COMMAND, tidegate_on
from tests.support.video.video_world import pixels, publish, seconds
from tests.support.waiting import patience_s
from tests.support.worlds.pictures_world import alert_of, alerted, all_handled, keeping
from tidegate.commands.alert import newest
from tidegate.local.server import NatsServer

__all__ = ["seconds"]


@pytest.mark.slow
async def test_an_alert_has_its_picture_until_that_is_erased(
    server: NatsServer, admin: Client, seconds: Callable[[], list[Piece]], tmp_path: Path
) -> None:
    piece = seconds()[0]
    (seq,) = await publish(admin, [piece])
    alert, late = alert_of(piece, seq), alert_of(piece, seq, 2)
    async with keeping(server):
        await alerted(admin, alert)
        await all_handled(admin)
        await admin.jetstream().purge_stream(names.MEDIA)
        await alerted(admin, late)
        await all_handled(admin)
    listed = await tidegate_on(server, "alert", "list", "--json", cwd=tmp_path)
    assert [json.loads(line)["incident"] for line in listed.stdout.splitlines()] == ["fence.a1.1", "fence.a1.2"]
    (last,) = await newest(admin, names.event(Alert.kind, "*"), alert.start - dt.timedelta(hours=1), most=1)
    assert last.incident == "fence.a1.2"
    plain = await tidegate_on(server, "alert", "list", "--camera", "cam", cwd=tmp_path)
    assert [line.split("\t")[1:] for line in plain.stdout.splitlines()] == [
        ["cam", "fence", "warning", f"fence.a1.{n}"] for n in (1, 2)
    ]
    saved = await tidegate_on(server, "alert", "picture", "fence.a1.1", "a.jpg", cwd=tmp_path)
    assert saved.returncode == 0 and saved.stderr.startswith("a.jpg: "), saved.stderr
    assert pixels((tmp_path / "a.jpg").read_bytes()).shape == (240, 320, 3)
    for incident, why in (
        ("fence.a1.2", "had expired in MEDIA"),
        ("fence.a1.3", "it had no alert, its alert is older"),
    ):
        missing = await tidegate_on(server, "alert", "picture", incident, "b.jpg", cwd=tmp_path)
        assert missing.returncode == 1 and why in missing.stderr and not (tmp_path / "b.jpg").exists()
    erased = await tidegate_on(server, "alert", "erase", "cam", cwd=tmp_path)
    assert erased.stdout == "camera cam: 2 pictures erased\n"
    gone = await tidegate_on(server, "alert", "picture", "--camera", "cam", "fence.a1.1", "c.jpg", cwd=tmp_path)
    assert gone.returncode == 1 and "no picture of incident" in gone.stderr
    wrong = await tidegate_on(server, "alert", "erase", "nowhere", cwd=tmp_path)
    assert wrong.returncode == 1 and "nowhere" in wrong.stderr


async def test_a_viewer_may_not_read_pictures(server: NatsServer, tmp_path: Path) -> None:
    """A picture is footage, which is a right of its own."""
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, "alert", "picture", "a", "a.jpg"],
        env=os.environ | server.environment("viewer"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=patience_s(),
        check=False,
    )
    assert done.returncode == 1 and "read the stream PICTURES: connect as admin or player" in done.stderr
