"""`tidegate reanalyze`: recordings are analysed again, each segment once, despite the death of any process."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.settings import limits_here
from shared.contract import rules as book
from shared.contract.names import MEDIA
from shared.recordings.records import Cut, Recorded
from shared.runtime.errors import SettingError, TidegateError
from tests.support.processes.command_line import COMMAND, tidegate
from tests.support.waiting import patience_s
from tests.support.worlds.archive_world import (
    BEGIN,
    EMBED,
    command,
    done,
    finish,
    planned,
    same_vectors,
    seen,
    store,
    table,
    whole,
)
from tidegate.archive import job as jobs
from tidegate.archive.engines.local_engine import LocalEngine
from tidegate.archive.estimate import estimate_run
from tidegate.archive.frames.decoding import FILE_MISSING
from tidegate.archive.job import DetectionSettings, Job
from tidegate.archive.run import Run
from tidegate.archive.sync_store import SyncStore

__all__ = ["store", "whole"]

RULES = b"rules: [{id: somebody, kind: count, over: 0, alert: start, verify: Who is there?}]"


# ---- the results


@pytest.mark.slow
def test_every_segment_is_analysed_once_under_its_live_id(whole: Path) -> None:
    found = table(whole, "segments")
    assert len(found) == 2 * 4 * 10 and not any(row["failed"] for row in found)
    assert {row["id"] for row in found} == {f"cv/ssd_mobilenet_v2_coco/{MEDIA}/{n}" for n in range(1, 41)}
    assert {len(row["frames"]) for row in found} == {5}
    objects = table(whole, "detections")
    assert {"person", "bicycle"} <= {row["label"] for row in objects}
    assert len(objects) == sum(len(frame["objects"]) for row in found for frame in row["frames"])
    assert all(0 <= row["x1"] < row["x2"] <= 1 and row["time"].tzinfo for row in objects)


@pytest.mark.slow
def test_a_frame_a_second_is_embedded_under_its_live_id(whole: Path) -> None:
    found = table(whole, "embeddings")
    assert len(found) == 2 * 4 * 10 and all(row["time"] == row["start"] for row in found)
    assert {row["id"] for row in found} == {f"embed/efficientnet_lite3/{MEDIA}/{n}" for n in range(1, 41)}
    assert all(len(row["vector"]) == 1280 and row["model"] == "efficientnet_lite3" for row in found)


@pytest.mark.slow
def test_a_run_for_vectors_alone_detects_nothing(store: Path, whole: Path, tmp_path: Path) -> None:
    options = ("--output", str(tmp_path / "out"), "--camera", "alley", "--model", "none", "--embed", EMBED.model)
    output = json.loads(tidegate(tmp_path, *command(store, *options, "--dry-run", "--json")).stdout)
    assert (output["frames"], output["embedded"]) == (0, 40) and output["worker_hours"] > 0
    assert "40 frames embedded" in tidegate(tmp_path, *command(store, *options)).stdout
    assert not table(tmp_path / "out", "detections") and not table(tmp_path / "out", "tracks")
    of_alley = [row["vector"] for row in table(whole, "embeddings") if row["camera"] == "alley"]
    found = [row["vector"] for row in table(tmp_path / "out", "embeddings")]
    assert np.allclose(found, of_alley, atol=2e-3) and len(found) == 40
    page = (tmp_path / "out" / "report.html").read_text()
    assert "40 embedded by" in page and "none" not in page


@pytest.mark.slow
def test_tracks_and_incidents_follow_from_detections(store: Path, whole: Path, tmp_path: Path) -> None:
    tracks = table(whole, "tracks")
    assert {row["camera"] for row in tracks} == {"alley", "crossing"} and not table(whole, "incidents")
    assert all(row["path"] and row["first"] <= row["last"] for row in tracks)
    # By rules, and from the detections alone.
    run = done(*planned(store, tmp_path / "out", rules=book.read(RULES, "here"), cameras=("alley",)))
    (incident, *_) = table(tmp_path / "out", "incidents")
    assert (incident["camera"], incident["rule"], incident["condition"]) == ("alley", "somebody", "count")
    assert table(tmp_path / "out", "tracks") == [row for row in tracks if row["camera"] == "alley"]
    assert run.job.looks.keys() == {"alley"}


@pytest.mark.slow
def test_a_report_has_sums_and_pictures(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert [one["camera"] for one in summary["cameras"]] == ["alley", "crossing"]
    assert {(one["frames"], one["missing"]) for one in summary["cameras"]} == {(200, 0)}
    page = (whole / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<script" not in page and "http" not in re.sub(r"base64,[^\"]*", "", page)


@given(st.integers(-5, 70), st.integers(1, 80), st.integers(1, 12))
def test_pieces_are_the_segments_of_the_time_once_each(since: int, length: int, fps: int) -> None:
    files = [file(n) for n in range(3)]
    begin = BEGIN + dt.timedelta(seconds=since)
    job = Job(
        run="r", store="", output="", since=begin, until=begin + dt.timedelta(seconds=length),
        model="torchvision:any", limits=limits_here(), looks={"cam": DetectionSettings(fps=fps)},
    )  # fmt: skip
    pieces = list(jobs.pieces("cam", files, job))
    within = [cut.seq for f in files for cut in f.cuts if since <= cut.seq - 1 < since + length]
    assert [cut.seq for piece in pieces for cut in piece.cuts] == within
    assert len({piece.key for piece in pieces}) == len(pieces)
    image = 1920 * 1080 * 3
    assert all(len(p.cuts) == 1 or p.frames(DetectionSettings(fps=fps)) * image <= jobs.MOST_BYTES for p in pieces)
    assert [msgspec.json.decode(msgspec.json.encode(piece), type=jobs.Piece) for piece in pieces] == pieces


def file(n: int) -> Recorded:
    """Twenty seconds in segments of a second, numbered by the second."""
    first, start = 20 * n, BEGIN + dt.timedelta(seconds=20 * n)
    return Recorded(
        key=f"cam/2026-11-28/09/{n}.mp4", start=start, end=start + dt.timedelta(seconds=20), codec="avc1.64001f",
        width=1920, height=1080, track="t", timescale=90000, early=0, init=1, head=1, groups_ms=(0,), sizes=(1,),
        first_seq=first + 1, last_seq=first + 20, epoch="e", last_n=first + 19, segments=20,
        cuts=tuple(Cut(first + k + 1, first + k, 1000 * k, 1000, 25) for k in range(20)),
    )  # fmt: skip


# ---- before the run


@pytest.mark.slow
def test_a_dry_run_estimates_the_work_and_writes_nothing(store: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--output", str(output), "--dry-run", "--price", "2", "--json", "--workers", "4")
    printed = json.loads(tidegate(tmp_path, *command(store, *options)).stdout)
    assert (printed["cameras"], printed["pieces"], printed["frames"]) == (2, 8, 400)
    assert printed["hours"] == pytest.approx(80 / 3600)
    assert printed["worker_hours"] == pytest.approx(400 / 3600 / printed["frames_per_s"], rel=0.01)
    assert printed["cost"] == pytest.approx(2 * printed["worker_hours"])
    assert printed["hours_taken"] == pytest.approx(printed["worker_hours"] / 4)
    assert not output.exists() or not list(output.iterdir())


def test_an_estimate_counts_read_and_analysed_video() -> None:
    job = Job(
        run="r", store="", output="", since=BEGIN, until=BEGIN + dt.timedelta(hours=1), model="torchvision:any",
        looks={"cam": DetectionSettings(fps=5)}, limits=limits_here(),
    )  # fmt: skip
    pieces = list(jobs.pieces("cam", [file(0)], job))
    assert len(pieces) > 1
    found = estimate_run(job, pieces, frames_per_s=10, workers=2, cost_per_hour=None)
    assert (found.size, found.frames, found.cost) == (len(pieces) * file(0).size, 100, None)
    assert found.hours_taken == pytest.approx(100 / 10 / 3600 / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--camera", "nobody"), "nothing of nobody is recorded in "),
        (("--since", "2026-11-01T00:00:00Z", "--until", "2026-11-02T00:00:00Z"), "tidegate recordings list"),
        (("--since", "1m", "--until", "2m"), "--until is to be after --since"),
        (("--model", "openvino:none"), "openvino:none"),
        (("--embed", "openvino:none"), "openvino:none"),
        (("--model", "none"), "give --embed"),
        (("--tiles", "9x9"), "tiles"),
        (("--fps", "200"), "120"),
        (("--min-score", "nan"), "no finite number"),
        (("--camera", "../x"), "camera id"),
        (("--camera", "/etc"), "camera id"),
        (("--store", "ftp://x"), "s3://"),
    ],
)
def test_mistakes_are_reported_before_the_work(
    store: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    refused = tidegate(tmp_path, *command(store, "--output", str(tmp_path / "out"), *options), check=False)
    assert refused.returncode in (1, 2) and words in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("CV_PRECISION", "int8", "needs a quantised file"), ("CV_RUNTIME", "onnxruntime", "is for .onnx and .xml files")],
)
def test_settings_of_cv_reach_the_detector_of_a_run(
    store: Path, tmp_path: Path, name: str, value: str, words: str
) -> None:
    """Each is one that the embedded detector refuses."""
    out = str(tmp_path / "out")
    refused = tidegate(tmp_path, *command(store, "--output", out), check=False, settings={name: value})
    assert refused.returncode == 1 and words in refused.stderr, refused.stderr


@pytest.mark.slow  # it may be the first to need `whole`
def test_resuming_accepts_no_other_options(whole: Path, tmp_path: Path) -> None:
    for options, words in (
        (("--resume", str(whole), "--fps", "10"), "leave out --fps"),
        (("--resume", str(tmp_path / "nowhere")), "give --resume the place that --output named"),
    ):
        refused = tidegate(tmp_path, "reanalyze", *options, check=False)
        assert refused.returncode == 1 and words in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.slow
def test_an_unreachable_store_differs_from_one_with_missing_files(store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "recordings"
    shutil.copytree(store, copied)
    job, pieces = planned(copied, tmp_path / "out")
    shutil.rmtree(copied)
    with SyncStore(job.output, "--output") as results, pytest.raises(TidegateError, match="that all machines mount"):
        list(Run.create(job, pieces, results).analyze(LocalEngine(workers=1, threads=1), None))
    assert not (tmp_path / "out" / "segments").exists()


def test_an_index_that_names_files_elsewhere_is_refused(store: Path, tmp_path: Path) -> None:
    copied = tmp_path / "recordings"
    shutil.copytree(store, copied)
    for index in (copied / "alley").rglob("index.json"):
        index.write_text(index.read_text().replace('"key":"alley/', '"key":"crossing/../alley/'))
    with pytest.raises(TidegateError, match="none of its own"):
        planned(copied, tmp_path / "out")


@pytest.mark.slow  # it may be the first to need `whole`
def test_a_second_run_in_the_same_place_is_refused(store: Path, whole: Path) -> None:
    job, pieces = planned(store, whole)
    with SyncStore(str(whole), "--output") as results, pytest.raises(SettingError, match="--resume"):
        Run.create(job, pieces, results)


# ---- killed processes


@pytest.mark.slow
def test_a_resumed_run_does_only_the_rest(whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    missing = sorted((output / "segments").rglob("*.parquet"))[:3]
    remaining = {
        path: path.stat().st_mtime_ns for path in (output / "segments").rglob("*.parquet") if path not in missing
    }
    for path in missing:
        path.unlink()
    shutil.rmtree(output / "tracks")
    with SyncStore(str(output), "--resume") as results:
        run = Run.load(results)
        assert len(run.todo) == 3
        finish(run, results)
    assert seen(output) == seen(whole) and same_vectors(output, whole)
    assert table(output, "tracks") == table(whole, "tracks")
    assert {path: path.stat().st_mtime_ns for path in remaining} == remaining


def workers(leader: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in leader.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


@pytest.mark.slow
def test_a_kill_of_any_process_loses_and_repeats_nothing(store: Path, whole: Path, tmp_path: Path) -> None:
    """Kill the workers one by one, and then their leader."""
    output = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, *command(store, "--output", str(output), "--workers", "2", "--embed", EMBED.model)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"TIDEGATE_DATA": str(tmp_path / "data")},
    )  # fmt: skip
    leader = psutil.Process(process.pid)
    killed = 0
    while len(list((output / "segments").rglob("*.parquet"))) < 4 and process.poll() is None:
        if len(list((output / "segments").rglob("*.parquet"))) > killed and (team := workers(leader)):
            team[0].kill()
            killed += 1
        time.sleep(0.05)
    assert killed
    assert process.poll() is None, "it was to be killed, too"
    orphans = leader.children(recursive=True)
    process.kill()
    process.wait(patience_s())
    _, alive = psutil.wait_procs(orphans, timeout=patience_s())
    assert not alive, "workers end with who leads them"
    tidegate(tmp_path, "reanalyze", "--resume", str(output))
    assert seen(output) == seen(whole) and same_vectors(output, whole)
    assert table(output, "tracks") == table(whole, "tracks")


@pytest.mark.slow
def test_ctrl_c_prints_the_resume_command(store: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, *command(store, "--output", str(output), "--workers", "1")], stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, env=os.environ | {"TIDEGATE_DATA": str(tmp_path / "data")},
    )  # fmt: skip
    while not list((output / "segments").rglob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=patience_s())
    assert (
        process.returncode == 130 and f"tidegate reanalyze --resume {output}" in printed and "Traceback" not in printed
    )
    tidegate(tmp_path, "reanalyze", "--resume", str(output))
    assert seen(output) == seen(whole)


@pytest.mark.slow
def test_unreadable_files_are_reported_and_harm_nothing_else(store: Path, whole: Path, tmp_path: Path) -> None:
    """A file that is missing by now, a truncated one, and one with a damaged segment."""
    copied = tmp_path / "recordings"
    shutil.copytree(store, copied)
    first, second, third, *_ = sorted((copied / "alley").rglob("*.mp4"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:50_000])
    data = bytearray(third.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    third.write_bytes(data)
    done(*planned(copied, tmp_path / "out"))
    found = table(tmp_path / "out", "segments")
    failed = [row for row in found if row["failed"]]
    assert len([row for row in failed if row["failed"] == FILE_MISSING]) == 10
    assert 20 <= len(failed) <= 30 and all(row["camera"] == "alley" for row in failed)
    expected = {id: frames for id, frames in seen(whole).items() if id.startswith("crossing/")}
    assert {id: frames for id, frames in seen(tmp_path / "out").items() if id.startswith("crossing/")} == expected
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["cameras"][0]["missing"] > 0 and summary["cameras"][1]["missing"] == 0


@pytest.mark.slow
def test_a_full_or_absent_store_ends_the_run_with_the_reason(store: Path, tmp_path: Path) -> None:
    job, pieces = planned(store, tmp_path / "out")
    with SyncStore(str(tmp_path / "out"), "--output") as results:
        run = Run.create(job, pieces, results)
        (tmp_path / "out" / "segments").write_text("in the way")
        with pytest.raises(TidegateError, match="can't be used: File exists"):
            list(run.analyze(LocalEngine(workers=1, threads=1), None))


def test_options_override_defaults(store: Path, tmp_path: Path) -> None:
    job, _ = planned(store, tmp_path, fps=2.0, classes=("person",))
    assert job.looks["alley"] == DetectionSettings(fps=2.0, classes=("person",))
