"""Objects of detections are embedded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

import services.cv.__main__ as cv
from services.cv.settings import CvSettings
from shared.client import dlq
from shared.contract import names
from shared.contract.events import (
    DetectedObject,
    Detections,
    SegmentRef,
)
from shared.contract.segment import to_headers
from shared.models.vectors import Encoded, unpack
from shared.video.decode import decode
from tests.support.processes.service import serving, settled
from tests.support.waiting import patience_s
from tests.support.worlds.embed_service import DIMENSION, MODEL, letters, videos
from tests.support.worlds.embed_world import detect, embeddings, png, publish, running, with_crops
from tidegate.demo import clips
from tidegate.local.server import NatsServer

__all__ = ["videos"]


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
