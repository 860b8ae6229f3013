"""Real surveillance footage, from the video to the incident, against hand-written annotations. See bench/vtest."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import msgspec
import openvino as ov
import pytest
from nats.aio.client import Client

import services.cv.__main__ as cv
from bench import footage_vtest as footage
from bench.bench_tracks import crossed, matched, stayed
from services.analytics.camera.camera import CameraAnalytics
from services.analytics.camera.statements import Out
from services.analytics.limits import Limits
from services.analytics.second_pass.versions import best
from services.cv.settings import CvSettings
from services.ingest.cutting.piece import Piece
from shared.bus.log import Log
from shared.client import registry
from shared.contract import events, names, rules
from shared.contract.cameras import new_camera
from shared.contract.events import Counts, DetectionsRevision, Incident
from shared.contract.reading.entries import entries
from shared.contract.segment import to_headers
from shared.models.runtimes.openvino import precision
from tests.support.processes.service import serving, settled
from tests.support.waiting import patience_s
from tests.support.worlds.analytics_world import running, stored_events, until, use
from tidegate.demo import clips
from tidegate.local.server import NatsServer

# One minute of video, which takes long to encode.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.foreign,
    pytest.mark.skipif(not footage.is_available(), reason="vtest.avi is not here: apt-get install opencv-doc"),
    pytest.mark.xdist_group("minute"),
]
MINUTE_S = 60


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    return clips.pieces(h264(tmp_path_factory.mktemp("video") / "minute.mp4"), "campus")


def h264(path: Path) -> Path:
    """The first minute as a camera would send it: H.264, a keyframe a second."""
    with av.open(str(footage.video())) as video, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=footage.FPS, options={"crf": "12", "bf": "0", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 768, 576, "yuv420p", footage.FPS
        for n, frame in enumerate(islice(video.decode(video=0), MINUTE_S * footage.FPS)):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = n, Fraction(1, footage.FPS)
            picture.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("tiles", ["1x1", "2x1"])
async def test_a_minute_of_footage_has_the_true_line_crossings(
    server: NatsServer, admin: Client, minute: list[Piece], tiles: str
) -> None:
    """With tiles, the stays in the zone match too: without, two or three of thirteen stays are off.

    On a CPU that computes in float32, the model misses one man's crossing without tiles.
    """
    camera, _ = new_camera("rtsp://127.0.0.1/campus", fps=5, min_score=0.3, classes=["person"], tiles=tiles)
    await registry.put(admin.jetstream(), "campus", camera, None)
    await use(admin, "campus", footage.RULES)
    assert len(minute) == MINUTE_S
    for n, piece in enumerate(minute):
        head = msgspec.structs.replace(piece.segment, start=footage.START + dt.timedelta(seconds=n))
        await admin.jetstream().publish(names.media("campus"), piece.payload, headers=to_headers(head))
    async with serving(server, "cv", cv.run, CvSettings(cv_infer_threads=2)):
        await settled(admin, "MEDIA", "cv")
    async with running(server):
        await all_read(admin)
    found = await stored_events(admin)
    outs = [Out(event, id) for id, event in found]
    ours, real = crossed(outs), footage.crossings()
    missing = 1 if tiles == "1x1" and precision(ov.Core()) == "f32" else 0
    assert (len(ours), matched(ours, real)) == (len(real) - missing, len(real) - missing)
    if tiles != "1x1":
        stays, real_stays = stayed(outs), footage.stays()
        assert (len(stays), matched(stays, real_stays)) == (len(real_stays), len(real_stays))


async def all_read(admin: Client) -> None:
    """Wait for a checkpoint behind the last detections; analytics publishes all that follows from them before it."""
    js = admin.jetstream()
    last = (await js.get_msg(names.EVENTS, subject=names.event("detections", "campus"), direct=True)).seq
    async with asyncio.timeout(patience_s()):
        while True:
            stored = await entries(js, names.ANALYTICS)
            seqs = [json.loads(value)["seq"] for key, value in stored.items() if key.startswith("position.")]
            if max(seqs, default=0) > (last or 0):
                return
            await asyncio.sleep(0.1)


async def test_a_surge_is_backfilled(server: NatsServer, admin: Client, minute: list[Piece]) -> None:
    """A minute waits for cv, which analyses a frame a second of it, and then the rest; analytics follows both."""
    camera, _ = new_camera("rtsp://127.0.0.1/campus", fps=5, min_score=0.4, classes=["person"], tiles="2x1")
    await registry.put(admin.jetstream(), "campus", camera, None)
    await use(admin, "campus", footage.RULES)
    for n, piece in enumerate(minute):
        head = msgspec.structs.replace(piece.segment, start=footage.START + dt.timedelta(seconds=n))
        await admin.jetstream().publish(names.media("campus"), piece.payload, headers=to_headers(head))
    settings = CvSettings(cv_infer_threads=2, cv_latency_target_s=0.05)
    async with running(server, analytics_idle_s=3.0), serving(server, "cv", cv.run, settings):
        await settled(admin, "MEDIA", "cv")
        await settled(admin, "BACKFILL", "cv-backfill")
        found = await until(admin, lambda f: any(isinstance(e, Counts) and e.revises for e in f))
    whole = await as_if_nothing_was_left_out(admin)
    begun = [e for _, e in found if type(e) is Incident and e.state == "start" and e.rule == "cross"]
    false = {e.incident for _, e in found if type(e) is Incident and e.not_found}
    assert len([e for e in begun if e.incident not in false]) == len(crossed(whole))
    times = {c.frame for c in crossed(whole)}
    assert {footage.frame_of(e.start) for e in begun if e.late} <= times
    (revised,) = [e for _, e in found if isinstance(e, Counts) and e.revises]
    assert [msgspec.structs.replace(revised, revises=None)] == [o.what for o in whole if isinstance(o.what, Counts)]


async def as_if_nothing_was_left_out(admin: Client) -> list[Out]:
    """The events of live analytics for the final detections of cv."""
    async with Log(admin, names.EVENTS) as log:
        first = await log.all("events.detections.campus")
        better = await log.all("events.revisions.detections.campus")
    assert len(first) == len(better) == MINUTE_S and all("quality" in json.loads(s.data) for s in first)
    revisions = [events.decode(s.data, DetectionsRevision, s.subject) for s in better]
    camera = CameraAnalytics("campus", Limits(), msgspec.convert(footage.RULES, rules.Rules))
    outs = []
    for n, event in enumerate(sorted(revisions, key=lambda e: e.segment.n), 1):
        outs += camera.read(n, best(event, event), event.start.timestamp())
    while (deadline := camera.deadline()) is not None:
        outs += camera.due(deadline)
    return outs
