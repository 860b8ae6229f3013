"""An alert of a substream has its picture from the camera's main stream, and none is lost by that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.client import pictures
from shared.contract import names
from tests.support.video import footage
from tests.support.video.video_world import (
    at_the_times_of,
    main_path,
    main_pieces,
    main_source,
    path,
    pieces,
    pixels,
    publish,
)
from tests.support.worlds.pictures_world import alert_of, alerted, all_handled, keeping, letters, mask
from tidegate.local.server import NatsServer

__all__ = ["main_path", "main_pieces", "main_source", "path", "pieces"]
QUARTER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


def nearest(shown: np.ndarray, source: list[np.ndarray], near: int) -> int:
    """The number of the frame in a picture of its size. near: the frames repeat after 51."""
    first = max(0, near - 20)
    return first + int(np.argmin([np.abs(shown - frame).mean() for frame in source[first : near + 20]]))


async def picture_of(client: Client, n: int) -> np.ndarray:
    return pixels((await pictures.read(client, "cam", f"fence.a1.{n}")).jpeg)


async def test_the_picture_is_the_same_frame_in_more_pixels(
    server: NatsServer, admin: Client, pieces: list[Piece], main_pieces: list[Piece], main_source: list[np.ndarray]
) -> None:
    """One is decoded from an earlier segment; another one's is stored after the alert."""
    seqs = await publish(admin, pieces)
    newest = max(n for n, piece in enumerate(main_pieces) if not piece.dependent)
    await publish(admin, main_pieces[:newest], main=True)
    begin, late = pieces[0].segment.start, main_pieces[newest].segment.start
    n = max(k for k, piece in enumerate(pieces) if piece.segment.start <= late)
    offset_s = (late - pieces[n].segment.start).total_seconds() + 0.12
    async with keeping(server):
        await alerted(admin, alert_of(pieces[3], seqs[3], offset_s=0.4))
        await all_handled(admin)
        await alerted(admin, alert_of(pieces[n], seqs[n], 2, offset_s=offset_s))
        await publish(admin, main_pieces[newest:], main=True)
        await all_handled(admin)
    for k, piece, offset in ((1, pieces[3], 0.4), (2, pieces[n], offset_s)):
        shown, near = await picture_of(admin, k), round(((piece.segment.start - begin).total_seconds() + offset) * 25)
        assert shown.shape[:2] == (480, 640)
        assert nearest(shown, main_source, near) == near
    assert await letters(admin) == []


async def test_a_mask_hides_the_same_of_the_main_stream(
    server: NatsServer, admin: Client, pieces: list[Piece], main_pieces: list[Piece]
) -> None:
    (seq,) = await publish(admin, pieces[:1])
    await publish(admin, main_pieces, main=True)
    await mask(admin, [QUARTER])
    async with keeping(server):
        await alerted(admin, alert_of(pieces[0], seq))
        await all_handled(admin)
    shown = await picture_of(admin, 1)
    assert shown.shape[:2] == (480, 640)
    assert shown[:240, :320].max() <= 24 and shown[248:, 328:].max() > 60


@pytest.mark.parametrize("fault", ["expired", "damaged", "another shape", "elsewhere", "small enough"])
async def test_the_substream_shows_it_otherwise(
    server: NatsServer,
    admin: Client,
    pieces: list[Piece],
    main_pieces: list[Piece],
    fault: str,
    tmp_path: Path,
) -> None:
    main, width = main_pieces, 1280
    if fault == "damaged":
        main = [piece._replace(payload=bytes(len(piece.payload))) for piece in main]
    elif fault == "another shape":
        main = at_the_times_of(pieces, footage.make(tmp_path / "w.mp4", size=(640, 360), frames=50))
    elif fault == "elsewhere":
        main = main[-2:]
    elif fault == "small enough":
        width = 320
    begun = await publish(admin, main, main=True)
    time = pieces[0].segment.start
    if fault == "expired":
        dependent = next(n for n, piece in enumerate(main) if piece.dependent)
        time = main[dependent].segment.start
        await admin.jetstream().purge_stream(names.MEDIA, seq=begun[dependent])
    seqs = await publish(admin, pieces)
    n = max(k for k, piece in enumerate(pieces) if piece.segment.start <= time)
    async with keeping(server, pictures_width=width):
        offset_s = (time - pieces[n].segment.start).total_seconds() + 0.1
        await alerted(admin, alert_of(pieces[n], seqs[n], offset_s=offset_s))
        await all_handled(admin)
    assert (await picture_of(admin, 1)).shape[:2] == (240, 320)
    assert await letters(admin) == []
