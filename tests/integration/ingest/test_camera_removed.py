"""A removed camera: its waiting video is analysed with its settings, and nothing else is left of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from nats.aio.client import Client

from services.vlm.planning.planner import Planner
from services.vlm.settings import VlmSettings
from shared import bus as buses
from shared.client import registry
from shared.contract import names
from shared.contract.cameras import Camera, CameraDirectory, new_camera
from shared.contract.segment import to_headers
from shared.runtime.tasks import end
from shared.runtime.telemetry import Health
from tests.support.processes.ingest_process import Bus, Ingest, bus, start
from tests.support.processes.pipeline import all_detections, running, videos
from tests.support.processes.service import settled
from tests.support.video.rtsp_listener import listening
from tests.support.waiting import until
from tidegate.demo import clips
from tidegate.local.server import NatsServer

__all__ = ["bus", "start", "videos"]

URL = "rtsp://me:S3cretPass@10.0.0.7/x"


async def test_video_of_a_removed_camera_is_processed_with_its_settings(
    server: NatsServer, admin: Client, videos: list[Path], tmp_path: Path
) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera(URL, classes=["zebra"], fps=1.0, tiles="2x1", min_score=0.1))
    await registry.add(js, "again", *new_camera(URL, classes=["zebra"], fps=1.0))
    for name in ("lobby", "again", "unknown"):
        piece = clips.pieces(videos[0], name)[0]
        await js.publish(names.media(name), piece.payload, headers=to_headers(piece.segment))
    await registry.remove(js, "lobby")
    await registry.remove(js, "again")
    await registry.add(js, "again", *new_camera(URL, fps=3.0))
    async with running(server, "cv", tmp_path, CV_FPS="2"):
        await settled(admin, "MEDIA", "cv")
    found = {d.camera: d for d in await all_detections(admin)}
    seen = {name: sum(len(frame.objects) for frame in d.frames) for name, d in found.items()}
    looked = {name: len(d.frames) for name, d in found.items()}
    assert seen["lobby"] == 0 and seen["again"] > 0 and seen["unknown"] > 0, "classes"
    assert looked["lobby"] < looked["unknown"] < looked["again"], "frames a second"


async def test_nothing_else_is_left_of_a_removed_camera(admin: Client, server: NatsServer) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera(URL, fps=2.0))
    await registry.remove(js, "lobby")
    bucket = await js.key_value(names.CAMERAS)
    left = await bucket.get(names.removed("lobby"))
    assert json.loads(left.value or b"") == {"url": "", "enabled": False, "fps": 2.0}
    assert await registry.all(js) == {} and await registry.credentials(js, "lobby") is None
    assert await registry.missing(js, "lobby")
    raw = await js.get_msg(f"KV_{names.CAMERAS}", subject=f"$KV.{names.CAMERAS}.{names.removed('lobby')}")
    ttl_s = int((raw.headers or {})["Nats-TTL"])
    assert ttl_s > ((await js.stream_info(names.MEDIA)).config.max_age or 0), "as long as its video, and not for ever"


async def test_ingest_does_not_connect_to_a_removed_camera(
    admin: Client, bus: Bus, start: Callable[..., Ingest]
) -> None:
    async with listening() as camera, listening() as other:
        js = admin.jetstream()
        await registry.add(js, "lobby", *new_camera(f"rtsp://{camera.address}/x", fps=2.0))
        ingest = start()
        await until(lambda: camera.heard)
        await registry.remove(js, "lobby")
        await until(lambda: bus.events and bus.events[-1]["reason"] == "removed")
        request_count = len(camera.heard)
        await registry.add(js, "hall", *new_camera(f"rtsp://{other.address}/x"))
        await until(lambda: other.heard)
        assert len(camera.heard) == request_count and "can't be used" not in ingest.log


async def test_workers_use_their_own_settings_once_the_server_forgets_a_camera(
    admin: Client, server: NatsServer
) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera(URL, fps=2.0))
    await registry.remove(js, "lobby")
    cv = await buses.connect(server.settings("cv"), "cv")
    directory = CameraDirectory(cv.jetstream(), ttl_s=0.0)
    assert await directory.get("lobby") == Camera(url="", enabled=False, fps=2.0)
    await js.purge_stream(f"KV_{names.CAMERAS}", subject=f"$KV.{names.CAMERAS}.{names.removed('lobby')}")
    assert await directory.get("lobby") is None
    await cv.close()


async def test_captions_of_a_removed_camera_use_its_settings(admin: Client, server: NatsServer) -> None:
    js = admin.jetstream()
    await registry.add(js, "lobby", *new_camera(URL, caption_every_s=7.0, caption_prompt="Who?", always=True))
    await registry.remove(js, "lobby")
    front = await buses.connect(server.settings("vlm-front"), "vlm-front")
    planner, stop = Planner(front, VlmSettings(vlm_url="http://127.0.0.1:1", vlm_model="x"), Health()), asyncio.Event()
    running_ = asyncio.create_task(planner.run(stop))
    try:
        await until(lambda: hasattr(planner, "_cameras") and planner._cameras.ready.is_set())
        plan, wish = planner._plan_of("lobby")
        assert (plan.every_s, wish.prompt, wish.always) == (7.0, "Who?", True)
    finally:
        stop.set()
        await end(running_)
        await front.close()
