"""Vectors of a static scene are made once, and a visitor is embedded immediately."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.ingest.cutting.piece import Piece
from shared.client import registry
from shared.contract.cameras import new_camera
from shared.contract.events import DetectedObject, Embeddings, SegmentRef
from shared.static_scene import full_inference
from tests.support.processes.service import settled
from tests.support.video.static_scene import Walker, segments
from tests.support.worlds.embed_world import detect, embeddings, publish, running, with_crops
from tidegate.local.server import NatsServer

# He is there in the keyframes of these segments, at another place in each.
WALKS = range(13, 16)


def walker(t: float) -> tuple[int, int] | None:
    return (20 + round((t - 12.5) * 60), 100) if 12.5 <= t < 16 else None


async def send(admin: Client, pieces: Sequence[Piece]) -> None:
    """Send segments one by one, each after the previous one's event, as a camera does."""
    for n, piece in enumerate(pieces):
        await publish(admin, piece, n)
        await settled(admin)


def due(pieces: Sequence[Piece]) -> list[int]:
    return [
        n
        for n, piece in enumerate(pieces)
        if full_inference.falls_in("lobby", piece.segment.start.timestamp(), piece.segment.duration, 10.0)
    ]


def check_repeats(found: list[tuple[str, Embeddings]]) -> None:
    """Each repeats an event that was made by the model."""
    by_id = dict(found)
    for _, event in found:
        if event.same_as:
            first = by_id[event.same_as]
            assert first.same_as is None
            assert (event.camera, event.model) == (first.camera, first.model)
            assert [(v.vector, v.label, v.box) for v in event.vectors] == [
                (v.vector, v.label, v.box) for v in first.vectors
            ]


def repeated() -> float:
    return REGISTRY.get_sample_value("tidegate_static_scene_vectors_total") or 0.0


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_visitor_is_embedded_and_the_empty_scene_once_in_ten_seconds(
    server: NatsServer, admin: Client, tmp_path: Path, replicas: int
) -> None:
    pieces, before = segments(tmp_path / "walker.mp4", 20, walker), repeated()
    async with contextlib.AsyncExitStack() as stack:
        for n in range(replicas):
            await stack.enter_async_context(running(server, replica=f"embed-{n}"))
        await send(admin, pieces)
    found = await embeddings(admin)
    assert [event.segment.n for _, event in found] == list(range(20))
    assert all([v.time for v in event.vectors] == [event.start] for _, event in found)
    full = {event.segment.n for _, event in found if event.same_as is None}
    assert full >= {0, *due(pieces), *WALKS}
    # Each replica makes its own answer of the empty scene.
    assert len(full) <= len({0, *due(pieces), *WALKS}) + replicas - 1
    check_repeats(found)
    assert repeated() - before == 20 - len(full)


@pytest.mark.parametrize("how", ["always", "off"])
async def test_all_video_is_embedded_if_configured(server: NatsServer, admin: Client, tmp_path: Path, how: str) -> None:
    camera, _ = new_camera("rtsp://127.0.0.1/lobby", always=how == "always")
    await registry.put(admin.jetstream(), "lobby", camera, None)
    async with running(server, embed_static_scene_refresh_s=0.0 if how == "off" else 10.0):
        await send(admin, segments(tmp_path / "still.mp4", 5))
    found = await embeddings(admin)
    assert len(found) == 5 and not any(event.same_as for _, event in found)


@pytest.mark.slow
@pytest.mark.parametrize("target_s", [0.0, 1e-6])
async def test_all_frames_of_a_segment_decide(
    server: NatsServer, admin: Client, tmp_path: Path, target_s: float
) -> None:
    """He enters behind a keyframe, which may be all that is embedded while capacity is short."""
    late: Walker = lambda t: (100, 100) if 6.5 <= t < 7 else None  # noqa: E731
    pieces = segments(tmp_path / "late.mp4", 8, late)
    settings = {"embed_latency_target_s": target_s, "embed_static_scene_refresh_s": 3600.0}
    async with running(server, embed_fps=5.0, **settings):
        await send(admin, pieces)
    found = [event for _, event in await embeddings(admin)]
    assert all(event.quality is None for event in found) or target_s
    for n, event in enumerate(found):
        if event.same_as:
            assert {v.vector for v in event.vectors} == {found[0].vectors[0].vector}
        if event.quality is None:
            assert len(event.vectors) == 5
            assert (event.same_as is None) == (n in (0, 6))


async def test_crops_are_repeated_where_cv_repeats_its_boxes(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    await with_crops(admin)
    pieces = segments(tmp_path / "still.mp4", 5)
    box = DetectedObject(label="person", score=0.9, box=(0.2, 0.2, 0.5, 0.8))
    moved: dict[str, Any] = {"box": (0.3, 0.2, 0.6, 0.8)}
    async with running(server, embed_crops="detections", embed_static_scene_refresh_s=3600.0):
        for n, piece in enumerate(pieces):
            seq = await publish(admin, piece, n)
            one = box if n != 3 else DetectedObject(label="person", score=0.9, **moved)
            await detect(admin, piece, seq, one, segment=SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=n))
            await settled(admin, stream="EVENTS")
    found = await embeddings(admin)
    assert [len(event.vectors) for _, event in found] == [2] * 5
    assert [event.same_as is None for _, event in found[:4]] == [True, False, False, True]
    check_repeats(found)
