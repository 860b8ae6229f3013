"""Recordings by the console's API: for people who may see the camera, by the hour, and as a video for players."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import shutil
import subprocess
from collections.abc import Sequence

import httpx
import pytest

from services.ingest.cutting.piece import Piece
from shared.contract.segment import rfc3339
from tests.support.console.people import add_camera, console_on
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, world

__all__ = ["second", "world"]
SPAN = {"from": rfc3339(BEGIN + s(30)), "to": rfc3339(BEGIN + s(115))}


async def parts(asker: httpx.AsyncClient, playlist: httpx.Response) -> list[httpx.Response]:
    """The names in it, in order."""
    found = re.findall(r"video\.mp4[^\s\"]*", playlist.text)
    return [await asker.get(f"recordings/cam/{address}") for address in found]


@pytest.mark.slow
async def test_recordings_are_shown_and_played(world: World, second: Sequence[Piece]) -> None:
    recorder = world.recorder(RECORDER_IDLE_S="300")
    for camera in ("cam", "vault"):
        await add_camera(world.admin, camera)
        await publish(world.admin, filmed(second, range(60)), camera)
        await publish(world.admin, filmed(second, range(30), epoch="e2", begin=BEGIN + s(90)), camera)
        await world.until_recorded(60, camera)
    async with console_on(world.server, world.admin) as console:
        anna = await console.person("anna", cameras=["cam"])
        (one,) = (await anna.get("recordings")).json()["cameras"]
        assert (one["camera"], one["seconds"], one["record"], one["rest"]) == ("cam", 60.0, "always", "nothing")
        assert (one["keep_days"], one["held"]) == (7, False)
        hours = (await anna.get("recordings/cam")).json()
        assert hours["of"] == one and [hour["seconds"] for hour in hours["hours"]] == [60.0]
        time = (await anna.get("recordings/cam/time", params=SPAN)).json()
        stretches = [[dt.datetime.fromisoformat(part[end]) for end in ("since", "until")] for part in time["stretches"]]
        assert stretches == [[BEGIN + s(30), BEGIN + s(60)], [BEGIN + s(90), BEGIN + s(115)]]
        for at in (
            "recordings/vault",
            "recordings/vault/time",
            "recordings/vault/playlist.m3u8",
            "recordings/vault/video.mp4",
        ):
            query = SPAN | {"file": "vault/x", "begin": 0, "end": 1}
            assert (await anna.get(at, params=query)).status_code == 404
        other = {"file": one["camera"] + "/../vault/hours.json", "begin": 0, "end": 9}
        assert (await anna.get("recordings/cam/video.mp4", params=other)).status_code == 404
        too_long = {"from": SPAN["from"], "to": rfc3339(BEGIN + s(90_000))}
        assert (await anna.get("recordings/cam/time", params=too_long)).status_code == 400
        answer = await anna.get("recordings/cam/playlist.m3u8", params=SPAN)
        assert answer.headers["content-type"].startswith("application/vnd.apple.mpegurl")
        assert answer.text.count("#EXT-X-PROGRAM-DATE-TIME:") == 2 and "#EXT-X-DISCONTINUITY" not in answer.text
        head, group = (await parts(anna, answer))[:2]
        assert head.headers["x-codec"].startswith("avc1.") and "x-codec" not in group.headers
        if not shutil.which("ffprobe"):
            pytest.skip("ffmpeg is not installed: apt-get install ffmpeg")
        token = (await anna.post("me/tokens", json={"label": "a player"})).json()["secret"]
        command = ["ffprobe", "-v", "warning", "-headers", f"Authorization: Bearer {token}\r\n"]
        command += ["-show_entries", "frame=pts_time", "-of", "csv=p=0", str(answer.request.url)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
        assert done.stderr == ""
        shown = [float(line.strip(",")) for line in done.stdout.split()]
        assert shown == pytest.approx([n / 25 for n in range(55 * 25)], abs=0.0011)
    assert await recorder.end() == 0
