"""Recordings give the results of live video: the same events, under the same ids, with the same boxes."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.bus.log import Log
from shared.client import registry
from shared.client import rules as stored
from shared.contract import events, names
from shared.contract import rules as book
from shared.contract.cameras import new_camera
from shared.contract.events import DetectedObject, Detections, Embeddings
from shared.contract.segment import to_headers
from shared.models.vectors import unpack
from tests.support.processes.service_process import ServiceProcess
from tests.support.video.footage import make
from tests.support.waiting import patience_s
from tests.support.worlds.archive_world import EMBED, done, run_request, table
from tests.support.worlds.recorder_world import World, publish, world
from tidegate.archive import planning, rows
from tidegate.archive.job import NONE, DetectionSettings, Job
from tidegate.archive.job import Piece as Part
from tidegate.demo import clips, footage

__all__ = ["world"]

pytestmark = pytest.mark.slow

SEGMENTS = 20
RULES = b"rules: [{id: somebody, kind: count, over: 0}]"
E = TypeVar("E", Detections, Embeddings)
# Scores within this of the threshold are in or out by rounding.
NEAR = 0.01


async def planned_beside(
    world: World, monkeypatch: pytest.MonkeyPatch, folder: Path, **more: Any
) -> tuple[Job, list[Part], planning.SystemState]:
    """A run over the current hour, by the system that records it. more: arguments of `run_request`."""
    for name, value in world.server.environment("admin").items():
        monkeypatch.setenv(name, value)
    now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
    wanted = run_request(world.store, folder / "out", since=now - hour, until=now + hour, **more)
    return await planning.plan(wanted, folder)


async def test_a_recording_has_the_same_detections_as_live(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    js = world.admin.jetstream()
    await registry.put(js, "cam", *new_camera("rtsp://127.0.0.1:9/x", fps=3.0, min_score=0.3, tiles="2x1"))
    await stored.put(world.admin, "cam", book.read(RULES, "here"))
    video = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")[1]
    (tmp_path / "cv").mkdir()
    cv = ServiceProcess("cv", world.server.environment("cv"), tmp_path / "cv", CV_STATIC_SCENE_REFRESH_S="0")
    recorder = world.recorder()
    await publish(world.admin, clips.pieces(video, "cam")[:SEGMENTS])
    live = await events_by_id(world, Detections)
    await world.until_recorded(SEGMENTS)
    assert await recorder.end() == await cv.end() == 0
    job, pieces, existing = await planned_beside(world, monkeypatch, tmp_path)
    # The running hour is there, and the camera has its live settings.
    assert (
        existing.reached
        and job.looks == {"cam": DetectionSettings(fps=3.0, min_score=0.3, tiles="2x1")}
        and "cam" in job.rules
    )
    await asyncio.to_thread(done, job, pieces)
    again = {row["id"]: row for row in table(tmp_path / "out", "segments")}
    assert again.keys() == live.keys() and len(again) == SEGMENTS
    for id, event in live.items():
        row = again[id]
        assert (row["seq"], row["epoch"], row["n"]) == (event.segment.seq, event.segment.epoch, event.segment.n)
        assert (row["start"], row["width"], row["height"]) == (event.start, event.width, event.height)
        assert [f["time"] for f in row["frames"]] == [f.time for f in event.frames]
        for found, frame in zip(row["frames"], event.frames, strict=True):
            same([msgspec.convert(o, DetectedObject) for o in found["objects"]], frame.objects)
    assert table(tmp_path / "out", "incidents")[0]["rule"] == "somebody"


def same(found: list[DetectedObject], expected: list[DetectedObject]) -> None:
    """Each box beyond the range of rounding has its counterpart in the other, and there is at least one."""
    for some, others in ((found, expected), (expected, found)):
        for one in (o for o in some if o.score > 0.3 + NEAR):
            assert any(
                one.label == other.label
                and one.box == pytest.approx(other.box, abs=0.001)
                and one.score == pytest.approx(other.score, abs=0.001)
                for other in others
            ), (one, others)
    assert any(o.score > 0.3 + NEAR for o in expected)


@pytest.mark.parametrize("fps", [0.3, 1.0, 3.0])
async def test_a_recording_has_the_same_vectors_as_live(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fps: float
) -> None:
    """Keyframes are further apart than a second: their choice, and the segments they stand for, are as live."""
    (tmp_path / "embed").mkdir()
    embed = ServiceProcess("embed", world.server.environment("embed"), tmp_path / "embed", EMBED_FPS=str(fps))
    recorder = world.recorder()
    pieces = clips.pieces(make(tmp_path / "long.mp4", frames=25 * SEGMENTS, gop=75), "cam")
    assert len(pieces) == SEGMENTS and any(piece.dependent for piece in pieces)
    await publish_groups(world.admin, pieces)
    live = await events_by_id(world, Embeddings)
    await world.until_recorded(SEGMENTS)
    assert await recorder.end() == await embed.end() == 0
    embedded = msgspec.structs.replace(EMBED, fps=fps)
    job, parts, _ = await planned_beside(world, monkeypatch, tmp_path, model=NONE, embed=embedded)
    await asyncio.to_thread(done, job, parts)
    again = dict(
        rows.embedding_events(sorted(table(tmp_path / "out", "embeddings"), key=lambda r: (r["id"], r["time"])))
    )
    expected = {id: event for id, event in live.items() if event.vectors}
    assert again.keys() == expected.keys() and len(again) >= 3
    for id, event in expected.items():
        found = again[id]
        for field in ("camera", "segment", "start", "duration", "model", "dimension"):
            assert getattr(found, field) == getattr(event, field), (id, field)
        assert [v.time for v in found.vectors] == [v.time for v in event.vectors]
        for one, other in zip(found.vectors, event.vectors, strict=True):
            assert np.allclose(unpack(one.vector, 1280), unpack(other.vector, 1280), atol=2e-3)


async def publish_groups(client: Client, pieces: list[Piece]) -> None:
    """Segments with the start of their group of pictures."""
    began: dict[str, int] = {}
    for piece in pieces:
        key_seq = began.get(piece.gop) if piece.dependent else None
        head = msgspec.structs.replace(piece.segment, key_seq=key_seq)
        ack = await client.jetstream().publish(names.media("cam"), piece.payload, headers=to_headers(head))
        began.setdefault(piece.gop, ack.seq)


async def events_by_id(world: World, kind: type[E]) -> dict[str, E]:
    """The events of all segments, by id."""
    found: dict[str, E] = {}
    async with asyncio.timeout(patience_s()), Log(world.admin, names.EVENTS) as log:
        seq = 1
        while len(found) < SEGMENTS:
            for one in await log.read(names.event(kind.kind, "cam"), seq):
                found[one.headers["ce-id"]] = events.decode(one.data, kind, one.subject)
                seq = one.seq + 1
            await asyncio.sleep(0.2)
    return found
