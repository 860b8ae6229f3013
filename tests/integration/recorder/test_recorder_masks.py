"""Masked areas are black in all stored video, frames keep their times, and unmaskable video is not stored."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from itertools import accumulate, pairwise

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.cutting.piece import Piece
from services.recorder.masking import masker
from shared.client import recordings as client_of
from shared.contract import names
from shared.contract.geometry import inside
from shared.contract.reading.missing import Unread
from shared.recordings.files import SegmentWithVideo, build_files
from shared.recordings.queries import VideoRequest
from shared.recordings.records import Hole
from shared.recordings.windows import Head
from shared.runtime import install
from shared.runtime.child import plain_environment
from shared.runtime.errors import Refusal
from shared.video.covering import covered_runs, halve_runs
from tests.support.video.video_world import frames, path, pieces
from tests.support.waiting import patience_s, until
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, seconds_of, world

__all__ = ["path", "pieces", "second", "world"]
# The left upper quarter of 320x240, and a triangle at the right.
MASKS = (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)), ((1.0, 0.6), (1.0, 1.0), (0.7, 1.0)))
# Black, and the coding artefacts next to other colours.
DARK = 24
SHARE = st.floats(0, 1)


def checked(pictures: Sequence[np.ndarray], source: Sequence[np.ndarray] | None = None) -> None:
    """Assert that the mask is black and, if the source is given, that the rest is unchanged."""
    assert pictures
    for n, picture in enumerate(pictures):
        assert picture[:116, :156].max() <= DARK and picture[225:, 310:].max() <= DARK
        if source is not None:
            assert np.abs(picture[:, 170:220].astype(int) - source[n][:, 170:220]).mean() < 12


# ---- pixels


@given(
    polygons=st.lists(st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=8), min_size=1, max_size=3),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    points=st.lists(st.tuples(SHARE, SHARE), min_size=20, max_size=20),
)
@settings(deadline=None)
def test_every_point_inside_any_polygon_is_covered(
    polygons: list[list[tuple[float, float]]], size: tuple[int, int], points: list[tuple[float, float]]
) -> None:
    width, height = size
    rows = covered_runs(polygons, width, height)
    small = halve_runs(rows)
    assert len(rows) == height and len(small) == -(-height // 2)
    for row in rows:
        assert all(0 <= begin < end <= width for begin, end in row)
        assert all(a[1] < b[0] for a, b in pairwise(row))
    for x, y in points:
        if any(inside(polygon, (x, y)) for polygon in polygons):
            column, line = min(width - 1, int(x * width)), min(height - 1, int(y * height))
            assert any(begin <= column < end for begin, end in rows[line])
            assert any(begin <= column // 2 < end for begin, end in small[line // 2])


def test_points_far_from_a_polygon_are_not_covered() -> None:
    rows = covered_runs([[(0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5)]], 100, 80)
    assert {n for n, row in enumerate(rows) if row} == set(range(19, 41))
    assert {row[0] for row in rows if row} == {(24, 51)}
    assert covered_runs([], 10, 10) == [[]] * 10


# ---- segments


def read_of(pieces: Sequence[Piece]) -> list[SegmentWithVideo]:
    return [SegmentWithVideo(Head(n + 1, one.segment, len(one.payload)), one.payload) for n, one in enumerate(pieces)]


def linked(pieces: Sequence[Piece]) -> list[Piece]:
    """With Key-Seq, as MEDIA has them."""
    keys = accumulate(range(1, len(pieces) + 1), lambda key, n: key if pieces[n - 1].dependent else n)
    return [
        one._replace(segment=msgspec.structs.replace(one.segment, key_seq=key if one.dependent else None))
        for one, key in zip(pieces, keys, strict=True)
    ]


async def test_b_frames_keep_their_times(pieces: list[Piece]) -> None:
    read = read_of(linked(pieces))
    stored = await masker.mask_window(read, MASKS)
    assert not stored.holes and [one.head.segment.n for one in stored.read] == [one.head.segment.n for one in read]
    before, after = (frames(b"".join(build_files(row, "t")[0][0].buffers)) for row in (read, stored.read))
    assert [round(time, 3) for time, _ in after] == [round(time, 3) for time, _ in before] and len(after) == 250
    checked([picture for _, picture in after], [picture for _, picture in before])
    # Each group of pictures is a starting point.
    (videos,), _ = build_files(stored.read, "t")
    assert len(videos.record.groups_ms) == 3


async def test_undecodable_video_is_skipped_with_its_dependents(pieces: list[Piece]) -> None:
    read = read_of(linked(pieces))
    begins = [n for n, one in enumerate(read) if one.head.segment.starts_gop]
    spoiled = [
        one._replace(payload=os.urandom(len(one.payload))) if n == begins[1] + 1 else one for n, one in enumerate(read)
    ]
    stored = await masker.mask_window(spoiled, MASKS)
    left = [*range(begins[1]), *range(begins[2], len(read))]
    assert [one.head.seq - 1 for one in stored.read] == left
    (hole,) = stored.holes
    assert (hole.cause, hole.segments) == ("unmasked", begins[2] - begins[1])
    for one in build_files(stored.read, "t")[0]:
        checked([picture for _, picture in frames(b"".join(one.buffers))])


@pytest.mark.parametrize("fault", ["hangs", "dies", "floods"])
async def test_a_dead_or_hung_process_loses_only_its_window(
    pieces: list[Piece], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    read = read_of(linked(pieces))[:3]
    with monkeypatch.context() as patched:
        if fault == "hangs":
            patched.setattr(masker, "PATIENCE_S", 0.0)
        else:
            program = "import os; os.abort()" if fault == "dies" else "while True: print('x' * 1000)"
            patched.setattr(masker, "python", lambda module: [sys.executable, "-c", program])
            patched.setattr(masker, "MOST_BYTES", 2**22)
        stored = await masker.mask_window(read, MASKS)
        assert not stored.read and sum(hole.segments for hole in stored.holes) == len(read)
    assert len((await masker.mask_window(read, MASKS)).read) == len(read)


async def test_a_failed_process_start_is_retried(pieces: list[Piece], monkeypatch: pytest.MonkeyPatch) -> None:
    """The video is not the cause: MEDIA still has it."""
    read = read_of(linked(pieces))[:3]
    with monkeypatch.context() as patched:
        patched.setattr(masker, "python", lambda module: ["/nowhere/python"])
        patched.setattr(masker, "bound", lambda command: command)
        with pytest.raises(Unread, match="can't be started: No such file"):
            await masker.mask_window(read, MASKS)
        patched.setattr(masker.catalog, "is_importable", lambda name: False)
        with pytest.raises(Unread, match=re.escape(install.command("recorder"))):
            await masker.mask_window(read, MASKS)
    assert len((await masker.mask_window(read, MASKS)).read) == len(read)


def test_the_process_gets_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATS_PASSWORD", "NATS_PASSWORD_FILE", "RECORDER_KEY_FILE", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "S3cret")
    assert "S3cret" not in plain_environment().values() and "PATH" in plain_environment()


# ---- the recorder


@pytest.mark.slow
async def test_no_unmasked_video_of_a_masked_camera_is_stored_or_served(world: World, second: Sequence[Piece]) -> None:
    policies = await world.admin.jetstream().key_value(names.RECORDINGS)
    await policies.put("camera.cam", msgspec.json.encode({"masks": MASKS}))
    recorder = world.recorder()
    row = filmed(second, range(150))
    spoiled = [one._replace(payload=os.urandom(1000)) if n in (70, 71) else one for n, one in enumerate(row)]
    await publish(world.admin, row, "other")
    await publish(world.admin, spoiled)
    await world.until_recorded(150, "other")
    files, holes = await world.until_recorded(150 + 120)
    assert holes[0] == Hole(since=BEGIN + s(70), until=BEGIN + s(72), cause="unmasked", segments=2)
    assert seconds_of(files) == {
        one.segment.start: 1 for n, one in enumerate(row[: 60 * len(files)]) if n not in (70, 71)
    }
    for file in files:
        with av.open(str(world.store / file.key)) as video:
            checked([frame.to_ndarray(format="gray") for frame in video.decode(video=0)])
    others, _ = await world.recorded("other")
    with av.open(str(world.store / others[0].key)) as video:
        assert next(video.decode(video=0)).to_ndarray(format="gray")[:120, :160].max() > 100
    found = await client_of.between(world.admin, "cam", BEGIN, BEGIN + s(200))
    assert {play.file for play in found.plays} <= {file.key for file in (await world.recorded())[0]}
    # Nor for a client that guesses the name of a future file.
    with pytest.raises(Refusal, match="cam has masks"):
        await client_of.video(world.admin, VideoRequest(camera="cam", file="live.cam/291-300", begin=0, end=1000))
    assert 'outcome="unmasked"} 2' in await recorder.says("/metrics")
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_an_unreadable_policy_may_have_masks(world: World, second: Sequence[Piece]) -> None:
    policies = await world.admin.jetstream().key_value(names.RECORDINGS)
    await policies.put("camera.cam", b'{"masks": "all"}')
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(70)))
    await until(lambda: "may have masks" in recorder.log)
    assert await world.recorded() == ([], []) and not [*world.store.rglob("*.mp4")]
    # Nor is it served from MEDIA.
    with pytest.raises(Refusal, match="may have masks"):
        await client_of.between(world.admin, "cam", BEGIN, BEGIN + s(70))
    with pytest.raises(Refusal, match="may have masks"):
        await client_of.video(world.admin, VideoRequest(camera="cam", file="live.cam/1-10", begin=0, end=100))
    await policies.delete("camera.cam")
    async with asyncio.timeout(patience_s()):
        files, _ = await world.until_recorded(60)
    assert files
    assert await recorder.end() == 0
