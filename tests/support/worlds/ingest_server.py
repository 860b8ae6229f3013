"""Cameras of an RTSP server that ingest reads, and waits for what it stored."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

import pytest
from nats.aio.client import Client

from shared.contract import names
from shared.contract import segment as segments
from shared.contract.reading.entries import entries
from shared.contract.segment import Segment
from tests.support.processes.ingest_process import Ingest, add
from tests.support.video import footage
from tests.support.video.rtsp_server import serving
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer

# Seconds: the default.
LEASE_S = 5.0
SECRET = "s3cr3t-p%40ss"


@pytest.fixture(scope="module")
def rtsp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a camera server: `short` (GOP 1 s), `long` (GOP 4 s), `hevc`, `sound` (with audio)."""
    folder = tmp_path_factory.mktemp("cameras")
    footage.make(folder / "short.mp4", gop=25)
    footage.make(folder / "long.mp4", gop=100)
    footage.make(folder / "hevc.mp4", codec="libx265", gop=50)
    footage.make(folder / "sound.mp4", gop=25, audio=True)
    with serving(folder, folder / "log") as url:
        yield url


def looped(rtsp: str, name: str) -> str:
    return f"{rtsp}/{name}.mp4?play_count=0"


async def leases(admin: Client) -> dict[str, str]:
    return {key: value.decode() for key, value in (await entries(admin.jetstream(), names.LEASES)).items()}


async def stored_segments(js: Any) -> list[Segment]:
    info = await js.stream_info("MEDIA")
    out = []
    for seq in range(info.state.first_seq, info.state.last_seq + 1):
        message = await js.get_msg("MEDIA", seq=seq, direct=True)
        out.append(segments.from_headers(message.headers))
    return out


async def until_live(admin: Client, cameras: set[str]) -> None:
    """Wait until video filmed from now on is stored. Older buffered segments are then stored or dropped."""
    now, live = time.time(), set[str]()
    async with asyncio.timeout(patience_s()):
        while live != cameras:
            await asyncio.sleep(0.5)
            live = {s.camera for s in await stored_segments(admin.jetstream()) if s.start.timestamp() > now}


async def away_from(server: NatsServer, admin: Client, ingest: Ingest, rtsp: str) -> dt.datetime:
    """Stop the server of an ingest with a camera; return the time of the stop."""
    await add(admin, "cam", looped(rtsp, "short"))
    await until(lambda: "camera online" in ingest.log)
    await server.stop()
    return dt.datetime.now(dt.UTC)
