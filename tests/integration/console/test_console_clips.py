"""Clips out of a real MEDIA, equal to the camera's video frame by frame."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from nats.aio.client import Client

from services.console.video import reading
from services.console.video.clips import Clips
from services.console.video.reading import NoVideo
from services.ingest.cutting.piece import Piece
from shared.contract import names
from shared.contract.deadletters import REPLAY_OF
from shared.contract.segment import to_headers
from shared.runtime.errors import Refusal
from shared.video.fmp4 import Span
from tests.support.video import footage
from tests.support.video.video_world import FPS, dated, frames, path, pieces, publish, rounded, s, seconds, source

__all__ = ["path", "pieces", "seconds", "source"]


async def walked(client: Client, since: dt.datetime, until: dt.datetime) -> list[reading.StoredSegment]:
    return [one async for one in reading.walk(client, "cam", since, until)]


def counters(found: Sequence[reading.StoredSegment]) -> list[int]:
    return [one.segment.n for one in found]


async def test_a_stretch_has_its_segments_in_order(admin: Client, seconds: Callable[[], list[Piece]]) -> None:
    """Two epochs with hours between them, a missing segment, a replay, and a message that is no segment."""
    js = admin.jetstream()
    first, second = seconds(), seconds()
    start = first[0].segment.start
    second = [p._replace(segment=msgspec.structs.replace(p.segment, start=p.segment.start + s(20))) for p in second]
    seqs = await publish(admin, first[:3])
    replay = to_headers(first[1].segment) | {REPLAY_OF: f"MEDIA/{seqs[1]}", "Nats-Msg-Id": "replay"}
    await js.publish(names.media("cam"), first[1].payload, headers=replay)
    await js.publish(names.media("cam"), b"nonsense")
    await publish(admin, first[4:])
    await publish(admin, seconds(), "other")
    await publish(admin, second)
    whole = await walked(admin, start, start + s(40))
    assert counters(whole) == [0, 1, 2, *range(4, 12), *range(12)]
    gaps = [((a - start).total_seconds(), (b - start).total_seconds()) for a, b in reading.holes(whole)]
    assert gaps == [pytest.approx((3, 4), abs=0.01), pytest.approx((12, 20), abs=1)]
    assert counters(await walked(admin, start + s(4.5), start + s(6.5))) == [4, 5, 6]
    for since, end_ in ((-20, -10), (3, 3.9), (100, 200)):
        assert await walked(admin, start + s(since), start + s(end_)) == []


async def test_a_stretch_begins_with_a_keyframe(admin: Client, pieces: list[Piece]) -> None:
    seqs = await publish(admin, pieces)
    keys = [n for n, piece in enumerate(pieces) if not piece.dependent]
    begin = pieces[keys[1] + 1].segment.start + s(0.1)
    found = await walked(admin, begin, begin + s(1))
    assert found[0].seq == seqs[keys[1]]
    assert counters(found) == list(range(keys[1], found[-1].segment.n + 1))
    # Without the keyframe, its dependent segments are skipped.
    await admin.jetstream().purge_stream(names.MEDIA, seq=seqs[keys[1] + 1])
    assert counters(await walked(admin, begin, begin + s(100))) == list(range(keys[2], len(pieces)))


# ---- clips


async def sent(clip: Any, first: int = 0, last: int | None = None) -> bytes:
    return b"".join([bytes(buffer) async for buffer in clip.read(first, last)])


async def test_a_clip_is_the_video_of_the_camera(
    admin: Client, pieces: list[Piece], source: list[np.ndarray], path: Path
) -> None:
    await publish(admin, pieces)
    start = pieces[0].segment.start
    clips = Clips(admin, 256)
    clip = await clips.clip("cam", start + s(4.5), start + s(7))
    data = await sent(clip)
    assert len(data) == clip.size
    # From the previous keyframe, until the segment's end.
    key = max(n for n, piece in enumerate(pieces) if not piece.dependent and piece.segment.start <= start + s(4.5))
    first = sum(piece.segment.frames for piece in pieces[:key])
    assert clip.since == rounded(pieces[key].segment.start)
    assert clip.since <= start + s(4.5) and clip.until >= start + s(7) - s(0.002)
    shown, whole = frames(data), frames(path.read_bytes())
    assert len(shown) == round((clip.until - clip.since).total_seconds() * FPS)
    assert [t for t, _ in shown] == pytest.approx([n / FPS for n in range(len(shown))], abs=1e-6)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(shown, whole[first:], strict=False))
    assert clip.is_whole and not clip.holes


async def test_parts_of_a_clip_are_its_bytes(admin: Client, pieces: list[Piece]) -> None:
    """The requests of a browser that seeks. The clip is assembled once."""
    await publish(admin, pieces)
    clips = Clips(admin, 256)
    span = (pieces[0].segment.start, pieces[-1].segment.start)
    clip = await clips.clip("cam", *span)
    data = await sent(clip)
    dice = np.random.default_rng(1)
    for _ in range(60):
        first, last = sorted(dice.integers(0, clip.size, 2))
        assert await sent(clip, int(first), int(last)) == data[first : last + 1]
    assert await sent(clip, clip.size - 5) == data[-5:]
    assert await sent(clip, 5, clip.size + 100) == data[5:]
    await admin.jetstream().purge_stream(names.MEDIA)
    again = await clips.clip("cam", *span)
    assert again.tag == clip.tag
    assert await sent(again, 0, 50) == data[:51]
    with pytest.raises(NoVideo, match="expired while it was sent"):
        await sent(again)
    with pytest.raises(NoVideo):
        await Clips(admin, 256).clip("cam", *span)


@pytest.mark.slow
async def test_a_clip_ends_at_its_limits(admin: Client, seconds: Callable[[], list[Piece]], tmp_path: Path) -> None:
    first = seconds()
    large = dated(footage.make(tmp_path / "large.mp4", size=(640, 480)))
    start = first[0].segment.start
    await publish(admin, first)
    await publish(admin, large, late=12)
    clip = await Clips(admin, 256).clip("cam", start, start + s(30))
    assert not clip.is_whole
    assert abs((clip.until - start).total_seconds() - 12) < 0.01
    assert len(frames(await sent(clip))) == 300
    most = 2**20
    small = await Clips(admin, 1).clip("cam", start, start + s(30))
    assert small.size < most + 20_000
    assert (small.until - start).total_seconds() == pytest.approx(len(frames(await sent(small))) / FPS, abs=0.01)
    for since, end_ in ((0, 0), (5, 3), (0, 100 * 3600)):
        with pytest.raises(Refusal, match="a clip lasts up to 24 hours"):
            await Clips(admin, 1).clip("cam", start + s(since), start + s(end_))


async def test_a_damaged_segment_is_a_hole_until_the_next_keyframe(admin: Client, pieces: list[Piece]) -> None:
    spoilt = [*pieces]
    spoilt[1] = pieces[1]._replace(payload=pieces[1].payload[:-500])
    await publish(admin, spoilt)
    start = pieces[0].segment.start
    clip = await Clips(admin, 256).clip("cam", start, start + s(9))
    keys = [n for n, piece in enumerate(pieces) if not piece.dependent]
    remaining = [pieces[0], *pieces[keys[1] : len({p.part for p in clip.pieces if isinstance(p, Span)}) + keys[1] - 1]]
    shown = frames(await sent(clip))
    assert len(shown) == sum(piece.segment.frames for piece in remaining)
    (hole,) = clip.holes
    assert abs((hole.until - pieces[keys[1]].segment.start).total_seconds()) < 0.01
