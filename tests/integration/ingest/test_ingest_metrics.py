"""Series of cameras: they last as long as the camera, and until its last counts have been scraped."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from nats.aio.client import Client
from prometheus_client import generate_latest

from services.ingest import metrics
from services.ingest.camera.connect_queue import ConnectQueue
from services.ingest.camera.runner import CameraLease, Runner
from services.ingest.camera.status import Announcer
from services.ingest.camera.stop import Stop, StopCause
from services.ingest.camera.stream_runner import ProcessParts
from services.ingest.delivery.outbox import Outboxes
from services.ingest.delivery.publisher import Publisher
from services.ingest.settings import IngestSettings
from shared.contract.cameras import new_camera
from shared.contract.credentials import Login
from shared.runtime.tasks import end
from tests.support.video import footage
from tests.support.waiting import until


def series(camera: str) -> dict[str, float]:
    """The series of a camera in a scrape."""
    lines = [line.rpartition(" ") for line in generate_latest().decode().splitlines() if f'camera="{camera}"' in line]
    return {name: float(value) for name, _, value in lines}


def runner(admin: Client, announcer: Announcer, name: str, url: str) -> Runner:
    camera, _ = new_camera(url, loop=True, realtime=True)
    js = admin.jetstream()
    shared = (Publisher(admin, js), Outboxes(1 << 30), ConnectQueue(), announcer)
    parts = ProcessParts(IngestSettings(), admin.max_payload, *shared)
    return Runner(
        name, camera, Login(), parts, CameraLease(lambda: True, lambda: True, lambda: False, lambda _, also: None)
    )


async def test_series_of_a_removed_camera_are_removed(admin: Client, tmp_path: Path) -> None:
    file = footage.make(tmp_path / "x.mp4").as_uri()
    announcer = Announcer(admin, admin.jetstream(), "ingest-1")
    announcing = asyncio.create_task(announcer.run())
    runners: dict[str, Runner] = {}
    for name, url in {"removed": file, "moved": file, "fails": "file:///nowhere.mp4", "stays": file}.items():
        runners[name] = runner(admin, announcer, name, url)
        runners[name].start()
        await until(lambda name=name: any(series(name).values()))
    await runners["removed"].stop(Stop(StopCause.REMOVED), 1.0)
    await runners["fails"].stop(Stop(StopCause.REMOVED), 1.0)
    await runners["moved"].stop(Stop(StopCause.NOT_BEGUN), 0.0)
    await runners["stays"].stop(Stop(StopCause.CHANGED), 1.0)
    runners["stays"] = runner(admin, announcer, "stays", file)
    runners["stays"].start()
    removed_at = time.monotonic()
    before = series("removed")
    metrics.forget(removed_at)
    assert series("removed") == before, "who scrapes now finds what was counted last"
    metrics.forget(removed_at + metrics.RETENTION_S)
    assert [name for name in runners if series(name)] == ["stays"]
    await runners["stays"].stop(Stop(StopCause.NOT_BEGUN), 0.0)
    await end(announcing)
