"""A run of `tidegate reanalyze` in words: what it would take, and what it found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.client.times import length
from tidegate.view.records import Right, Wrapped
from tidegate.view.words import amount, counted, sized

if TYPE_CHECKING:
    from tidegate.archive.captioning import Rate
    from tidegate.archive.estimate import Estimate
    from tidegate.archive.job import Job
    from tidegate.archive.probe import Probed
    from tidegate.archive.report import Summary


FIELDS = ("camera", Right("video"), Right("frames"), Right("tracks"), Right("incidents"), Wrapped("seen"))


def estimate(found: Estimate, job: Job, workers: int, probed: Probed | None, rate: Rate | None) -> Iterator[str]:
    """Line by line. workers: that look. probed, rate: what was measured, None where there is nothing of it to do."""
    video = f"{length(found.hours * 3600)} of video of {counted(found.cameras, 'camera')}"
    yield f"{video}, {sized(found.size)} in {counted(found.pieces, 'piece')}"
    if probed:
        kind = "GPU" if job.device.startswith("cuda") else "worker"
        embedded = f", and {found.embedded:,} to embed" if job.embed else ""
        where = "by cv's replicas" if job.is_live else f"on {job.device}"
        yield (
            f"{found.frames:,} frames{embedded}, {job.eyes} {where}: {probed.frames_per_s:,.1f} frames/s a worker, "
            f"{amount(found.worker_hours)} {kind}-hours; with {counted(workers, 'worker')} "
            f"{length(found.worker_hours * 3600 / workers)}"
        )
    if rate:
        yield (
            f"{counted(found.captions, 'caption')} by {rate.model}: {rate.per_s:,.2g} a second, {rate.at_once} at "
            f"once; {length(found.caption_hours * 3600)}"
        )
    cost = "" if found.cost is None else f", {amount(found.cost)} at its price"
    yield f"{length(found.hours_taken * 3600)} in all{cost}"


def table(summary: Summary) -> list[list[str]]:
    """A row for each camera, as FIELDS has it."""
    return [
        [
            one.camera,
            length(one.hours * 3600),
            f"{one.frames:,}",
            f"{one.tracks:,}",
            f"{one.incidents:,}",
            ", ".join(f"{label} {count:,}" for label, count in list(one.labels.items())[:5]),
        ]
        for one in summary.cameras
    ]


def told(summary: Summary) -> Iterator[str]:
    """What no row of the table says."""
    missing, captions, failed, embedded = (
        sum(getattr(one, what) for one in summary.cameras)
        for what in ("missing", "captions", "uncaptioned", "embedded")
    )
    if missing:
        yield f"{length(missing * 3600)} of it could not be looked at: 'failed' in segments says why"
    if summary.captioner:
        without = f", {failed:,} could not be: 'failed' in captions says why" if failed else ""
        yield f"{captions:,} captions by {summary.captioner}{without}"
    if summary.embedder:
        yield f"{embedded:,} frames embedded by {summary.embedder}"
