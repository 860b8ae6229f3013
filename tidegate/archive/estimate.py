"""The predicted duration and cost of a run, as numbers and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from shared.models import devices
from tidegate.archive.job import Job, Piece
from tidegate.client.times import length
from tidegate.view.words import amount, counted, sized

if TYPE_CHECKING:
    from tidegate.archive.captions.captioner import Rate
    from tidegate.archive.frames.probe import ProbeResult
    from tidegate.archive.job import Job


class Estimate(NamedTuple):
    """The work of a run, and its predicted cost.

    hours: of video. size: bytes to read; each piece reads a whole file. frames: to detect objects in. embedded: frames
    to embed. captions: stretches to caption. worker_hours: at the measured speed of a worker. caption_hours: at the
    measured speed of the endpoint. hours_taken: analysis by all workers, then captions. cost: in the price's currency.
    """

    cameras: int
    pieces: int
    hours: float
    size: int
    frames: int
    embedded: int
    captions: int
    worker_hours: float
    caption_hours: float
    hours_taken: float
    cost: float | None


def estimate_run(
    job: Job,
    pieces: Sequence[Piece],
    *,
    frames_per_s: float,
    workers: int,
    captions: int = 0,
    captions_per_s: float = 1.0,
    cost_per_hour: float | None,
) -> Estimate:
    """Return the estimate. frames_per_s: of one worker. captions_per_s: of the endpoint. cost_per_hour: of each."""
    frames, embedded = sum(map(job.frames_to_detect, pieces)), sum(map(job.frames_to_embed, pieces))
    worker_hours, caption_hours = (frames + embedded) / frames_per_s / 3600, captions / captions_per_s / 3600
    return Estimate(
        cameras=len({piece.camera for piece in pieces}),
        pieces=len(pieces),
        hours=sum(piece.seconds for piece in pieces) / 3600,
        size=sum(piece.file.size for piece in pieces),
        frames=frames,
        embedded=embedded,
        captions=captions,
        worker_hours=worker_hours,
        caption_hours=caption_hours,
        hours_taken=worker_hours / workers + caption_hours,
        cost=None if cost_per_hour is None else (worker_hours + caption_hours) * cost_per_hour,
    )


def estimate_lines(
    estimate: Estimate, job: Job, workers: int, probe: ProbeResult | None, rate: Rate | None
) -> Iterator[str]:
    """Yield the lines of an estimate. workers: for analysis. probe, rate: None: no frames to analyse, no captions."""
    video = f"{length(estimate.hours * 3600)} of video of {counted(estimate.cameras, 'camera')}"
    yield f"{video}, {sized(estimate.size)} in {counted(estimate.pieces, 'piece')}"
    if probe:
        kind = "GPU" if devices.is_visible_gpu(job.device) else "worker"
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
