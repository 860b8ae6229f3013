"""Tracks as files: with video in MEDIA, only in recordings, in both, and in neither."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.ingest.cutting.piece import Piece
from shared.contract import events, names
from shared.contract.events import PathPoint, SegmentRef, Track, Tracks
from shared.contract.segment import rfc3339
from tests.support.video.video_world import frames, nearest, times
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, tidegate, world

__all__ = ["second", "world"]

BOX = (0.4, 0.4, 0.5, 0.5)


async def follow(client: Client, first: float, last: float) -> None:
    """The event of analytics for a track whose best sight is four tenths after its second second."""
    path = [PathPoint(time=BEGIN + s(first), box=BOX, score=0.5), PathPoint(time=BEGIN + s(last), box=BOX, score=0.5)]
    path.insert(1, PathPoint(time=BEGIN + s(first + 2.4), box=(0.4, 0.4, 0.6, 0.5), score=0.5))
    track = Track(
        id=f"t{first}", state="end", label="person", score=0.5, box=BOX, first=path[0].time, last=path[-1].time,
        path=path, speed=0.1,
    )  # fmt: skip
    event = Tracks(
        camera="cam",
        segment=SegmentRef(stream="MEDIA", seq=1, epoch="e", n=1),
        start=BEGIN,
        duration=1.0,
        model="m",
        tracks=[track],
    )
    await client.jetstream().publish(names.event("tracks", "cam"), events.encode(event))


@pytest.mark.slow
async def test_tracks_are_saved_with_their_video(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    recorder = world.recorder(RECORDER_IDLE_S="300")
    await publish(world.admin, filmed(second, range(100)))
    await world.until_recorded(60)
    await world.admin.jetstream().purge_stream(names.MEDIA, seq=61)
    for first, last in ((-99, -90), (10, 20), (55, 65), (80, 90)):
        await follow(world.admin, first, last)
    span = ("--since", rfc3339(BEGIN - s(100)), "--until", rfc3339(BEGIN + s(100)))
    done = await tidegate(world, "tracks", "cam", *span, "--clips", str(tmp_path / "seen"), "--json")
    assert done.returncode == 0, done.stderr
    nobody, *saved = [[Path(path) for path in json.loads(line)["saved"]] for line in done.stdout.splitlines()]
    assert nobody == [] and "there is no video of camera cam from" in done.stderr
    assert sorted((tmp_path / "seen").iterdir()) == sorted(path for both in saved for path in both)
    sent = [luma for _, luma in frames(filmed(second, range(20))[0].payload)]
    for video, picture in saved:
        # With three seconds before and after.
        assert len(times(video)) == 16 * 25
        assert (video.suffix, picture.suffix) == (".mp4", ".jpg")
    # The footage begins again with the twelfth second.
    assert nearest(saved[0][1].read_bytes(), sent) == 10
    film = await tidegate(
        world, "tracks", "cam", "--since", rfc3339(BEGIN + s(5)), "--until", rfc3339(BEGIN + s(65)),
        "--save", str(tmp_path / "film.mp4"),
    )  # fmt: skip
    assert film.returncode == 0, film.stderr
    assert abs(len(times(tmp_path / "film.mp4")) - 60 * 25) <= 1
    assert await recorder.end() == 0
    missing = await tidegate(
        world, "tracks", "cam", "--since", rfc3339(BEGIN + s(5)), "--until", rfc3339(BEGIN + s(40)),
        "--save", str(tmp_path / "gone.mp4"),
    )  # fmt: skip
    assert missing.returncode == 1 and "tidegate up --record" in missing.stderr and not (tmp_path / "gone.mp4").exists()
