"""Keyframes of unimportant video stay by policy: each lasts until the next, none is lost, none changes."""

from __future__ import annotations

import datetime as dt
import io
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
from msgspec.structs import replace
from nats.aio.client import Client

from services.recorder.keeping import SETTLE, Keeper
from services.recorder.ledgers import Ledgers
from services.recorder.rest import rest_of
from shared.contract import names
from shared.recordings import cutting, files
from shared.recordings.files import SegmentWithVideo, VideoFile
from shared.recordings.library import Library
from shared.recordings.playing import groups_between
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import HOUR, Hour, Recorded, folder_of
from shared.recordings.stores.folder import Folder
from shared.recordings.thinning import keyframe_segments
from shared.recordings.windows import Head
from shared.video.decode import decode
from tests.support.video import footage
from tests.support.worlds.incidents import incident, say
from tidegate.demo import clips

SECOND = dt.timedelta(seconds=1)
AT = (dt.datetime.now(dt.UTC) - 3 * HOUR).replace(minute=0, second=0, microsecond=0)
SETTLED = AT + HOUR + SETTLE
RATHER = EffectivePolicy(record="incidents", rest="keyframes", before_s=0, after_s=0)


def video_file(video: Path, begin: dt.datetime, first: int = 0) -> VideoFile:
    """A recording of a video, as a recorder leaves it."""
    pieces, read = clips.pieces(video, "cam"), list[SegmentWithVideo]()
    shift = begin - pieces[0].segment.start
    for n, piece in enumerate(pieces, first):
        segment = replace(piece.segment, n=n, epoch="e", start=piece.segment.start + shift)
        read.append(SegmentWithVideo(Head(n + 1, segment, len(piece.payload)), piece.payload))
    (found,), holes = files.build_files(read, f"t{first}")
    assert not holes
    return found


def data_of(one: VideoFile) -> bytes:
    return b"".join(one.buffers)


def shown(data: bytes) -> list[tuple[float, bool, np.ndarray]]:
    """When each picture is shown, whether it is a keyframe, and its luma."""
    with av.open(io.BytesIO(data)) as container:
        return [
            (float(f.pts * f.time_base), bool(f.key_frame), f.to_ndarray(format="gray"))
            for f in container.decode(video=0)
        ]


@pytest.mark.parametrize(
    ("codec", "gop", "b_frames"),
    [("libx264", 25, 0), ("libx264", 100, 0), ("libx264", 50, 2), ("libx264", 13, 0), ("libx265", 75, 0)],
)
def test_keyframes_of_a_file_last_until_the_next(tmp_path: Path, codec: str, gop: int, b_frames: int) -> None:
    whole = video_file(footage.make(tmp_path / "v.mp4", codec=codec, gop=gop, b_frames=b_frames, frames=250), AT)
    (thin,), holes = files.build_files(keyframe_segments("cam", whole.record, data_of(whole)), "k")
    assert not holes and len(data_of(thin)) < len(data_of(whole)) / 4
    # libav skips the pictures of an open group that are shown before its keyframe.
    keys = [one for one in shown(data_of(whole)) if one[1]]
    found = shown(data_of(thin))
    assert len(found) == len(keys) == -(-250 // gop)
    for (at, _, luma), (expected, _, before) in zip(found, keys, strict=True):
        assert at == pytest.approx(expected, abs=0.0011) and np.array_equal(luma, before)
    record = thin.record
    assert abs(record.start - whole.record.start) <= 0.0011 * SECOND
    assert abs(record.end - whole.record.end) <= 0.0011 * SECOND
    assert (record.first_seq, record.codec) == (1, whole.record.codec)
    # It is played as one video, with no hole.
    row = groups_between([record], record.start, record.end)
    assert sum(play.seconds for play in row) == pytest.approx(10, abs=0.01)
    assert all(not play.broken for play in row[1:])
    of_whole = {one.seq: one.segment for one in cutting.split_file("cam", whole.record, data_of(whole))}
    for one in cutting.split_file("cam", record, data_of(thin)):
        live = of_whole[one.seq]
        assert (one.segment.n, one.segment.epoch) == (live.n, live.epoch), "events are about the same segments"
        pictures = decode(one.payload, before=one.before, fps=100, frames=one.segment.frames).pictures
        assert len(pictures) == one.segment.frames
    # Once more nothing changes.
    ((again,), _) = files.build_files(keyframe_segments("cam", record, data_of(thin)), "k")
    assert data_of(again) == data_of(thin)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed: apt-get install ffmpeg")
def test_ffmpeg_plays_it_without_warnings(tmp_path: Path) -> None:
    whole = video_file(footage.make(tmp_path / "v.mp4", gop=50, b_frames=2, frames=500), AT)
    (thin,), _ = files.build_files(keyframe_segments("cam", whole.record, data_of(whole)), "k")
    path = tmp_path / "k.mp4"
    path.write_bytes(data_of(thin))
    command = ["ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    requests = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    assert float(subprocess.check_output(requests)) == pytest.approx(20, abs=0.01)


# ---- the recorder


class House:
    """A keeper, and an hour of four files of ten seconds; an incident is in the third."""

    def __init__(self, client: Client, folder: Path, ledgers: Ledgers, video: Path) -> None:
        self.path, self.video = folder, video
        self.library = Library(Folder(folder))
        self.keeper = Keeper(client, self.library, ledgers, self, lambda camera: EffectivePolicy())  # type: ignore[arg-type]
        self.whole: list[Recorded] = []

    def has(self, camera: str) -> bool:
        return True

    async def record(self) -> None:
        for n in range(4):
            one = video_file(self.video, AT + 10 * n * SECOND, 10 * n)
            await self.library.store.put(one.record.key, list(one.buffers))
            self.whole.append(one.record)
        await self.library.close(Hour(camera="cam", hour=AT, files=tuple(self.whole)))

    async def files(self) -> list[Recorded]:
        """The files in the index; the store has each of them, and the catalogue their sums."""
        hour = await self.library.hour("cam", AT)
        assert hour and not hour.holes
        held = {one.key: one.size for one in await self.library.store.list_objects(folder_of("cam", AT))}
        assert all(held[file.key] == file.size for file in hour.files)
        (total,) = (await self.library.catalogue("cam")).hours
        assert (total.files, total.size) == (len(hour.files), sum(file.size for file in hour.files))
        return list(hour.files)


@pytest_asyncio.fixture
async def house(admin: Client, tmp_path: Path) -> AsyncIterator[House]:
    kv = await admin.jetstream().key_value(names.RECORDER)
    video = footage.make(tmp_path / "v.mp4", frames=250)
    house = House(admin, tmp_path / "store", Ledgers(admin.jetstream(), kv), video)
    await house.record()
    time = AT + 25 * SECOND
    await say(admin, incident("a", "cam", start=time, state="end", end=time, time=time))
    yield house
    await house.library.store.close()


async def test_an_hour_keeps_important_video_and_keyframes_of_the_rest(house: House) -> None:
    await house.keeper.keep("cam", RATHER, SETTLED)
    found = await house.files()
    assert [(file.keyframes, file.incident) for file in found] == [
        (True, False), (True, False), (False, True), (True, False),
    ]  # fmt: skip
    assert found[2] == replace(house.whole[2], incident=True)
    assert all(thin.size < whole.size / 3 for thin, whole in zip(found, house.whole, strict=True) if thin.keyframes)
    # It is one video, of pictures that are shown for longer or shorter.
    row = groups_between(found, AT, AT + 40 * SECOND)
    assert len(row) == 40 and {play.headed for play in row} == {found[0].key}
    assert not any(play.broken for play in row[1:]) and row[-1].at == pytest.approx(39, abs=0.01)
    left = {path.name for path in (house.path / folder_of("cam", AT)).iterdir()}
    assert left == {"index.json", *(file.key.rpartition("/")[2] for file in found)}
    # It is removed by age, like all files.
    await house.keeper.keep("cam", RATHER, AT + 8 * 24 * HOUR)
    hour = await house.library.hour("cam", AT)
    assert hour and [file.incident for file in hour.files] == [True]


async def test_rest_nothing_keeps_nothing_of_the_rest(house: House) -> None:
    await house.keeper.keep("cam", replace(RATHER, rest="nothing"), SETTLED)
    hour = await house.library.hour("cam", AT)
    assert hour and [file.incident for file in hour.files] == [True] and len(hour.holes) == 3


@pytest.mark.parametrize("dies", range(1, 10))
async def test_another_process_continues_after_a_crash(
    house: House, monkeypatch: pytest.MonkeyPatch, dies: int
) -> None:
    """Die once at each call that changes the store."""
    left = [dies]

    class Dead(Exception):
        pass

    def mortal(name: str) -> None:
        whole = getattr(house.library.store, name)

        async def call(*given: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Dead
            return await whole(*given)

        monkeypatch.setattr(house.library.store, name, call)

    for name in ("put", "remove"):
        mortal(name)
    try:
        await house.keeper.keep("cam", RATHER, SETTLED)
    except Dead:
        await house.keeper.keep("cam", RATHER, SETTLED)
    found = await house.files()
    assert [file.keyframes for file in found] == [True, True, False, True]
    assert [file.start for file in found] == [file.start for file in house.whole]


async def test_video_that_cannot_be_thinned_stays_whole(house: House) -> None:
    first, second, *_ = house.whole
    (house.path / first.key).write_bytes(b"x" * first.size)
    (house.path / second.key).unlink()
    store = house.library.store
    assert await rest_of(store, "cam", first, RATHER) == [first]
    assert await rest_of(store, "cam", second, RATHER) == []
    assert await rest_of(store, "cam", house.whole[3], replace(RATHER, record="never")) == []
    (thin,) = await rest_of(store, "cam", house.whole[3], RATHER)
    assert thin.keyframes and await rest_of(store, "cam", thin, RATHER) == [thin]
