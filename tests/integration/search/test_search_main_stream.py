"""Clips and pictures of search, and frames for models, come from a camera's main stream where that has them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import msgspec
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from services.vlm.frames.footage import Footage
from shared import bus
from shared.bus import requests
from shared.contract import names
from shared.contract.events import DetectedObject, Detections, Frame, SegmentRef
from shared.contract.questions.search import ClipQuery
from tests.support.video.video_world import frames, main_path, main_pieces, path, pieces, pixels, publish, s
from tests.support.worlds.search_world import TIMING, find, say, searching, settled
from tidegate.local.server import NatsServer

__all__ = ["main_path", "main_pieces", "path", "pieces"]


async def seen(client: Client, piece: Piece, seq: int) -> None:
    """Publish what cv found in a segment of the substream."""
    head = piece.segment
    event = Detections(
        camera="cam",
        segment=SegmentRef(stream="MEDIA", seq=seq, epoch=head.epoch, n=head.n),
        start=head.start,
        duration=head.duration,
        model="ssd",
        frames=[Frame(time=head.start, objects=[DetectedObject(label="cat", score=0.9, box=(0.1, 0.1, 0.5, 0.5))])],
        timing=TIMING,
    )
    await say(client, event, "cv/ssd/MEDIA/cam1")


async def clip_width(client: Client, query: ClipQuery) -> int:
    answer = await requests.ask(client, names.FIND_CLIP, msgspec.json.encode(query), timeout_s=20)
    return frames(answer.data)[0][1].shape[1]


async def test_a_moment_is_shown_by_the_main_stream(
    server: NatsServer, admin: Client, pieces: list[Piece], main_pieces: list[Piece], tmp_path: Path
) -> None:
    seqs = await publish(admin, pieces)
    start = pieces[3].segment.start
    query = ClipQuery(camera="cam", seq=seqs[3], start=start, end=start + s(2))
    async with searching(server, tmp_path / "index"):
        await seen(admin, pieces[3], seqs[3])
        await settled(admin)
        assert await clip_width(admin, query) == 320
        (before,) = (await find(admin, labels=["cat"], k=1, picture=True)).moments
        assert before.picture and pixels(before.picture).shape == (240, 320, 3)
        main = await publish(admin, main_pieces, main=True)
        assert await clip_width(admin, query) == 640
        (after,) = (await find(admin, labels=["cat"], k=1, picture=True)).moments
        assert after.picture and pixels(after.picture).shape == (480, 640, 3)
        # A moment found in a recording names a segment of the main stream.
        assert await clip_width(admin, msgspec.structs.replace(query, seq=main[3])) == 640


async def test_frames_for_models_have_up_to_their_size(
    server: NatsServer, admin: Client, pieces: list[Piece], main_pieces: list[Piece]
) -> None:
    client = await bus.connect(server.settings("vlm"), "vlm")
    seqs = await publish(admin, pieces)
    main = await publish(admin, main_pieces[:-2], main=True)
    start, end = pieces[0].segment.start, pieces[-1].segment.start
    for side, widths in ((320, {320}), (640, {320, 640})):
        footage = Footage(client, side=side, threads=1)
        for found in (await footage.between("cam", start, end, 8), await footage.of("cam", seqs, 8)):
            assert len(found) == 8 and [one.time for one in found] == sorted(one.time for one in found)
            assert {_width(one.jpeg) for one in found} == widths
            assert all((one.seq in main) == (_width(one.jpeg) == 640) for one in found)
    # What can't be decoded is shown by the substream.
    await admin.jetstream().purge_stream(names.MEDIA, subject=names.main("cam"))
    damaged = [piece._replace(payload=bytes(100)) for piece in main_pieces]
    other = [
        p._replace(segment=msgspec.structs.replace(p.segment, epoch="other"), gop=f"cam/other/{p.segment.n}")
        for p in damaged
    ]
    await publish(admin, other, main=True)
    assert {_width(one.jpeg) for one in await Footage(client, side=640, threads=1).of("cam", seqs, 4)} == {320}
    await client.close()


def _width(jpeg: bytes) -> int:
    with av.open(io.BytesIO(jpeg)) as picture:
        return picture.streams.video[0].width
