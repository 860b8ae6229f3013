"""Recordings of real footage in a folder, as a recorder leaves them, and runs over them. Import fixtures by name."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from shared.recordings import files
from shared.recordings.files import SegmentWithVideo
from shared.recordings.library import Library
from shared.recordings.records import Hour, Recorded, hour_of
from shared.recordings.stores.folder import Folder
from shared.recordings.windows import Head
from tests.support.made_once import cached_file
from tidegate.archive import planning, rows
from tidegate.archive.engines.local_engine import LocalEngine
from tidegate.archive.job import DetectionSettings, Embed, Job, Piece
from tidegate.archive.results.report import write_report
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore
from tidegate.demo import clips, footage

BEGIN = dt.datetime(2026, 11, 28, 9, 59, 40, tzinfo=dt.UTC)
ENDS = str(BEGIN + dt.timedelta(hours=2))
MODEL = "openvino:ssd_mobilenet_v2_coco"
EMBED = Embed(model="openvino:efficientnet_lite3")


def recorded(store: Path, cameras: Sequence[str], files: int, *, seconds: int = 10) -> None:
    """Record that many files of each camera. cameras: each has another film."""
    videos = footage.embedded(footage.cache() / f"footage-{footage.VERSION}")
    for camera, video in zip(cameras, videos[1:], strict=False):
        asyncio.run(_fill(store, camera, video, files, seconds))


async def _fill(store: Path, camera: str, video: Path, count: int, seconds: int) -> None:
    library = Library(Folder(store))
    pieces = clips.pieces(video, camera)[:seconds]
    n, start = 0, BEGIN
    hours: dict[dt.datetime, list[Recorded]] = {}
    for k in range(count):
        read = []
        for piece in pieces:
            segment = msgspec.structs.replace(piece.segment, n=n, epoch="e1", start=start)
            n += 1
            read.append(SegmentWithVideo(Head(n, segment, len(piece.payload)), piece.payload))
            start += dt.timedelta(seconds=segment.duration)
        for videos in files.build_files(read, f"t{k}")[0]:
            await library.store.put(videos.record.key, list(videos.buffers))
            hours.setdefault(hour_of(videos.record.start), []).append(videos.record)
    for hour, found in hours.items():
        await library.close(Hour(camera=camera, hour=hour, files=tuple(found)))
    await library.store.close()


def run_request(store: Path, output: Path, **more: Any) -> planning.RunRequest:
    usual = {
        "run": "again",
        "since": BEGIN,
        "until": BEGIN + dt.timedelta(hours=5),
        "model": MODEL,
        "device": "cpu",
        "own": True,
    }
    return planning.RunRequest(
        usual=DetectionSettings(), store=str(store), output=str(output), batch_size=8, **usual | more
    )


def planned(store: Path, output: Path, **more: Any) -> tuple[Job, list[Piece]]:
    """Plan without a running system."""
    job, pieces, existing = asyncio.run(planning.plan(run_request(store, output, **more), store / "nobody"))
    assert not existing.reached
    return job, pieces


def table(output: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of a kind, by time and content."""
    found = [row for path in (output / kind).rglob("*.parquet") for row in rows.read(path.read_bytes())]
    return sorted((row | {"run": ""} for row in found), key=str)


def seen(output: Path) -> dict[str, Any]:
    """The detections of each segment, by its id."""
    found = table(output, "segments")
    by_id = {f"{row['camera']}/{row['id']}": row["frames"] for row in found}
    assert len(by_id) == len(found), "each segment once"
    return by_id


def same_vectors(output: Path, other: Path) -> bool:
    """Whether both have the same frames, each once, under the same ids, with the same vectors but for rounding."""
    ours, theirs = (_vectors(place) for place in (output, other))
    return ours.keys() == theirs.keys() and all(np.allclose(ours[key], theirs[key], atol=2e-3) for key in ours)


def _vectors(output: Path) -> dict[Any, list[float]]:
    found = table(output, "embeddings")
    by_frame = {(row["camera"], row["id"], row["time"]): row["vector"] for row in found}
    assert len(by_frame) == len(found) > 0, "each frame once"
    return by_frame


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras, each in four files of ten seconds, over the end of an hour. For tests to read."""
    return cached_file(tmp_path_factory, "archive", lambda folder: recorded(folder, ("alley", "crossing"), 4))


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an undisturbed run. For tests to read."""

    def make(folder: Path) -> None:
        done(*planned(store, folder, embed=EMBED))

    return cached_file(tmp_path_factory, "whole", make)


def done(job: Job, pieces: Sequence[Piece]) -> Run:
    with SyncStore(job.output, "--output") as results:
        run = Run.create(job, pieces, results)
        finish(run, results)
        return run


def finish(run: Run, results: SyncStore) -> None:
    engine = LocalEngine(workers=2, threads=1)
    shares = [state.done / run.frames for state in run.analyze(engine, None)]
    assert shares == sorted(shares) and (not shares or shares[-1] == 1)
    list(run.track(engine))
    with SyncStore(run.job.store, "--store") as recordings:
        write_report(run, recordings, results)


def command(store: Path, *options: str) -> list[str]:
    return ["reanalyze", "--store", str(store), "--since", str(BEGIN), "--until", ENDS, *options]
