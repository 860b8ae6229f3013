"""One pool of replicas with several models: each camera is analysed by the one that its entry names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.cv.__main__ import run
from services.cv.detectors import Detection
from services.cv.settings import CvSettings
from shared.client import registry
from shared.contract import deadletters, names
from shared.contract.cameras import CameraDirectory, new_camera
from shared.contract.events import DetectedObject, Detections
from shared.contract.segment import to_headers
from shared.runtime.errors import ModelError, SettingError
from shared.runtime.telemetry import Health
from shared.video.decode import Image
from tests.support.processes.cv_worker import detecting, segment_head
from tests.support.processes.pipeline import all_detections, running, videos
from tests.support.processes.service import connected, settled
from tests.support.video import footage
from tests.support.video.exports import Export
from tests.support.waiting import patience_s
from tidegate.demo import clips
from tidegate.local.server import NatsServer

__all__ = ["videos"]

EMBEDDED = "ssd_mobilenet_v2_coco"
URL = "rtsp://127.0.0.1/x"


class One:
    """A detector that finds one object in each image of its size, and records the sizes of its batches."""

    within = None

    def __init__(self, name: str, side: int) -> None:
        self.name, self.size, self.labels = name, (side, side), (f"{name}-thing",)
        self.batches: list[int] = []

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        assert {image.shape[:2] for image in images} <= {self.size}
        self.batches.append(len(images))
        return [[DetectedObject(label=self.labels[0], score=0.9, box=(0.0, 0.0, 0.5, 0.5))] for _ in images]


def plates(folder: Path) -> str:
    """Write a YOLOv8 that finds a red object in the middle of each picture. Return its path."""
    array = np.zeros((1, 6, 84), np.float32)
    array[0, :, 7] = (32, 32, 32, 16, 0.9, 0)
    return Export(folder).output("output0", array).save(name="plates-v2")


@pytest.fixture
def second(tmp_path: Path) -> bytes:
    return footage.make(tmp_path / "second.mp4", frames=5).read_bytes()


async def publish(client: Client, video: bytes, camera: str, n: int = 0, *, replay_of: str = "") -> None:
    headers = to_headers(segment_head(n, camera=camera, frames=5, size=(320, 240)))
    if replay_of:
        headers[deadletters.REPLAY_OF] = replay_of
    await client.jetstream().publish(names.media(camera), video, headers=headers)


def labels(event: Detections) -> set[str]:
    return {found.label for frame in event.frames for found in frame.objects}


async def test_a_worker_analyses_each_camera_with_its_model(
    server: NatsServer, admin: Client, videos: list[Path], tmp_path: Path
) -> None:
    """A name that the worker lacks, or an entry with a path or a spec, leaves its camera to the default."""
    js, file = admin.jetstream(), plates(tmp_path)
    for camera, fields in {"gate": {"model": "plates"}, "yard": {}, "odd": {"model": "faces"}}.items():
        await registry.add(js, camera, *new_camera(URL, **fields))
    entries = await js.key_value(names.CAMERAS)
    for camera, spec in {"path": file, "spec": "openvino:x"}.items():
        await entries.put(camera, msgspec.json.encode({"url": URL, "model": spec}))
    cameras = ["gate", "yard", "odd", "path", "spec"]
    for camera in cameras:
        piece = clips.pieces(videos[0], camera)[0]
        await js.publish(names.media(camera), piece.payload, headers=to_headers(piece.segment))
    async with running(server, "cv", tmp_path, CV_MODELS=f"plates={file}", CV_FPS="2"):
        await settled(admin, "MEDIA", "cv")
    found = await all_detections(admin)
    assert {event.camera: event.model for event in found} == dict.fromkeys(cameras, EMBEDDED) | {"gate": "plates-v2"}
    assert len(found) == len(cameras)
    for event in found:
        if event.camera != "gate":
            assert labels(event) and "red" not in labels(event)
            continue
        assert len(event.frames) > 1 and labels(event) == {"red"}
        # The video has these rows of the input's 64.
        rows = 64 * event.height / event.width
        box = (0.25, 0.5 - 8 / rows, 0.75, 0.5 + 8 / rows)
        assert all(frame.objects[0].box == pytest.approx(box, abs=0.01) for frame in event.frames)
    (log,) = [file.read_text() for file in tmp_path.glob("cv*.log")]
    assert log.count("CV_MODELS lacks its model") == 1 and "camera=odd" in log


async def test_a_change_of_a_camera_needs_no_restart(server: NatsServer, admin: Client, second: bytes) -> None:
    """The settings of a camera are read every two seconds."""
    js, n = admin.jetstream(), 0
    await registry.add(js, "gate", *new_camera(URL))
    by_name = {name: One(name, side) for name, side in (("a", 32), ("b", 64))}
    async with detecting(server, detector=One("general", 48), named=by_name, cv_fps=1.0):
        for wanted in ({"model": "a"}, {"model": "b"}, {"model": None}):
            await registry.change(js, "gate", wanted)
            async with asyncio.timeout(patience_s()):
                while True:
                    await publish(admin, second, "gate", n := n + 1)
                    await settled(admin, "MEDIA", "cv")
                    last = (await all_detections(admin))[-1]
                    if last.model == (wanted["model"] or "general"):
                        break
            assert labels(last) == {f"{last.model}-thing"}
    models = [event.model for event in await all_detections(admin)]
    assert len(models) == n and list(dict.fromkeys(models)) in (["general", "a", "b"], ["a", "b", "general"])


async def test_a_batch_is_one_call_for_each_model(server: NatsServer, admin: Client, second: bytes) -> None:
    """Objects, labels and scores of each camera are those of its own model."""
    js, general, special = admin.jetstream(), One("general", 48), One("special", 32)
    for camera in ("a", "b"):
        await registry.add(js, camera, *new_camera(URL, model="special", tiles="2x1"))
    for camera in ("a", "c", "b", "d"):
        await publish(admin, second, camera)
    # A batch of two cameras of three images, and two of one.
    settings = {"cv_batch_size": 8, "cv_batch_wait_ms": 5000.0, "cv_fps": 1.0, "cv_static_scene_refresh_s": 0.0}
    async with detecting(server, detector=general, named={"special": special}, **settings):
        await settled(admin, "MEDIA", "cv")
    assert (general.batches, special.batches) == ([2], [6])
    found = {event.camera: event for event in await all_detections(admin)}
    assert {camera: event.model for camera, event in found.items()} == {
        "a": "special",
        "b": "special",
        "c": "general",
        "d": "general",
    }
    assert all(labels(event) == {f"{event.model}-thing"} for event in found.values())


async def test_a_segment_that_comes_again_has_one_event_though_its_model_has_changed(
    server: NatsServer, admin: Client, second: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EVENTS drops the second result, as the ids of events have the replica's default model."""
    monkeypatch.setattr("services.cv.service.CameraDirectory", partial(CameraDirectory, ttl_s=0.0))
    js, special = admin.jetstream(), One("special", 32)
    await registry.add(js, "gate", *new_camera(URL))
    async with detecting(server, detector=One("general", 48), named={"special": special}, cv_fps=1.0):
        await publish(admin, second, "gate")
        await settled(admin, "MEDIA", "cv")
        await registry.change(js, "gate", {"model": "special"})
        await publish(admin, second, "gate", 1, replay_of="MEDIA/1")
        await settled(admin, "MEDIA", "cv")
    assert special.batches == [1]
    assert [event.model for event in await all_detections(admin)] == ["general"]


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        ("plates", "CV_MODELS has plates without a model"),
        ("plates=yolo", "CV_MODELS: plates: model 'yolo' can't be loaded"),
        ("plates=/no/m.onnx", "CV_MODELS: plates: "),
    ],
)
async def test_a_model_that_can_not_be_loaded_ends_the_start(server: NatsServer, models: str, reason: str) -> None:
    async with connected(server, "cv") as client:
        with pytest.raises((ModelError, SettingError), match=reason):
            await run(CvSettings(cv_models=models), client, Health(), asyncio.Event())
