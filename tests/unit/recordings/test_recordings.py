"""Recordings of a camera: cut into files, found by time, and stored in a folder."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import av
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.cutting.piece import Piece
from shared.contract.segment import Segment, rfc3339
from shared.recordings import records
from shared.recordings.files import SegmentWithVideo, VideoFile, build_files
from shared.recordings.playing import Play, groups_between, playlist
from shared.recordings.records import Hour, Recorded, hour_of, hours_of
from shared.recordings.store import StoreUnavailable
from shared.recordings.stores.folder import Folder
from shared.recordings.windows import HOLE, LENGTH, LONGEST, MOST_BYTES, Head, next_window
from shared.runtime.errors import BadSegment
from shared.video import fmp4
from tests.support.video.video_world import frames, path, pieces

__all__ = ["path", "pieces"]
BEGIN = dt.datetime(2026, 11, 29, 9, 59, 30, tzinfo=dt.UTC)


def s(seconds: float) -> dt.timedelta:
    return dt.timedelta(seconds=seconds)


def head(n: int, at: float, *, key: bool = True, size: int = 1000, **more: object) -> Head:
    segment = Segment(
        camera="lobby",
        epoch="e",
        n=n,
        start=BEGIN + s(at),
        duration=1.0,
        codec="h264",
        width=640,
        height=360,
        frames=25,
    )
    segment = msgspec.structs.replace(segment, key_seq=None if key else n, **more)
    return Head(n + 1, segment, size)


# ---- windows


def test_a_file_is_a_minute_from_keyframe_to_keyframe() -> None:
    heads = [head(n, n, key=n % 2 == 0) for n in range(63)]
    assert next_window(heads[:61], ended=False) == (0, 60, "full")
    assert next_window(heads[:60], ended=False) is None
    assert next_window(heads[:60], ended=True) == (0, 60, "end")
    odd = [head(n, n, key=n % 7 == 0) for n in range(70)]
    assert next_window(odd, ended=False) == (0, 63, "full")


def test_undecodable_segments_are_skipped() -> None:
    heads = [head(n, n, key=n == 3) for n in range(5)]
    assert next_window(heads, ended=True) == (3, 2, "end")
    assert next_window(heads[:3], ended=False) == (3, 0, "end")
    assert next_window([], ended=True) is None


def test_a_gap_a_new_size_and_a_new_connection_end_a_file() -> None:
    heads = [head(0, 0), head(1, 1)]
    assert next_window([*heads, head(2, 2 + HOLE.total_seconds() + 0.01)], ended=False) == (0, 2, "hole")
    assert next_window([*heads, head(2, 0.5)], ended=False) is None
    assert next_window([*heads, head(2, 2, width=1280)], ended=False) == (0, 2, "other")
    assert next_window([*heads, head(0, 2, epoch="f")], ended=False) == (0, 2, "other")


def test_memory_is_bounded_without_keyframes() -> None:
    heads = [head(n, n, key=n == 0) for n in range(400)]
    found = next_window(heads, ended=False)
    assert found == (0, LONGEST // s(1), "long")
    large = [head(n, n, key=n == 0, size=MOST_BYTES // 3) for n in range(5)]
    assert next_window(large, ended=False) == (0, 3, "long")


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.0, 0.0, 0.4, 30.0]), st.booleans()), max_size=200),
    st.booleans(),
)
def test_every_segment_is_in_one_file_or_skipped(rows: list[tuple[bool, float, bool]], ended: bool) -> None:
    heads, at, epoch = [], 0.0, 0
    for n, (key, late, again) in enumerate(rows):
        at, epoch = at + late + 1, epoch + again
        heads.append(head(n, at, key=key, epoch=f"e{epoch}"))
    done = 0
    while found := next_window(heads[done:], ended=ended):
        row = heads[done + found.passed : done + found.passed + found.taken]
        assert found.passed + found.taken > 0
        assert not any(one.segment.starts_gop for one in heads[done : done + found.passed])
        if row:
            assert row[0].segment.starts_gop
            assert {one.segment.epoch for one in row} == {row[0].segment.epoch}
            assert all(abs(b.segment.start - a.end) <= HOLE for a, b in pairwise(row))
        if found.why == "full":
            assert row[-1].end - row[0].segment.start >= LENGTH - s(1)
        done += found.passed + found.taken
    assert done == len(heads) if ended else len(heads) - done <= 2 * LONGEST // s(1)


# ---- files


def read_of(pieces: Sequence[Piece]) -> list[SegmentWithVideo]:
    found = []
    for n, piece in enumerate(pieces, 10):
        segment = msgspec.structs.replace(piece.segment, key_seq=n - 1 if piece.dependent else None)
        found.append(SegmentWithVideo(Head(n, segment, len(piece.payload)), piece.payload))
    return found


def content(videos: VideoFile) -> bytes:
    return b"".join(videos.buffers)


def test_a_file_is_the_video_and_its_record_finds_every_second(path: Path, pieces: list[Piece]) -> None:
    (videos,), holes = build_files(read_of(pieces), "t")
    video, record = content(videos), videos.record
    assert not holes and record.size == len(video) and record.segments == len(pieces)
    assert (record.first_seq, record.last_seq) == (10, 9 + len(pieces))
    assert len(frames(video)) == 250 and len(record.sizes) == 3
    for cut, piece in zip(record.cuts, pieces, strict=True):
        assert (cut.n, cut.seq) == (piece.segment.n, 10 + piece.segment.n)
        assert (cut.frames, cut.ms) == (piece.segment.frames, round(piece.segment.duration * 1000))
        assert abs(record.start + s(cut.start_ms / 1000) - piece.segment.start) < s(0.001)
    assert record.groups[0].begin == record.head and record.groups[-1].end == len(video)
    with av.open(str(path)) as container:
        source = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    for at in (0.0, 1.5, 4.0, 7.9, 9.0):
        group = record.at(record.start + s(at))
        shown = frames(video[: record.head] + video[group.begin : group.end])
        first = round((group.start - record.start) / s(1) * 25)
        assert (shown[0][1] == frames(video)[first][1]).all() and len(shown) <= 100
        assert group.start <= record.start + s(at) < group.until
        assert abs(shown[0][1].astype(int) - source[first]).mean() < 1


def test_damaged_segments_are_skipped_with_their_dependents(pieces: list[Piece]) -> None:
    read = read_of(pieces)
    second = next(n for n, one in enumerate(read) if n and one.head.segment.starts_gop)
    spoiled = [*read[:1], read[1]._replace(payload=b"no video"), *read[2:]]
    (videos,), (hole,) = build_files(spoiled, "t")
    assert [one.head.seq for one in videos.read] == [10, *range(10 + second, 10 + len(read))]
    assert hole.cause == "damaged" and hole.segments == second - 1
    assert (hole.since, hole.until) == (read[1].head.segment.start, read[second - 1].head.end)
    assert build_files([one._replace(payload=b"") for one in read], "t") == ([], [hole_of(read)])


def hole_of(read: Sequence[SegmentWithVideo]) -> records.Hole:
    return records.Hole(since=read[0].head.segment.start, until=read[-1].head.end, cause="damaged", segments=len(read))


def test_an_index_round_trips(pieces: list[Piece]) -> None:
    (videos,), holes = build_files(read_of(pieces), "t")
    hour = Hour(camera="cam", hour=hour_of(videos.record.start), files=(videos.record,), holes=tuple(holes))
    assert records.decode(records.encode(hour), Hour) == hour


# ---- times


INSTANTS = st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))


@given(INSTANTS, st.floats(0, 400_000), st.floats(0, 300))
def test_the_hours_of_a_range_have_every_file_of_that_range(since: dt.datetime, length: float, before: float) -> None:
    until = since + s(length)
    hours = hours_of(since, until, LONGEST)
    for start in (since - min(s(before), LONGEST), since, since + s(length / 2), until):
        assert hour_of(start) in hours
        assert records.file_key("cam", start, "t").startswith(records.folder_of("cam", hour_of(start)) + "/")
    assert len(hours) <= length / 3600 + 3 and hours == sorted(set(hours))


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 10_000)), min_size=1, max_size=30), st.data())
def test_groups_cover_a_file(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    lengths, sizes = [length for length, _ in rows], tuple(size for _, size in rows)
    starts = tuple(sum(lengths[:n]) for n in range(len(lengths)))
    record = Recorded(
        key="k", start=BEGIN, end=BEGIN + s(sum(lengths) / 1000), codec="c", width=1, height=1, track="t", timescale=1,
        early=0, init=70, head=77, groups_ms=starts, sizes=sizes, first_seq=1, last_seq=1, epoch="e", last_n=1,
        segments=1,
    )  # fmt: skip
    assert [g.begin for g in record.groups[1:]] == [g.end for g in record.groups[:-1]]
    assert record.between(record.start, record.end) == record.groups
    at = BEGIN + s(data.draw(st.integers(0, sum(lengths) - 1)) / 1000)
    assert record.between(at, at + s(0.0001)) == [record.at(at)]
    assert records.covered([record], BEGIN - s(5), at) == at - BEGIN


# ---- a folder; test_recording_buckets.py tries what both stores do


async def test_an_emptied_folder_is_removed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "store")
    await folder.put("cam/2026-11-29/10/a.mp4", [b"x"])
    await folder.remove(["cam/2026-11-29/10/a.mp4"])
    assert not (tmp_path / "store/cam").exists() and (tmp_path / "store").exists()
    await folder.close()


async def test_an_unusable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    folder = Folder(tmp_path / "store")
    with pytest.raises(StoreUnavailable, match=r"the folder of recordings .*store can't be used: "):
        await folder.put("cam/a.mp4", [b"x"])
    assert (tmp_path / "store").read_text() == "a file"
    await folder.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
async def test_a_file_that_did_not_fit_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)

    def full(file: int, buffers: object) -> int:
        with Path("/dev/full").open("wb", buffering=0) as device:
            return device.write(b"x")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(StoreUnavailable, match="is full"):
        await folder.put("cam/a.mp4", [b"x"])
    assert await folder.list_objects("cam") == []
    await folder.close()


# ---- playing


def rows_of(pieces: Sequence[Piece]) -> list[VideoFile]:
    """Three files, of which the third was filmed ten seconds later."""
    read = read_of(pieces)
    keys = [n for n, one in enumerate(read) if one.head.segment.starts_gop]
    found = []
    for n, (begin, end) in enumerate(zip(keys, [*keys[1:], len(read)], strict=True)):
        row = read[begin:end]
        if n == 2:
            row = [later(one, 10) for one in row]
        (videos,), _ = build_files(row, f"t{n}")
        found.append(videos)
    assert len(found) == 3
    return found


def later(read: SegmentWithVideo, seconds: float) -> SegmentWithVideo:
    segment = read.head.segment
    moved = msgspec.structs.replace(segment, start=segment.start + s(seconds))
    return read._replace(head=read.head._replace(segment=moved))


def part(videos: VideoFile, play: Play) -> bytes:
    return fmp4.later(content(videos)[play.begin : play.end], play.ticks, play.n)


def test_files_play_as_one_continuous_video(tmp_path: Path, pieces: list[Piece]) -> None:
    videos = {one.record.key: one for one in rows_of(pieces)}
    records_ = [one.record for one in videos.values()]
    row = groups_between(records_, records_[0].start, records_[-1].end)
    assert [play.n for play in row] == [1, 2, 3] and [play.broken for play in row] == [True, False, True]
    assert {play.headed for play in row} == {records_[0].key}
    video = content(videos[records_[0].key])[: records_[0].init]
    video += b"".join(part(videos[play.file], play) for play in row)
    assert [t for t, _ in frames(video)] == pytest.approx([n / 25 for n in range(250)], abs=0.0011)


def test_players_accept_the_playlist(tmp_path: Path, pieces: list[Piece]) -> None:
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed: apt-get install ffmpeg")
    videos = {one.record.key: one for one in rows_of(pieces)}
    files_ = [one.record for one in videos.values()]
    row = groups_between(files_, files_[0].start + s(1), files_[-1].end)
    for play in row:
        (tmp_path / f"{play.n}.m4s").write_bytes(part(videos[play.file], play))
    (tmp_path / "head.mp4").write_bytes(content(videos[files_[0].key])[: files_[0].init])
    text = playlist(row, head=lambda _: "head.mp4", group=lambda play: f"{play.n}.m4s")
    assert text.count("#EXT-X-MAP") == 1 and "#EXT-X-DISCONTINUITY" not in text
    assert text.count(f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(files_[2].start)}") == 1
    (tmp_path / "video.m3u8").write_text(text)
    command = ["ffprobe", "-v", "warning", "-show_entries", "frame=pts_time", "-of", "csv=p=0"]
    done = subprocess.run([*command, "video.m3u8"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    times = [float(line.strip(",")) for line in done.stdout.split()]
    assert times == pytest.approx([n / 25 for n in range(250)], abs=0.0011)


@pytest.mark.parametrize("ms", [20.1, 20.4, 20.5, 20.6, 20.9])
def test_a_clip_begins_with_a_group_between_two_milliseconds(pieces: list[Piece], ms: float) -> None:
    read = read_of(pieces)
    second = next(n for n, one in enumerate(read) if n and one.head.segment.starts_gop)
    (videos,), _ = build_files([*read[:second], *(later(one, ms / 1000) for one in read[second:])], "t")
    record = videos.record
    row = groups_between([record], record.groups[1].start, record.end)
    video = content(videos)[: record.init] + b"".join(part(videos, play) for play in row)
    times = [t for t, _ in frames(video)]
    assert len(row) == 2 and times[0] == pytest.approx(0, abs=0.0011)
    assert [t - times[0] for t in times] == pytest.approx([n / 25 for n in range(len(times))], abs=0.0011)


@pytest.mark.parametrize("spoiled", [b"", b"\0\0\0\x08free", b"\0\0\0\x08moof", b"moof"])
def test_an_invalid_group_is_refused(spoiled: bytes) -> None:
    with pytest.raises(BadSegment):
        fmp4.later(spoiled, 1)


def test_another_track_has_its_own_header(tmp_path: Path, pieces: list[Piece]) -> None:
    first, second, third = (one.record for one in rows_of(pieces))
    other = msgspec.structs.replace(second, track="another")
    row = groups_between([first, other, third], first.start, third.end)
    assert [play.headed for play in row] == [one.key for one in (first, other, third)] and all(
        play.broken for play in row
    )
    assert [play.at for play in row] == pytest.approx([0, 4, 8])
    text = playlist(row, head=lambda play: play.headed, group=lambda play: f"{play.n}.m4s")
    assert text.count("#EXT-X-MAP") == 3 and text.endswith("#EXT-X-ENDLIST\n")
    assert groups_between([first, second], third.end, third.end + s(1)) == []
