"""The embedding worker over a real server: segments and detections in, events out, and queries answered."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import json
import os
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from PIL import Image as Pillow

import services.cv.__main__ as cv
import services.embed.__main__ as embed
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.bus.log import Log
from shared.client import dlq
from shared.contract import events, names, topology
from shared.contract.events import (
    DetectedObject,
    Detections,
    EmbeddingsRevision,
    Frame,
    Quality,
    SegmentRef,
    Timing,
)
from shared.contract.segment import Segment, to_headers
from shared.models.vectors import Encoded, TextQuery, unpack
from shared.runtime.errors import BusError
from shared.runtime.telemetry import Health
from shared.video.decode import decode
from tests.support.processes.service import serving, settled
from tests.support.video.footage import make
from tests.support.waiting import patience_s
from tests.support.worlds.embed_world import embeddings, png, publish, running
from tidegate.demo import clips, footage
from tidegate.local.server import NatsServer

MODEL, DIMENSION = "efficientnet_lite3", 1280
START = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def videos() -> list[Path]:
    return footage.embedded(footage.cache() / f"footage-{footage.VERSION}")


_load = cache(embed.load)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of one process share the model: no test changes it, and compiling it costs a second of CPU."""
    monkeypatch.setattr(embed, "load", _load)


async def test_the_worker_drains_if_queries_fail(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await bus.connect(server.settings("embed"), "embed")
    health, stop = Health(), asyncio.Event()

    async def fail(*_: object) -> None:
        async with asyncio.timeout(patience_s()):
            while health.ready:
                await asyncio.sleep(0.02)
        raise BusError("no queries")

    monkeypatch.setattr(embed.queries, "answer", fail)
    with pytest.raises(BusError, match="no queries"):
        await embed.run(EmbedSettings(embed_infer_threads=2), client, health, stop)
    assert health.ready == "draining"
    assert stop.is_set()
    await client.close()


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def jpeg(pixels: Any) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "JPEG", quality=92)
    return out.getvalue()


# ---- from segments


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


# ---- from detections


async def with_crops(client: Client) -> None:
    await topology.apply(client.jetstream(), topology.TopologySettings(embed_crops="detections"))


async def detect(client: Client, piece: Piece, seq: int, *objects: DetectedObject, **changes: Any) -> int:
    """A detections event of a segment published before as the camera `lobby`, at five frames a second."""
    head: Segment = piece.segment
    event = Detections(
        camera="lobby",
        segment=SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=0),
        start=head.start,
        duration=head.duration,
        model="ours",
        frames=[Frame(time=head.start + dt.timedelta(seconds=n / 5), objects=list(objects)) for n in range(5)],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
    )
    event = msgspec.structs.replace(event, **changes)
    headers = events.headers(event, id=f"cv/ours/{seq}/{json.dumps(changes, default=str)}", source="test")
    return (await client.jetstream().publish("events.detections.lobby", events.encode(event), headers=headers)).seq


@pytest.mark.slow
async def test_objects_of_cv_are_embedded(server: NatsServer, admin: Client, videos: list[Path]) -> None:
    """The real detector, the real durable: one event each, of the whole frame and of its people and bicycles."""
    await with_crops(admin)
    pieces = clips.pieces(videos[0], "lobby")[:4]
    for n, piece in enumerate(pieces):
        await publish(admin, piece, n)
    async with serving(server, "cv", cv.run, CvSettings(cv_infer_threads=2)):
        await settled(admin, consumer="cv")
    detections = {}
    for seq in range(1, 5):
        raw = await admin.jetstream().get_msg("EVENTS", seq, direct=True)
        detections[seq] = msgspec.json.decode(raw.data or b"", type=Detections)
    async with running(server, embed_crops="detections", embed_max_crops=3):
        await settled(admin, stream="EVENTS")
    found = await embeddings(admin)
    assert sorted(id for id, _ in found) == [f"embed/{MODEL}/EVENTS/{seq}" for seq in range(1, 5)]
    cut_out = 0
    for id, event in found:
        detected = detections[int(id.rpartition("/")[2])]
        assert (event.segment, event.start, event.camera) == (detected.segment, detected.start, "lobby")
        whole, *objects = event.vectors
        assert (whole.label, whole.box, whole.time) == (None, None, detected.frames[0].time)
        assert len(objects) <= 3 and all(v.time == whole.time for v in objects)
        for vector in objects:
            of = DetectedObject(label=vector.label or "", score=vector.score or 0, box=vector.box or (0, 0, 0, 0))
            assert of in detected.frames[0].objects
            assert np.linalg.norm(unpack(vector.vector, DIMENSION)) == pytest.approx(1, abs=2e-3)
        cut_out += len(objects)
    assert cut_out >= 4


async def test_a_crop_shows_the_content_of_its_box(server: NatsServer, admin: Client, videos: list[Path]) -> None:
    """Its vector equals that of a request for the same crop, made here, at each analysed time."""
    await with_crops(admin)
    piece = clips.pieces(videos[0], "lobby")[0]
    seq = await publish(admin, piece, 0)
    left = DetectedObject(label="left", score=0.9, box=(0.0, 0.0, 0.25, 0.9))
    tiny = DetectedObject(label="tiny", score=0.95, box=(0.5, 0.5, 0.51, 0.52))
    await detect(admin, piece, seq, left, tiny)
    async with running(server, embed_crops="detections", embed_fps=5):
        await settled(admin, stream="EVENTS")
        ((_, event),) = await embeddings(admin)
        assert [v.label for v in event.vectors] == [None, "left"] * 5
        pictures = decode(piece.payload, fps=5).pictures
        for n, picture in enumerate(pictures):
            height, width = picture.pixels.shape[:2]
            side = round(0.9 * height)
            x = max(0, round(0.125 * width - side / 2))
            answer = await admin.request(
                names.EMBED_IMAGE, png(picture.pixels[:side, x : x + side]), timeout=patience_s()
            )
            by_hand = unpack(msgspec.json.decode(answer.data, type=Encoded).vector, DIMENSION)
            whole, crop = (unpack(v.vector, DIMENSION) for v in event.vectors[2 * n : 2 * n + 2])
            assert crop @ by_hand > 0.98 > whole @ by_hand


async def test_unjoinable_detections_are_dead_lettered_and_replayable(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    await with_crops(admin)
    js = admin.jetstream()
    piece = clips.pieces(videos[0], "lobby")[0]
    missing, other = await publish(admin, piece, 0), await publish(admin, piece, 1)
    await js.delete_msg("MEDIA", missing)
    elsewhere = SegmentRef(stream="VLM", seq=1, epoch="e", n=0)
    bad = {
        await detect(admin, piece, missing): f"its segment {missing} of MEDIA has expired",
        await detect(admin, piece, other): f"sequence {other} of MEDIA is another segment",
        await detect(admin, piece, other, segment=elsewhere): "one of MEDIA is expected",
        (await js.publish("events.detections.lobby", b"{}")).seq: "not an event of detections",
        # The detections exist before the segment, as after a restore.
        await detect(admin, piece, 3): "its segment 3 of MEDIA has expired",
    }
    async with running(server, embed_crops="detections"):
        await settled(admin, stream="EVENTS")
        found = {x.stream_seq: x for x in await letters(admin)}
        assert sorted(found) == sorted(bad)
        for seq, reason in bad.items():
            assert reason in found[seq].reason and found[seq].service == "embed" and found[seq].stream == "EVENTS"
        assert await embeddings(admin) == []
        restored = to_headers(msgspec.structs.replace(piece.segment, epoch="e", n=0)) | {"Nats-Msg-Id": "restored"}
        assert (await js.publish("media.lobby", piece.payload, headers=restored)).seq == 3
        replayed = await dlq.replay(admin, found[max(bad)])
        await settled(admin, stream="EVENTS")
        ((id, event),) = await embeddings(admin)
    # The id is of the original, not of its replay.
    assert replayed > max(bad) and id == f"embed/{MODEL}/EVENTS/{max(bad)}"
    assert event.segment.seq == 3 and len(event.vectors) == 1


async def test_an_unresponsive_stream_is_not_blamed_on_the_event(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    await with_crops(admin)
    js = admin.jetstream()
    media = (await js.stream_info("MEDIA")).config
    await js.delete_stream("MEDIA")
    piece = clips.pieces(videos[0], "lobby")[0]
    await detect(admin, piece, 1)
    async with running(server, embed_crops="detections"):
        await asyncio.sleep(0.5)
        await js.add_stream(media)
        assert await publish(admin, piece, 0) == 1
        await settled(admin, stream="EVENTS")
    assert await letters(admin) == []
    assert [len(event.vectors) for _, event in await embeddings(admin)] == [1]


# ---- queries


def problem(answer: Msg) -> tuple[str, str]:
    headers = answer.headers or {}
    return headers.get("Nats-Service-Error-Code", ""), headers.get("Nats-Service-Error", "")


async def test_queries_are_discovered_answered_and_counted(server: NatsServer, admin: Client) -> None:
    grey = png(np.full((90, 160, 3), 120, np.uint8))
    async with running(server):
        ping = json.loads((await admin.request("$SRV.PING.tidegate-embed", b"", timeout=patience_s())).data)
        assert ping["metadata"] == {"model": MODEL, "dimension": str(DIMENSION)}
        info = json.loads((await admin.request("$SRV.INFO.tidegate-embed", b"", timeout=patience_s())).data)
        assert {e["subject"] for e in info["endpoints"]} == {names.EMBED_TEXT, names.EMBED_IMAGE}
        answer = await admin.request(names.EMBED_IMAGE, grey, timeout=patience_s())
        encoded = msgspec.json.decode(answer.data, type=Encoded)
        assert (encoded.model, encoded.dimension) == (MODEL, DIMENSION)
        assert np.linalg.norm(unpack(encoded.vector, DIMENSION)) == pytest.approx(1, abs=2e-3)
        for subject, data, code, sentence in (
            (names.EMBED_IMAGE, b"", "400", "no picture"),
            (names.EMBED_IMAGE, b"<svg/>", "400", "a JPEG, PNG, WebP or BMP is expected"),
            (names.EMBED_IMAGE, grey[:100], "400", "can't be decoded"),
            (names.EMBED_IMAGE, png(np.zeros((8001, 8001), np.uint8)), "400", "over 64 megapixels"),
            (names.EMBED_TEXT, b"a tram", "400", 'JSON such as {"text":'),
            (names.EMBED_TEXT, b'{"text": 1}', "400", "Expected `str`"),
            (names.EMBED_TEXT, b'{"text": "a", "k": 1}', "400", "`k`"),
            (names.EMBED_TEXT, b'{"text": "  "}', "400", "is empty"),
            (names.EMBED_TEXT, msgspec.json.encode(TextQuery(text="a" * 2001)), "400", "2000 are the most"),
            (names.EMBED_TEXT, b'{"text": "a tram"}', "422", "set EMBED_MODEL to a CLIP model such as ViT-B-32"),
        ):
            found = problem(await admin.request(subject, data, timeout=patience_s()))
            assert found[0] == code and sentence in found[1], (subject, data[:30], found)
        stats = json.loads((await admin.request("$SRV.STATS.tidegate-embed", b"", timeout=patience_s())).data)
        counted = {e["subject"]: (e["num_requests"], e["num_errors"]) for e in stats["endpoints"]}
        assert counted == {names.EMBED_IMAGE: (5, 4), names.EMBED_TEXT: (6, 6)}
        assert len({e["queue_group"] for e in stats["endpoints"]}) == 1


@pytest.mark.slow
async def test_all_of_many_queries_are_answered_during_work(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    pieces = clips.pieces(videos[0], "lobby")
    pictures = [png(np.full((64, 64, 3), n * 12, np.uint8)) for n in range(20)]
    async with running(server):
        alone = [(await admin.request(names.EMBED_IMAGE, p, timeout=patience_s())).data for p in pictures]
        for n, piece in enumerate(pieces):
            await publish(admin, piece, n)
        answers = await asyncio.gather(*(admin.request(names.EMBED_IMAGE, p, timeout=patience_s()) for p in pictures))
        await settled(admin)
        assert [a.data for a in answers] == alone
        assert len(await embeddings(admin)) == len(pieces)


@contextlib.asynccontextmanager
async def process(server: NatsServer, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.embed", env=os.environ | server.environment("embed") | env
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def answered(client: Client, subject: str, data: bytes) -> Msg:
    """The first answer, however long the process takes to come up."""
    async with asyncio.timeout(patience_s()):
        while True:
            with contextlib.suppress(Exception):
                return await client.request(subject, data, timeout=5)
            await asyncio.sleep(0.1)


async def test_a_process_for_queries_alone_takes_no_segments_and_is_no_replica(
    server: NatsServer, admin: Client, videos: list[Path]
) -> None:
    await publish(admin, clips.pieces(videos[0], "lobby")[0], 0)
    beats = await admin.subscribe("scale.>")
    async with process(server, EMBED_MODE="queries") as child:
        answer = await answered(admin, names.EMBED_IMAGE, png(np.zeros((9, 9, 3), np.uint8)))
        assert msgspec.json.decode(answer.data, type=Encoded).model == MODEL
        await asyncio.sleep(1.5)
        child.terminate()
        async with asyncio.timeout(patience_s()):
            assert await child.wait() == 0
    info = await admin.jetstream().consumer_info("MEDIA", "embed")
    assert (info.num_pending, info.num_ack_pending) == (1, 0)
    assert beats.pending_msgs == 0


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
