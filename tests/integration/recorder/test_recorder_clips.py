"""The video of any time: recorded, not recorded yet, or both, as one clip without a jump."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import msgspec
import pyarrow.parquet as pq
import pytest

from services.ingest.cutting.piece import Piece
from shared.bus import requests
from shared.client import recordings, registry
from shared.contract import names
from shared.contract.cameras import Camera
from shared.contract.questions.search import Moment
from shared.contract.segment import rfc3339
from shared.recordings.playing import playlist
from shared.runtime.errors import Refusal
from tests.support.video.video_world import times
from tests.support.waiting import patience_s
from tests.support.worlds.recorder_world import BEGIN, World, filmed, publish, s, second, small, tidegate, world
from tidegate.client import clips

__all__ = ["second", "small", "world"]


def stamp(seconds: float) -> str:
    """A time after BEGIN, as a command prints it."""
    return f"{BEGIN + s(seconds):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.slow
async def test_a_clip_of_three_sources_plays_without_a_jump(
    world: World, second: Sequence[Piece], tmp_path: Path
) -> None:
    recorder = world.recorder(RECORDER_IDLE_S="300")
    row = filmed(second, range(100))
    await publish(world.admin, row)
    files, _ = await world.until_recorded(60)
    assert [file.segments for file in files] == [60]
    for name, begin, end in (("recorded", 10, 50), ("media", 70, 95), ("both", 30, 90)):
        file = tmp_path / f"{name}.mp4"
        span = [rfc3339(BEGIN + s(second)) for second in (begin, end)]
        done = await tidegate(world, "clip", "cam", str(file), "--from", span[0], "--to", span[1])
        assert done.returncode == 0, done.stderr
        assert f"{file}: " in done.stdout and "no video" not in done.stdout
        expected = [n / 25 for n in range((end - begin) * 25)]
        assert times(file) == pytest.approx(expected, abs=0.0011)
        if shutil.which("ffprobe"):
            command = ["ffprobe", "-v", "warning", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", file]
            probed = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert probed.stderr == "" and len(probed.stdout.split()) == len(expected)
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_the_same_time_is_available_as_hls(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    if not shutil.which("ffprobe"):
        pytest.skip("ffmpeg is not installed: apt-get install ffmpeg")
    recorder = world.recorder(RECORDER_IDLE_S="300")
    await publish(
        world.admin, [*filmed(second, range(70)), *filmed(second, range(20), epoch="e2", begin=BEGIN + s(80))]
    )
    await world.until_recorded(70)
    found = await recordings.between(world.admin, "cam", BEGIN + s(50), BEGIN + s(95))
    assert [(hole.cause, hole.since - BEGIN, hole.until - BEGIN) for hole in found.holes] == []
    for play in found.plays:
        (tmp_path / f"{play.n}.m4s").write_bytes(await recordings.group(world.admin, "cam", play))
    (tmp_path / "head.mp4").write_bytes(await recordings.head(world.admin, "cam", found.plays[0]))
    text = playlist(found.plays, head=lambda play: "head.mp4", group=lambda play: f"{play.n}.m4s")
    (tmp_path / "video.m3u8").write_text(text)
    command = ["ffprobe", "-v", "warning", "-show_entries", "frame=pts_time", "-of", "csv=p=0", "video.m3u8"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert [float(line.strip(",")) for line in done.stdout.split()] == pytest.approx(
        [n / 25 for n in range(35 * 25)], abs=0.0011
    )
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_recordings_are_listed_with_their_gaps(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    recorder = world.recorder()
    await publish(
        world.admin, [*filmed(second, range(60)), *filmed(second, range(20), epoch="e2", begin=BEGIN + s(90))]
    )
    await world.until_recorded(80)
    done = await tidegate(world, "recordings", "list", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = map(json.loads, done.stdout.splitlines())
    assert found["camera"] == "cam" and found["seconds"] == 80.0 and found["lost"] == {"camera": 30.0}
    named = await tidegate(world, "recordings", "list", "cam", "--files", "--json")
    rows = [json.loads(line) for line in named.stdout.splitlines()]
    first, gap, second_ = rows
    assert (gap["cause"], gap["since"], gap["until"]) == ("camera", stamp(60), stamp(90))
    for row in (first, second_):
        assert (world.store / row["key"]).stat().st_size == row["size"]
        goes, end = (dt.datetime.fromisoformat(row[name]) for name in ("goes", "end"))
        assert goes - end == dt.timedelta(days=7) and row["camera"] == "cam" and row["incident"] is False
    assert (first["start"], second_["end"]) == (stamp(0), stamp(110))
    output = await tidegate(world, "recordings", "list", "--files")
    assert [line.split("\t")[-1] for line in output.stdout.splitlines()] == [
        first["key"], "no video: camera", second_["key"]
    ]  # fmt: skip
    wrote = await tidegate(world, "recordings", "list", "--parquet", str(tmp_path / "c.parquet"))
    assert wrote.returncode == 0 and "c.parquet: 3 rows" in wrote.stderr, wrote.stderr
    first_, gap, last = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert (first_["key"], first_["missing"], first_["keyframes"]) == (first["key"], None, False)
    assert (gap["key"], gap["missing"]) == (None, "camera") and last["size"] == second_["size"]
    assert first_["end"] == gap["start"] and gap["end"] == last["start"]
    refused = await tidegate(world, "recordings", "list", "--parquet", str(tmp_path / "none" / "c.parquet"))
    assert refused.returncode == 1 and "--parquet" in refused.stderr and "Traceback" not in refused.stderr
    shown = await tidegate(
        world, "recordings", "show", "cam", "--since", rfc3339(BEGIN), "--until", rfc3339(BEGIN + s(999))
    )
    assert shown.returncode == 0, shown.stderr
    assert "no video" not in shown.stderr and "the camera sent nothing" in shown.stdout and "█" in shown.stdout
    await registry.put(world.admin.jetstream(), "cam", Camera(url="rtsp://127.0.0.1:9/x"), None)
    done = await tidegate(
        world, "recordings", "set", "cam", "--keep", "14d", "--record", "activity", "--label", "person"
    )
    assert done.stdout == "cam: activity of person, 14 d\n"
    (total,) = await recordings.totals(world.admin, "cam")
    assert (total.policy.keep_days, total.policy.record, total.policy.labels) == (14, "activity", ("person",))
    done = await tidegate(world, "recordings", "set", "cam", "--rest", "keyframes")
    assert done.stdout == "cam: activity of person, keyframes of the rest, 14 d\n"
    assert (await tidegate(world, "recordings", "unset", "cam")).returncode == 0
    done = await tidegate(world, "recordings", "set", "--group", "doors", "--of", "cam", "--of", "gate", "--keep", "9d")
    assert done.returncode == 1 and "there is no camera 'gate'" in done.stderr
    await registry.put(world.admin.jetstream(), "gate", Camera(url="rtsp://127.0.0.1:9/x"), None)
    done = await tidegate(world, "recordings", "set", "--group", "doors", "--of", "cam", "--of", "gate", "--keep", "9d")
    assert done.stdout == "group doors: of cam, gate, 9 d\n"
    (total,) = await recordings.totals(world.admin, "cam")
    assert (total.policy.keep_days, total.policy.record) == (9, "always")
    empty = await tidegate(world, "recordings", "set", "--group", "halls", "--keep", "9d")
    assert empty.returncode == 1 and "name them by --of" in empty.stderr
    nothing = await tidegate(world, "clip", "nobody", "/tmp/x.mp4", "--from", "5m")
    assert nothing.returncode == 1 and "there is no video of nobody" in nothing.stderr
    crossed = await tidegate(world, "recordings", "set", "cam", "--mask", "0,0,0.5,0.5,0.5,0,0,0.5")
    assert crossed.returncode == 1 and "its edges cross each other: give its corners in order" in crossed.stderr
    flat = await tidegate(world, "recordings", "set", "cam", "--mask", "0,0,0.5,0.5,1,1")
    assert flat.returncode == 1 and "it has no area" in flat.stderr
    masked = await tidegate(world, "recordings", "set", "cam", "--mask", "0,0,0.5,0,0.5,0.5,0,0.5")
    assert masked.returncode == 0 and "1 mask" in masked.stdout, masked.stderr
    bare = await tidegate(world, "recordings", "set", "cam", "--no-masks")
    assert bare.returncode == 0 and "mask" not in bare.stdout, bare.stderr
    bad = await tidegate(world, "recordings", "set", "cam", "--keep", "soon")
    assert bad.returncode == 1 and "--keep 'soon' is no length" in bad.stderr
    kv = await world.admin.jetstream().key_value(names.RECORDINGS)
    for spoiled in (b"{", b'{"cameras":["\xff"]}'):
        await kv.put("camera.cam", spoiled)
        unread = await tidegate(world, "recordings", "set", "cam", "--keep", "9d")
        assert unread.returncode == 1 and "the policy camera.cam can't be read" in unread.stderr, unread.stderr
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_gap_over_midnight_is_listed_once(world: World, second: Sequence[Piece]) -> None:
    """The gap is in the index of the hour in which it ends."""
    recorder = world.recorder()
    midnight = BEGIN.replace(hour=0, minute=0, second=0)
    at = (midnight - BEGIN) / s(1)
    await publish(
        world.admin,
        [
            *filmed(second, range(30), begin=midnight - s(630)),
            *filmed(second, range(30), epoch="e2", begin=midnight + s(600)),
        ],
    )
    await world.until_recorded(60)
    named = await tidegate(world, "recordings", "list", "cam", "--files", "--json")
    rows = [json.loads(line) for line in named.stdout.splitlines()]
    assert [row.get("cause") for row in rows] == [None, "camera", None], named.stderr
    assert (rows[1]["since"], rows[1]["until"]) == (stamp(at - 600), stamp(at + 600))
    assert await recorder.end() == 0


@pytest.mark.parametrize(
    ("subject", "query", "code"),
    [
        (names.RECORDING, b"?", 400),
        (names.RECORDING, b'{"camera": "cam", "since": "2026-11-29T10:00:00Z", "until": "2026-11-29T09:00:00Z"}', 400),
        (names.RECORDING, b'{"camera": "cam", "since": "2026-11-29T10:00:00Z", "until": "2026-12-29T09:00:00Z"}', 400),
        (
            names.RECORDING,
            b'{"camera": "../etc", "since": "2026-11-29T10:00:00Z", "until": "2026-11-29T11:00:00Z"}',
            400,
        ),
        (names.RECORDING_VIDEO, b'{"camera": "cam", "file": "cam/../../etc/passwd", "begin": 0, "end": 9}', 404),
        (
            names.RECORDING_VIDEO,
            b'{"camera": "cam", "file": "other/2026-11-29/09/5830-ab-0.mp4", "begin": 0, "end": 9}',
            404,
        ),
        (names.RECORDING_VIDEO, b'{"camera": "cam", "file": "cam/hours.json", "begin": 0, "end": 9}', 404),
        (names.RECORDING_VIDEO, b'{"camera": "cam", "file": "live.cam/1-99999", "begin": 0, "end": 9}', 404),
        (names.RECORDING_VIDEO, b'{"camera": "cam", "file": "live.cam/x", "begin": 0, "end": 9}', 404),
        (
            names.RECORDING_VIDEO,
            b'{"camera": "cam", "file": "cam/2026-11-29/09/5830-ab-0.mp4", "begin": 9, "end": 9}',
            400,
        ),
        (names.RECORDING_HOURS, b'{"camera": ">"}', 400),
        (names.RECORDING_HOURS, b'{"day": "2026-11-29"}', 400),
        (names.RECORDING_HOURS, b'{"camera": "cam", "day": "9999-12-31"}', 400),
    ],
)
async def test_unanswerable_requests_get_a_reason(world: World, subject: str, query: bytes, code: int) -> None:
    recorder = world.recorder()
    await recorder.until_it_says("/readyz", "^ok")
    async with asyncio.timeout(patience_s()):
        while True:
            try:
                await requests.ask(world.admin, subject, query, timeout_s=10)
            except requests.NobodyAnswers:
                await asyncio.sleep(0.1)
            except Refusal as e:
                assert e.code == code, e
                break
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_moment_that_media_has_expired_is_saved_from_recordings(
    world: World, second: Sequence[Piece], tmp_path: Path
) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(60)))
    await world.until_recorded(60)
    await world.admin.jetstream().purge_stream(names.MEDIA)
    moment = Moment(
        camera="cam", start=BEGIN + s(10), end=BEGIN + s(13), time=BEGIN + s(11), seq=11, id="i", by=["labels"],
        labels=[], has_video=False,
    )  # fmt: skip
    (path,) = await clips.keep(world.admin, tmp_path / "found", moment, print)
    assert path == tmp_path / "found.mp4" and len(times(path)) == 4 * 25
    elsewhere = msgspec.structs.replace(moment, camera="nobody")
    assert await clips.keep(world.admin, tmp_path / "nothing", elsewhere, print) == []
    assert await recorder.end() == 0
    assert await clips.keep(world.admin, tmp_path / "away", moment, print) == []


@pytest.mark.slow
async def test_a_camera_that_sends_another_size_gives_another_file(
    world: World, second: Sequence[Piece], small: Sequence[Piece], tmp_path: Path
) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(20)))
    await publish(world.admin, filmed(small, range(20), epoch="e2", begin=BEGIN + s(20)))
    await world.until_recorded(40)
    span = [rfc3339(BEGIN + s(second)) for second in (5, 35)]
    done = await tidegate(world, "clip", "cam", str(tmp_path / "x.mp4"), "--from", span[0], "--to", span[1])
    assert done.returncode == 0, done.stderr
    for name in ("x.mp4", "x-2.mp4"):
        assert times(tmp_path / name) == pytest.approx([n / 25 for n in range(15 * 25)], abs=0.0011)
        with av.open(str(tmp_path / name)) as video:
            assert video.duration == 15_000_000
    assert await recorder.end() == 0


@pytest.mark.slow
async def test_a_clip_is_seekable(world: World, second: Sequence[Piece], tmp_path: Path) -> None:
    recorder = world.recorder()
    await publish(world.admin, filmed(second, range(130)))
    await world.until_recorded(130)
    span = [rfc3339(BEGIN + s(second)) for second in (30, 110)]
    file = tmp_path / "x.mp4"
    assert (await tidegate(world, "clip", "cam", str(file), "--from", span[0], "--to", span[1])).returncode == 0
    with av.open(str(file)) as video:
        assert video.duration == 80_000_000
        video.seek(61_000_000)
        assert next(video.decode(video=0)).time == pytest.approx(61, abs=0.001)
    assert b"sidx" in file.read_bytes()[:4096]
    assert await recorder.end() == 0
