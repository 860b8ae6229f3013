"""An alert of a substream has its picture from the camera's main stream, and none is lost by that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.client import pictures
from shared.contract import names
from tests.support.video import footage
from tests.support.video.video_world import (
    dated,
    main_path,
    main_pieces,
    number,
    path,
    pieces,
    pixels,
    publish,
    source,
)
from tests.support.worlds.pictures_world import alert_of, alerted, all_handled, counts, keeping, letters, mask
from tidegate.local.server import NatsServer

__all__ = ["main_path", "main_pieces", "path", "pieces", "source"]
QUARTER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


def near(piece: Piece, pieces: list[Piece], offset_s: float) -> int:
    """The number of a frame in the footage."""
    return round(((piece.segment.start - pieces[0].segment.start).total_seconds() + offset_s) * 25)


async def test_the_picture_is_the_same_frame_in_more_pixels(
    server: NatsServer, admin: Client, pieces: list[Piece], main_pieces: list[Piece], source: list[np.ndarray]
) -> None:
    """Its segment of the main stream is decoded from an earlier one, and is stored after the alert."""
    seqs = await publish(admin, pieces)
    last = len(main_pieces) - 1
    await publish(admin, main_pieces[:-1], main=True)
    async with keeping(server):
        await alerted(admin, first := alert_of(pieces[3], seqs[3], offset_s=0.4))
        await all_handled(admin)
        start = main_pieces[last].segment.start
        n = max(k for k, piece in enumerate(pieces) if piece.segment.start <= start)
        offset = (start - pieces[n].segment.start).total_seconds()
        await alerted(admin, second := alert_of(pieces[n], seqs[n], 2, offset_s=offset))
        await publish_last(admin, main_pieces)
        await all_handled(admin)
    for alert, at in ((first, near(pieces[3], pieces, 0.4)), (second, near(pieces[n], pieces, offset))):
        shown = pixels((await pictures.read(admin, "cam", alert.incident)).jpeg)
        assert shown.shape[:2] == (480, 640)
        assert abs(number(shown[::2, ::2], source, at) - at) <= 1
    assert await letters(admin) == []


async def publish_last(admin: Client, main_pieces: list[Piece]) -> None:
    """Publish the last segment of the main stream alone: the others of its GOP are stored."""
    last = main_pieces[-1]
    key = None
    if last.dependent:
        first = next(piece for piece in main_pieces if piece.segment.message_id == last.gop)
        subject = names.main("cam")
        for seq in range(1, (await admin.jetstream().stream_info(names.MEDIA)).state.last_seq + 1):
            raw = await admin.jetstream().get_msg(names.MEDIA, seq)
            if raw.subject == subject and (raw.headers or {})["Segment"] == str(first.segment.n):
                key = seq
    piece = last._replace(segment=msgspec.structs.replace(last.segment, key_seq=key), gop="", base="")
    await publish_one(admin, piece)


async def publish_one(admin: Client, piece: Piece) -> None:
    from shared.contract.segment import to_headers

    await admin.jetstream().publish(names.main("cam"), piece.payload, headers=to_headers(piece.segment))
