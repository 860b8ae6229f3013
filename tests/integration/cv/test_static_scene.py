"""cv on a real server skips static scenes, and misses no person."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.cv.app import attach
from services.cv.models import Models
from services.cv.service import CvService
from services.cv.settings import CvSettings
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.client import registry
from shared.contract import events, names
from shared.contract.cameras import CameraDirectory, new_camera
from shared.contract.events import Detections, DetectionsRevision
from shared.contract.segment import to_headers
from shared.runtime.errors import BusError
from shared.runtime.telemetry import Health
from shared.static_scene import full_inference
from shared.worker import Worker
from tests.support.processes.cv_worker import until_drained
from tests.support.processes.service import settled
from tests.support.video.static_scene import START, Squares, Walker, segments
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer


@contextlib.asynccontextmanager
async def cv(
    server: NatsServer, finder: Squares, named: Mapping[str, Squares] | None = None, **settings: float
) -> AsyncIterator[None]:
    client = await bus.connect(server.settings("cv"), "cv")
    chosen = CvSettings(cv_fps=5.0, **settings)  # type: ignore[arg-type]
    service = attach(CvService(client, Models(finder, named), chosen), client, chosen)
    consumers, later = [(names.MEDIA, "cv")], names.backfilling("cv")
    worker = Worker(
        client, service, chosen.worker(), Health(), consumers=consumers, backfill=later, extensions=service.extensions
    )
    async with until_drained(client, worker):
        yield


async def revised(admin: Client, n: int) -> DetectionsRevision:
    """The only revision: of the segment `n`, which already had an object that the next one shows."""
    js, subject = admin.jetstream(), names.event(DetectionsRevision.kind, "lobby")
    async with asyncio.timeout(patience_s()):
        while not (counts := (await js.stream_info(names.EVENTS, subjects_filter=subject)).state.subjects):
            await asyncio.sleep(0.05)
    assert list(counts.values()) == [1]
    raw = await js.get_msg(names.EVENTS, subject=subject, direct=True)
    found = events.decode(raw.data or b"", DetectionsRevision, raw.subject or "")
    assert (found.segment.n, found.revises) == (n, f"cv/squares/MEDIA/{found.segment.seq}")
    assert (found.lost, found.unchanged, len(found.frames)) == (None, None, 5)
    return found


async def send(admin: Client, pieces: Sequence[Piece]) -> None:
    """Send segments one by one, each after the previous one's answer, as a camera does."""
    stored: dict[str, int] = {}
    for piece in pieces:
        head = msgspec.structs.replace(piece.segment, key_seq=stored.get(piece.gop))
        ack = await admin.jetstream().publish(names.media("lobby"), piece.payload, headers=to_headers(head))
        stored[head.message_id] = ack.seq
        await settled(admin, "MEDIA", "cv")


async def stored_detections(admin: Client) -> list[Detections]:
    found = []
    js, seq = admin.jetstream(), 0
    info = await js.stream_info(names.EVENTS)
    while seq < info.state.last_seq:
        seq += 1
        raw = await js.get_msg(names.EVENTS, seq)
        if (raw.subject or "").startswith(names.event("detections", "")):
            found.append(events.decode(raw.data or b"", Detections, raw.subject or ""))
    return found


def walks(begin: float, end: float) -> Walker:
    return lambda t: (20 + round((t - begin) * 30), 100) if begin <= t < end else None


@pytest.mark.slow
async def test_a_still_camera_seldom_uses_the_device(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    finder, pieces = Squares(), segments(tmp_path / "still.mp4", 40)
    async with cv(server, finder):
        await send(admin, pieces)
    found = await stored_detections(admin)
    assert len(found) == len(pieces) == 40
    # Four checks, and some full inferences at first.
    assert 5 * 4 <= finder.images <= 5 * 12
    quiet = [event for event in found if event.unchanged]
    assert len(quiet) == 40 - finder.images / 5
    assert all(len(event.frames) == 5 and not any(f.objects for f in event.frames) for event in quiet)
    assert all(START <= event.unchanged.since < event.start for event in quiet if event.unchanged)


@pytest.mark.slow
async def test_a_walker_is_seen_on_entry_and_the_previous_segment_is_reanalysed(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    """He comes half a second after a keyframe, and stands still from the 26th second on."""
    walker = lambda t: None if t < 20.5 else (20 + round((min(t, 26) - 20.5) * 30), 100)  # noqa: E731
    pieces = segments(tmp_path / "walker.mp4", 40, walker)
    async with cv(server, Squares()):
        await send(admin, pieces)
        before = await revised(admin, 20)
    assert [bool(f.objects) for f in before.frames] == [False, False, False, True, True]
    found = await stored_detections(admin)
    assert found[20].unchanged
    for event in found[21:27]:
        assert not event.unchanged
        assert all(f.objects for f in event.frames)
    # A stopped object stays an object, and costs little.
    quiet = [event for event in found[27:] if event.unchanged]
    assert len(quiet) >= 8
    assert all(f.objects[0].box[0] == pytest.approx((20 + 165) / 320, abs=0.02) for e in quiet for f in e.frames)


async def test_a_walker_is_seen_between_keyframes_four_seconds_apart(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    pieces = segments(tmp_path / "walker.mp4", 28, walks(22.5, 28), gop_s=4)
    assert sum(p.gop == p.segment.message_id for p in pieces) == 7
    async with cv(server, Squares()):
        await send(admin, pieces)
        before = await revised(admin, 22)
    assert [bool(f.objects) for f in before.frames] == [False, False, False, True, True]
    found = await stored_detections(admin)
    assert len(found) == len(pieces) == 28
    assert sum(event.unchanged is not None for event in found[:22]) >= 12
    assert not any(event.unchanged for event in found[23:])
    assert all(f.objects for event in found[23:] for f in event.frames)


@pytest.mark.parametrize("check_s", [1.0, 0.25])
async def test_a_dash_between_two_keyframes_is_seen_at_a_lower_setting(
    server: NatsServer, admin: Client, tmp_path: Path, check_s: float
) -> None:
    """He is there for 0.8 s. By default he is missed."""
    pieces = segments(tmp_path / "dash.mp4", 25, walks(20.1, 20.9))
    async with cv(server, Squares(), cv_static_scene_check_s=check_s):
        await send(admin, pieces)
    found = await stored_detections(admin)
    is_seen = check_s < 1
    assert [bool(f.objects) for f in found[20].frames] == [False, *[is_seen] * 4]
    assert (found[20].unchanged is None) == is_seen
    # The setting costs decoding; the segments without him have no inference either way.
    assert sum(event.unchanged is not None for event in found[10:20]) >= 8


async def test_a_replica_uses_the_scene_of_another(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    """It defers the segment that the other replica reported unchanged."""
    pieces = segments(tmp_path / "walker.mp4", 30, walks(24.5, 30))
    one, other = Squares(), Squares()
    async with cv(server, one):
        await send(admin, pieces[:20])
        scenes = await admin.jetstream().key_value(names.SCENES)
        assert (await scenes.get("lobby")).value
    async with cv(server, other):
        await send(admin, pieces[20:25])
    async with cv(server, Squares()):
        await send(admin, pieces[25:])
        await revised(admin, 24)
    found = await stored_detections(admin)
    watched = sum(full_inference.falls_in("lobby", p.segment.start.timestamp(), 1.0, 10.0) for p in pieces[20:25])
    assert other.images == 5 * watched
    assert not any(event.unchanged for event in found[25:])


async def test_each_model_of_a_camera_has_references_of_its_own(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A static scene repeats no objects of the camera's former model; its deferred segments name the present one."""
    monkeypatch.setattr("services.cv.service.CameraDirectory", partial(CameraDirectory, ttl_s=0.0))
    js, pieces = admin.jetstream(), segments(tmp_path / "walker.mp4", 22, walks(20.5, 22))
    await registry.add(js, "lobby", *new_camera("rtsp://127.0.0.1/x"))
    (other := Squares()).name = "other"
    async with cv(server, Squares(), {"second": other}):
        await send(admin, pieces[:8])
        await registry.change(js, "lobby", {"model": "second"})
        await send(admin, pieces[8:])
        before = await revised(admin, 20)
    found = await stored_detections(admin)
    assert [event.model for event in found] == ["squares"] * 8 + ["other"] * 14
    assert found[7].unchanged and not found[8].unchanged and found[20].unchanged
    assert before.model == "other"
    assert all(event.unchanged.since >= found[8].start for event in found[8:] if event.unchanged)


async def test_a_forged_scene_is_refused_and_learned_again(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    scenes = await admin.jetstream().key_value(names.SCENES)
    await scenes.put("lobby", b"\x81\xa7version\x63" + bytes(100))
    finder, pieces = Squares(), segments(tmp_path / "still.mp4", 15, walks(12, 15))
    async with cv(server, finder):
        await send(admin, pieces)
    found = await stored_detections(admin)
    assert any(event.unchanged for event in found[:12])
    assert all(f.objects for event in found[12:] for f in event.frames)
    now = await scenes.get("lobby")
    assert len(now.value or b"") > 3000


async def test_a_result_that_fails_to_be_published_counts_once(
    server: NatsServer, admin: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, refused = bus.publish, list[str]()

    async def refuse_one(client: Client, js: Any, subject: str, payload: bytes, *rest: Any, **more: Any) -> Any:
        if subject == names.event("detections", "lobby") and b'"unchanged":{' in payload and not refused:
            refused.append(subject)
            raise BusError("refused")
        return await publish(client, js, subject, payload, *rest, **more)

    monkeypatch.setattr(bus, "publish", refuse_one)
    before = REGISTRY.get_sample_value("tidegate_static_scene_segments_total") or 0
    async with cv(server, Squares()):
        await send(admin, segments(tmp_path / "still.mp4", 12))
    unchanged = sum(event.unchanged is not None for event in await stored_detections(admin))
    assert refused
    assert REGISTRY.get_sample_value("tidegate_static_scene_segments_total") == before + unchanged


@pytest.mark.parametrize("how", ["always", "off"])
async def test_all_video_is_analysed_if_configured(server: NatsServer, admin: Client, tmp_path: Path, how: str) -> None:
    camera, _ = new_camera("rtsp://127.0.0.1/lobby", always=how == "always")
    await registry.put(admin.jetstream(), "lobby", camera, None)
    finder, pieces = Squares(), segments(tmp_path / "still.mp4", 12)
    async with cv(server, finder, cv_static_scene_refresh_s=0 if how == "off" else 10):
        await send(admin, pieces)
    assert finder.images == 5 * 12
    assert not any(event.unchanged for event in await stored_detections(admin))
