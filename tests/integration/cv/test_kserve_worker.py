"""A worker whose detector is on an inference server: it waits for the server, and loses nothing when that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client

from shared.contract import names
from shared.contract.events import Detections
from shared.contract.segment import to_headers
from shared.contract.work import stats
from tests.support.processes.cv_worker import segment_head
from tests.support.processes.service import settled
from tests.support.servers.inference_server import InferenceServer
from tests.support.video import footage
from tests.support.video.export_cases import yolov8
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


@contextlib.asynccontextmanager
async def worker(server: NatsServer, remote: InferenceServer, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | server.environment("cv")
    environment |= {"CV_MODEL": f"triton://{remote.target}/theirs?file={file}", "CV_MIN_SCORE": "0.1"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.cv", env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def publish(client: Client, folder: Path, n: int) -> None:
    video = footage.make(folder / "second.mp4", frames=5).read_bytes()
    head = segment_head(n, frames=5, size=(320, 240))
    await client.jetstream().publish(names.media("lobby"), video, headers=to_headers(head))


async def detected(client: Client) -> list[int]:
    """The segments that have an event, by their numbers, in the order of their events."""
    js = client.jetstream()
    state = (await js.stream_info("EVENTS")).state
    found = [await js.get_msg("EVENTS", seq, direct=True) for seq in range(state.first_seq, state.last_seq + 1)]
    return [
        msgspec.json.decode(m.data or b"", type=Detections).segment.n
        for m in found
        if "detections" in (m.subject or "")
    ]


async def test_a_worker_waits_for_its_server(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    remote, states = InferenceServer(file := Path(yolov8(tmp_path)), "theirs"), []
    remote.start()
    remote.stop()
    heartbeats = await admin.subscribe(names.stats("cv", "*"))
    await publish(admin, tmp_path, 0)
    async with worker(server, remote, file):
        async with asyncio.timeout(patience_s()):
            async for message in heartbeats.messages:
                states.append(stats.decode(message.data))
                if "waiting for 127.0.0.1" in states[-1].reason:
                    break
        assert {state.state for state in states} == {"loading"}
        remote.start()
        await settled(admin, "MEDIA", "cv")
    remote.stop()
    assert await detected(admin) == [0]


@pytest.mark.slow
async def test_a_worker_whose_server_goes_away_hands_its_segment_back(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    with InferenceServer(file := Path(yolov8(tmp_path)), "theirs") as remote:
        async with worker(server, remote, file) as first:
            await publish(admin, tmp_path, 0)
            await settled(admin, "MEDIA", "cv")
            remote.stop()
            await publish(admin, tmp_path, 1)
            async with asyncio.timeout(patience_s()):
                assert await first.wait() != 0
        async with worker(server, remote, file):
            remote.start()
            await settled(admin, "MEDIA", "cv")
    assert await detected(admin) == [0, 1]
    assert (await admin.jetstream().stream_info("DLQ")).state.messages == 0
