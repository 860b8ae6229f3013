"""Real surveillance footage, from the video to the incident: against a list that was made by hand. See bench/vtest."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import msgspec
import openvino as ov
import pytest
from nats.aio.client import Client
from nats.js.errors import NoKeysError

import services.cv.__main__ as cv
from bench import footage_vtest as footage
from bench.bench_tracks import agreed, crossed, stayed
from services.analytics.statements import Out
from services.cv.settings import CvSettings
from shared.contract import names
from shared.contract.cameras import new_camera
from shared.contract.segment import to_headers
from shared.models.openvino import precision
from tests.service import serving, settled
from tests.test_analytics_service import running, said, use
from tests.waiting import PATIENCE_S
from tidegate.client import registry
from tidegate.demo import clips
from tidegate.local.server import NatsServer

MINUTE_S = 60


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


@pytest.mark.slow
@pytest.mark.foreign
@pytest.mark.skipif(not footage.there(), reason="vtest.avi is not here: apt-get install opencv-doc")
@pytest.mark.parametrize("tiles", ["1x1", pytest.param("2x1", marks=pytest.mark.long)])
async def test_who_crosses_the_line_in_a_minute_is_who_did(
    server: NatsServer, admin: Client, tmp_path: Path, tiles: str
) -> None:
    """With tiles, who is in the zone and when, too: without, two or three of thirteen stays are off.

    Where a CPU computes in float32, one man is not seen to cross without tiles.
    """
    camera, _ = new_camera("rtsp://127.0.0.1/campus", fps=5, min_score=0.3, classes=["person"], tiles=tiles)
    await registry.put(admin.jetstream(), "campus", camera, None)
    await use(admin, "campus", footage.RULES)
    pieces = await asyncio.to_thread(clips.pieces, h264(tmp_path / "minute.mp4"), "campus")
    assert len(pieces) == MINUTE_S
    for n, piece in enumerate(pieces):
        head = msgspec.structs.replace(piece.segment, start=footage.START + dt.timedelta(seconds=n))
        await admin.jetstream().publish(names.media("campus"), piece.payload, headers=to_headers(head))
    async with serving(server, "cv", cv.run, CvSettings(cv_infer_threads=2)):
        await settled(admin, "MEDIA", "cv")
    async with running(server):
        await all_read(admin)
    found = await said(admin)
    outs = [Out(event, id) for id, event in found]
    ours, real = crossed(outs), footage.crossings()
    missing = 1 if tiles == "1x1" and precision(ov.Core()) == "f32" else 0
    assert (len(ours), agreed(ours, real)) == (len(real) - missing, len(real) - missing)
    if tiles != "1x1":
        stays, real_stays = stayed(outs), footage.stays()
        assert (len(stays), agreed(stays, real_stays)) == (len(real_stays), len(real_stays))


async def all_read(admin: Client) -> None:
    """Wait for a checkpoint that is behind the last detections: all that follows from them is said before it."""
    js = admin.jetstream()
    last = (await js.get_msg(names.EVENTS, subject=names.event("detections", "campus"), direct=True)).seq
    bucket = await js.key_value(names.ANALYTICS)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(NoKeysError):
                keys = [key for key in await bucket.keys() if key.startswith("position.")]
                seqs = [json.loads((await bucket.get(key)).value or b"")["seq"] for key in keys]
                if max(seqs, default=0) > (last or 0):
                    return
            await asyncio.sleep(0.1)
