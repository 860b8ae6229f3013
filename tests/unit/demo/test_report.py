"""The report of a run: the count behind the promise, the chosen frames, pictures and plot."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from PIL import Image
from rich.console import Console

from shared.contract import deadletters, events, names
from shared.contract.events import DetectedObject, Detections, Frame, Quality, SegmentRef, Timing
from shared.contract.segment import Segment, to_headers
from tidegate.demo import report, timeline
from tidegate.demo.report import Observations, Run, StoredDetections, tally
from tidegate.demo.timeline import Phase
from tidegate.drawing import detections as pictures
from tidegate.local.scaling.autoscaler import ScalerState
from tidegate.view.monitor import Sample

BEGAN = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)
NONE: frozenset[int] = frozenset()


def found(label: str, score: float = 0.9) -> DetectedObject:
    return DetectedObject(label=label, score=score, box=(0.25, 0.25, 0.75, 0.75))


def event(camera: str, seq: int, *labels: str, at: float = 0.0) -> Detections:
    start = BEGAN + dt.timedelta(seconds=at)
    return Detections(
        camera=camera,
        segment=SegmentRef(stream="MEDIA", seq=seq, epoch="e", n=seq),
        start=start,
        duration=1.0,
        model="test",
        frames=[
            Frame(time=start, objects=[]),
            Frame(time=start + dt.timedelta(seconds=0.5), objects=[found(label) for label in labels]),
        ],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
    )


def stored(e: Detections, latency: float = 1.0) -> StoredDetections:
    return StoredDetections(e, e.start.timestamp() + latency)


# ---- counting


def test_all_processed() -> None:
    t = tally([1, 2, 3], [3, 1, 2], NONE, settled=3)
    assert (t.segments, t.processed, t.lost, t.duplicated, t.waiting) == (3, 3, 0, 0, 0)


def test_an_acknowledged_segment_without_event_is_lost_and_a_pending_one_waits() -> None:
    t = tally([1, 2, 3, 4, 5], [1, 3], NONE, settled=3)
    assert (t.processed, t.lost, t.waiting) == (2, 1, 2)


def test_dead_letters_stand_apart() -> None:
    t = tally([1, 2, 3], [1], frozenset({2, 3}), settled=2)
    assert (t.processed, t.lost, t.dead_lettered, t.waiting) == (1, 0, 2, 0)


def test_a_second_event_is_a_duplicate_and_foreign_events_do_not_count() -> None:
    t = tally([1, 2], [1, 1, 1, 2, 99], NONE, settled=2)
    assert (t.processed, t.duplicated, t.segments) == (2, 1, 2)


@given(st.sets(st.integers(1, 60)), st.lists(st.integers(1, 80)), st.frozensets(st.integers(1, 60)), st.integers(0, 60))
def test_every_segment_is_counted_once(segments: set[int], seqs: list[int], dead: frozenset[int], settled: int) -> None:
    t = tally(segments, seqs, dead, settled)
    assert t.processed + t.waiting + t.dead_lettered + t.lost == t.segments == len(segments)


# ---- choosing


def test_best_frame_of_each_camera_shows_most() -> None:
    run = [
        stored(event("a", 1, "car")),
        stored(event("a", 2, "car", "dog")),
        stored(event("b", 3)),
        stored(event("c", 4, "cat")),
    ]
    best = report.best_frames(run)
    assert {camera: s.event.segment.seq for camera, (s, _) in best.items()} == {"a": 2, "c": 4}


def test_overview_prefers_different_frames() -> None:
    frames = {"a": ["car", "dog"], "b": ["car", "dog"], "c": ["cat"], "d": ["cat"]}
    chosen = report.different({c: event(c, 1, *labels).frames[1] for c, labels in frames.items()}, 3)
    assert chosen == ["a", "c", "b"]


# ---- summary


def shown(summary: report.RunSummary) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(report.table(summary))
    return out.getvalue()


def scaler(replica_seconds: float) -> ScalerState:
    return ScalerState(
        time=0, pending=0, ack_pending=0, desired=0, replicas=0, peak_replicas=4, replica_seconds=replica_seconds,
        expired=0, reason="",
    )  # fmt: skip


def samples(seconds: int) -> list[Sample]:
    return [
        Sample(
            at=n / 2, segments_in=2.0, segments_out=2.0, pending=max(0, 20 - abs(n - 40)), ack_pending=1,
            desired=1 + (20 < n < 60), replicas=1, cameras_online=2 + (n > 20),
        )
        for n in range(seconds * 2)
    ]  # fmt: skip


PHASES = [Phase(name="calm", start=0, end=10), Phase(name="surge", start=10, end=40)]
OBSERVATIONS = Observations(PHASES, samples(40), BEGAN.timestamp(), scaler(40.0))


def summary(*detections: StoredDetections) -> report.RunSummary:
    run = Run(
        segments=frozenset(s.event.segment.seq for s in detections), detections=list(detections), dead=NONE,
        settled=100, lines=[],
    )  # fmt: skip
    return report.summarise(run, OBSERVATIONS)


def test_summary_compares_with_a_fleet_of_the_peaks_size() -> None:
    s = summary(stored(event("a", 1, "car", at=1.0)), stored(event("a", 2, "car", "dog", at=12.0), latency=5.0))
    assert (s.seconds, s.static_replica_seconds, s.saving) == (40.0, 160.0, 0.75)
    assert s.objects == {"car": 2, "dog": 1}
    assert s.frames_analysed == 4
    calm, surge = s.phases
    assert (calm.latency_p50_s, calm.latency_p99_s) == (0.5, 1.0)
    assert (surge.latency_p50_s, surge.latency_p99_s) == (4.5, 5.0)
    assert (surge.workers, surge.most_waiting, surge.cameras) == (2, 21, 3)


def test_summary_reports_deferred_and_backfilled_frames() -> None:
    whole, less = stored(event("a", 1, "car")), stored(event("a", 2, "car"))
    quality = Quality(fps=2.0, wanted=10.0, cause="backlog")
    less = StoredDetections(msgspec.structs.replace(less.event, quality=quality), less.at)
    run = Run(
        segments=frozenset({1, 2}), detections=[whole, less], dead=NONE, settled=100, lines=[], revised=1,
    )  # fmt: skip
    s = report.summarise(run, OBSERVATIONS)
    assert (s.frames_analysed, s.frames_later, s.revised) == (4, 8, 1)
    assert "deferred  8 frames, while workers started; segments revised later: 1" in shown(s)
    assert "deferred" not in shown(summary(whole))


def test_summary_says_when_the_machine_is_the_limit() -> None:
    """On too few cores the line of workers is flat during a surge. That is not the autoscaler's fault."""
    cores = os.cpu_count() or 1
    rows = []
    for needed in (0, cores, cores + 1):
        short = [msgspec.structs.replace(s, needed=needed if n == 30 else 0) for n, s in enumerate(samples(40))]
        run = Run(segments=NONE, detections=[], dead=NONE, settled=0, lines=[])
        rows.append(shown(report.summarise(run, Observations(PHASES, short, BEGAN.timestamp(), scaler(40.0)))))
    sentence = f"limit     this machine is the limit: the surge needed {cores + 1} workers, and it has {cores} cores"
    assert [sentence in row for row in rows] == [False, False, True], rows
    assert ["limit" in row for row in rows] == [False, False, True], rows


def test_summary_of_a_run_without_video_divides_by_nothing() -> None:
    run = Run(segments=NONE, detections=[], dead=NONE, settled=0, lines=[])
    s = report.summarise(run, Observations([], [], BEGAN.timestamp(), scaler(0.0)))
    assert (s.seconds, s.saving, s.latency_p50_s) == (0.0, 0.0, None)
    out = io.StringIO()
    Console(file=out, width=80).print(report.table(s))
    assert "0 lost, 0 duplicated" in out.getvalue()


def test_table_fits_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(report.table(summary(stored(event("a", 1, *"abcdefgh")))))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "75%" in out.getvalue()


# ---- pictures and plot


def test_boxes_and_labels_are_drawn_at_their_places() -> None:
    pixels = np.full((90, 160, 3), 128, np.uint8)
    image = pictures.annotated(pixels, [found("dog")], "a caption")
    assert image.width == pictures.WIDTH
    drawn = np.asarray(image).astype(int)
    colour = np.array([int(pictures.colour_of("dog")[i : i + 2], 16) for i in (1, 3, 5)])
    assert (np.abs(drawn[270, 241] - colour) < 12).all(), "left edge of the box"
    assert (drawn[270, 480] == 128).all(), "its inside is as it was"


def test_labels_at_the_edge_stay_inside() -> None:
    corner = DetectedObject(label="a very long label indeed", score=0.5, box=(0.97, 0.0, 1.0, 0.02))
    image = np.asarray(pictures.annotated(np.zeros((90, 160, 3), np.uint8), [corner], ""))
    colour = [int(pictures.colour_of(corner.label)[i : i + 2], 16) for i in (1, 3, 5)]
    assert (image[:540] == colour).all(axis=2).sum() > 3000, "the label's own background"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_plot_and_overview_are_pictures_of_a_sane_size(tmp_path: Path, count: int) -> None:
    plot = tmp_path / "timeline.png"
    timeline.plot(samples(40), PHASES, plot, "A title")
    with Image.open(plot) as image:
        assert image.size == (1200, 640)
    assert 10_000 < plot.stat().st_size < 200_000
    frames = [pictures.annotated(np.zeros((90 + 60 * n, 160, 3), np.uint8), [found("dog")], "x") for n in range(count)]
    pictures.overview(frames, plot, tmp_path / "overview.png")
    with Image.open(tmp_path / "overview.png") as image:
        assert image.width == 1200
        assert 640 <= image.height <= 1000
    assert (tmp_path / "overview.png").stat().st_size < 400_000


def test_plot_of_nothing(tmp_path: Path) -> None:
    timeline.plot([], [], tmp_path / "empty.png", "Nothing")
    assert (tmp_path / "empty.png").stat().st_size > 0


# ---- a real server


async def test_a_run_round_trips(admin: Client, tmp_path: Path) -> None:
    js = admin.jetstream()
    payload = video(tmp_path / "clip.mp4")
    for n in range(4):
        head = Segment(
            camera="a", epoch="e", n=n, start=BEGAN, duration=1.0, codec="h264", width=64, height=48, frames=25
        )
        await js.publish(names.media("a"), payload, headers=to_headers(head))
    for seq in (1, 2):
        e = event("a", seq, "dog")
        await js.publish(events.subject(e), events.encode(e), headers=events.headers(e, id=f"{seq}", source="/test"))
    puller = await js.pull_subscribe_bind(durable="cv", stream=names.MEDIA)
    for message in await puller.fetch(4):
        if message.metadata.sequence.stream == 3:
            headers = deadletters.dead_letter_headers(
                "cv", "bad", stream="MEDIA", seq=3, subject="media.a", deliveries=1, headers=message.headers
            )
            await js.publish(names.dead_letters("cv"), b"", headers=headers)
        if message.metadata.sequence.stream < 4:
            await message.ack_sync()
    run = await report.read_back(admin)
    assert run.segments == {1, 2, 3, 4}
    assert (run.settled, run.dead) == (3, {3})
    s = report.summarise(run, OBSERVATIONS)
    assert (s.segments.processed, s.segments.dead_lettered, s.segments.waiting, s.segments.lost) == (2, 1, 1, 0)
    out = tmp_path / "out"
    await report.write(js, run, s, OBSERVATIONS, out)
    assert {p.name for p in out.iterdir()} == {
        "camera-a.png", "events.jsonl", "overview.png", "summary.json", "summary.txt", "timeline.png",
    }  # fmt: skip
    lines = (out / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["segment"]["seq"] for line in lines] == [1, 2]
    assert json.loads((out / "summary.json").read_text())["segments"]["lost"] == 0
    with Image.open(out / "camera-a.png") as image:
        # Half a second in lies between the frames 12 and 13, whose shades are these.
        assert 12 * 8 - 4 < int(np.asarray(image)[100, 100, 0]) < 13 * 8 + 4


def video(path: Path) -> bytes:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(25):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 8, np.uint8))))
        out.mux(stream.encode(None))
    return path.read_bytes()
