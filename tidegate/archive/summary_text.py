"""The estimate and the summary of a run, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.client.times import length
from tidegate.view.records import Right, Wrapped
from tidegate.view.words import amount, counted, sized

if TYPE_CHECKING:
    from tidegate.archive.captioner import Rate
    from tidegate.archive.estimate import Estimate
    from tidegate.archive.job import Job
    from tidegate.archive.probe import ProbeResult
    from tidegate.archive.report import Summary


FIELDS = ("camera", Right("video"), Right("frames"), Right("tracks"), Right("incidents"), Wrapped("seen"))


def estimate_lines(
    estimate: Estimate, job: Job, workers: int, probe: ProbeResult | None, rate: Rate | None
) -> Iterator[str]:
    """Yield the lines of an estimate. workers: for analysis. probe, rate: None: no frames to analyse, no captions."""
    video = f"{length(estimate.hours * 3600)} of video of {counted(estimate.cameras, 'camera')}"
    yield f"{video}, {sized(estimate.size)} in {counted(estimate.pieces, 'piece')}"
    if probe:
        kind = "GPU" if job.device.startswith("cuda") else "worker"
        embedded = f", and {estimate.embedded:,} to embed" if job.embed else ""
        where = "by cv's replicas" if job.is_live else f"on {job.device}"
        yield (
            f"{estimate.frames:,} frames{embedded}, {job.vision_models} {where}: "
            f"{probe.frames_per_s:,.1f} frames/s a worker, {amount(estimate.worker_hours)} {kind}-hours; "
            f"with {counted(workers, 'worker')} {length(estimate.worker_hours * 3600 / workers)}"
        )
    if rate:
        yield (
            f"{counted(estimate.captions, 'caption')} by {rate.model}: {rate.per_s:,.2g} a second, "
            f"{rate.concurrency} at once; {length(estimate.caption_hours * 3600)}"
        )
    cost = "" if estimate.cost is None else f", {amount(estimate.cost)} at its price"
    yield f"{length(estimate.hours_taken * 3600)} in all{cost}"


def summary_rows(summary: Summary) -> list[list[str]]:
    """Return a row for each camera, with the columns of FIELDS."""
    return [
        [
            camera.camera,
            length(camera.hours * 3600),
            f"{camera.frames:,}",
            f"{camera.tracks:,}",
            f"{camera.incidents:,}",
            ", ".join(f"{label} {count:,}" for label, count in list(camera.labels.items())[:5]),
        ]
        for camera in summary.cameras
    ]


def summary_notes(summary: Summary) -> Iterator[str]:
    """Yield what the table does not show."""
    missing, captions, failed, embedded = (
        sum(getattr(camera, field) for camera in summary.cameras)
        for field in ("missing", "captions", "uncaptioned", "embedded")
    )
    if missing:
        yield f"{length(missing * 3600)} of it could not be looked at: 'failed' in segments says why"
    if summary.captioner:
        without = f", {failed:,} could not be: 'failed' in captions says why" if failed else ""
        yield f"{captions:,} captions by {summary.captioner}{without}"
    if summary.embedder:
        yield f"{embedded:,} frames embedded by {summary.embedder}"
