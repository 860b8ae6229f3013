"""The embedding worker over a real server: segments and detections in, events out, and queries answered."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from shared.bus.log import Log
from shared.contract import events, names
from shared.contract.events import (
    EmbeddingsRevision,
    Quality,
)
from shared.contract.segment import to_headers
from shared.models.vectors import Encoded, unpack
from shared.video.decode import decode
from tests.support.processes.service import settled
from tests.support.video.footage import make
from tests.support.waiting import patience_s
from tests.support.worlds.embed_service import DIMENSION, MODEL, START, jpeg, letters, process, videos
from tests.support.worlds.embed_world import embeddings, publish, running
from tidegate.demo import clips
from tidegate.local.server import NatsServer

__all__ = ["videos"]


@pytest.mark.slow
async def test_every_segment_has_one_event_with_a_vector(server: NatsServer, admin: Client, videos: list[Path]) -> None:
    """A foreign picture is nearest to its own scene."""
    scenes = videos[:5]
    pieces = [piece for video in scenes for piece in clips.pieces(video, "lobby")[:3]]
    seqs = [await publish(admin, piece, n) for n, piece in enumerate(pieces)]
    async with running(server, embed_batch_size=4):
        await settled(admin)
        found = await embeddings(admin)
        assert sorted(e.segment.seq for _, e in found) == seqs
        by_seq = {e.segment.seq: (id, e) for id, e in found}
        vectors = []
        for seq, piece in zip(seqs, pieces, strict=True):
            id, event = by_seq[seq]
            assert id == f"embed/{MODEL}/MEDIA/{seq}"
            assert (event.camera, event.model, event.dimension) == ("lobby", MODEL, DIMENSION)
            assert (event.segment.epoch, event.duration) == ("e", round(piece.segment.duration, 3))
            (one,) = event.vectors
            assert (one.time, one.label, one.box) == (event.start, None, None)
            vectors.append(unpack(one.vector, DIMENSION))
            assert np.linalg.norm(vectors[-1]) == pytest.approx(1, abs=2e-3)
        for n, video in enumerate(scenes):
            late = clips.pieces(video, "x")[1].payload
            picture = decode(late, fps=25).pictures[-1].pixels
            answer = await admin.request(names.EMBED_IMAGE, jpeg(picture), timeout=patience_s())
            request = unpack(msgspec.json.decode(answer.data, type=Encoded).vector, DIMENSION)
            assert int(np.argmax(np.stack(vectors) @ request)) // 3 == n, video.name


async def publish_long_gops(client: Client, folder: Path) -> list[int]:
    """12 s from 13:00:01.5 on, a keyframe every 4, cut each second: every 4 s falls into a GOP's third segment."""
    pieces = clips.pieces(make(folder / "long.mp4", frames=300, fps=25, gop=100), "lobby")
    assert [p.dependent for p in pieces] == [n % 4 != 0 for n in range(12)]
    keys: dict[int, int] = {}
    seqs = []
    for n, piece in enumerate(pieces):
        start = START + dt.timedelta(seconds=n + 1.5)
        key = keys.get(piece.gop) if piece.dependent else None
        seqs.append(await publish(client, piece, n, start=start, duration=1.0, key_seq=key))
        keys.setdefault(piece.gop, seqs[-1])
    return seqs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fps", "counts"),
    [
        (1.0, [1, 0, 0, 0] * 3),
        (0.5, [1, 0, 0, 0] * 3),
        (0.25, [0, 0, 1, 0] * 3),
        (0.125, [0, 0, 0, 0, 0, 0, 1, 0] + [0] * 4),
    ],
)
async def test_a_long_gop_is_embedded_by_its_keyframes(
    server: NatsServer, admin: Client, tmp_path: Path, fps: float, counts: list[int]
) -> None:
    """This holds up to one frame a second. Below, each keyframe is of the segment with the first instant since."""
    seqs = await publish_long_gops(admin, tmp_path)
    async with running(server, embed_fps=fps):
        await settled(admin)
    found = {int(id.rpartition("/")[2]): event for id, event in await embeddings(admin)}
    assert sorted(found) == seqs
    assert [len(found[seq].vectors) for seq in seqs] == counts
    for n, seq in enumerate(seqs):
        event = found[seq]
        # The picture and the segment that has it: a keyframe's own.
        seen = n // 4 * 4 if fps < 1 and event.vectors else n
        assert (event.segment.seq, event.segment.n) == (seqs[seen], seen)
        assert event.start == START + dt.timedelta(seconds=seen + 1.5)
        assert [v.time for v in event.vectors] == [event.start] * counts[n]
    assert await letters(admin) == []


@pytest.mark.slow
async def test_a_missing_keyframe_is_reported(server: NatsServer, admin: Client, tmp_path: Path) -> None:
    seqs = await publish_long_gops(admin, tmp_path)
    await admin.jetstream().delete_msg("MEDIA", seqs[4])
    async with running(server, embed_fps=0.25):
        await settled(admin)
    (letter,) = await letters(admin)
    assert (letter.stream_seq, letter.reason) == (
        seqs[6],
        f"the start of its GOP, sequence {seqs[4]} of MEDIA, has expired",
    )
    assert len(await embeddings(admin)) == 10


@pytest.mark.slow
async def test_dependent_segments_are_decoded_at_higher_rates(
    server: NatsServer, admin: Client, tmp_path: Path
) -> None:
    seqs = await publish_long_gops(admin, tmp_path)
    async with running(server, embed_fps=2.0):
        await settled(admin)
    found = [event for _, event in await embeddings(admin)]
    assert sorted(event.segment.seq for event in found) == seqs
    assert all(event.vectors for event in found)
    assert sum(len(event.vectors) for event in found) == 24


async def test_a_late_segment_is_partially_embedded_and_a_single_keyframe_fully(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    piece = clips.pieces(videos[0], "lobby")[0]
    for n in range(3):
        await publish(admin, piece, n)
    # So long that the floor applies, however soon the segment is processed.
    await asyncio.sleep(0.2)
    async with running(server, embed_fps=5.0, embed_latency_target_s=0.1):
        await settled(admin)
    found = [event for _, event in await embeddings(admin)]
    assert [len(event.vectors) for event in found] == [1, 1, 1]
    assert {event.quality for event in found} == {Quality(fps=1.0, wanted=5.0, cause="backlog")}


@pytest.mark.slow
async def test_deferred_frames_are_embedded_later(server: NatsServer, admin: Client, videos: list[Path]) -> None:
    piece = clips.pieces(videos[0], "lobby")[0]
    seqs = [await publish(admin, piece, n) for n in range(3)]
    await asyncio.sleep(0.2)
    async with running(server, embed_fps=5.0, embed_latency_target_s=0.1):
        await settled(admin)
        await settled(admin, names.BACKFILL, "embed-backfill")
    async with Log(admin, names.EVENTS) as log:
        reply = await log.all("events.revisions.embeddings.lobby")
    found = [events.decode(s.data, EmbeddingsRevision, s.subject) for s in reply]
    assert {(r.revises, r.segment.seq) for r in found} == {(f"embed/{MODEL}/MEDIA/{seq}", seq) for seq in seqs}
    firsts = dict(await embeddings(admin))
    for revision in found:
        assert len(revision.vectors) > len(firsts[revision.revises].vectors) and revision.quality is None


async def test_one_frame_a_second_is_never_reduced(server: NatsServer, admin: Client, videos: list[Path]) -> None:
    piece = clips.pieces(videos[0], "lobby")[0]
    await publish(admin, piece, 0)
    await asyncio.sleep(0.2)
    async with running(server, embed_latency_target_s=0.1):
        await settled(admin)
    ((_, event),) = await embeddings(admin)
    assert (len(event.vectors), event.quality) == (1, None)


async def test_bad_segments_are_dead_lettered_and_harm_nobody(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    js = admin.jetstream()
    good = clips.pieces(videos[0], "lobby")[0]
    headers = to_headers(msgspec.structs.replace(good.segment, camera="lobby", epoch="e"))
    bad = [
        (b"no video", headers | {"Nats-Msg-Id": "1"}, "not an MP4"),
        (good.payload, {"Nats-Msg-Id": "2"}, "not a segment"),
        (good.payload, headers | {"Nats-Msg-Id": "3", "Camera": "other"}, "its subject is"),
    ]
    seqs = [(await js.publish("media.lobby", payload, headers=h)).seq for payload, h, _ in bad]
    last = await publish(admin, good, 0)
    async with running(server):
        await settled(admin)
    assert [e.segment.seq for _, e in await embeddings(admin)] == [last]
    found = await letters(admin)
    assert sorted(x.stream_seq for x in found) == seqs
    for letter in found:
        assert letter.service == "embed" and bad[seqs.index(letter.stream_seq)][2] in letter.reason


@pytest.mark.slow
async def test_a_worker_process_drains(server: NatsServer, admin: Client, videos: list[Path]) -> None:
    for n, piece in enumerate(clips.pieces(videos[0], "lobby")):
        await publish(admin, piece, n)
    async with process(server) as child:
        await settled(admin)
        child.terminate()
        async with asyncio.timeout(patience_s()):
            assert await child.wait() == 0
    assert len(await embeddings(admin)) == len(clips.pieces(videos[0], "lobby"))


@pytest.mark.parametrize(
    ("env", "sentence"),
    [({"EMBED_MODEL": "openvino:other"}, "EMBED_MODEL=openvino:other"), ({"EMBED_CROPS": "all"}, "EMBED_CROPS='all'")],
)
async def test_a_failed_start_exits_with_a_sentence(server: NatsServer, env: dict[str, str], sentence: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.embed",
        env=os.environ | server.environment("embed") | env,
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await asyncio.wait_for(child.communicate(), patience_s())
    assert child.returncode == 2 and sentence in output.decode()
