"""How many frames of a job the model is shown, and what that takes of a replica. Pure.

Fewer of a caption while capacity is short; verdicts and questions are always shown whole. The stretch stays what it is,
whoever works on it and however often: so all of the video has one caption, whatever dies.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.contract import jobs
from shared.contract.jobs import Job
from shared.elastic.levels import LEVELS, Level
from shared.elastic.sampling_plan import SamplingPlan

# What a job takes beside its frames, mostly for the text of its answer, is as much as so many frames take: one to five,
# we reckon, for a model of 2B to 8B parameters on a GPU. Where it is more, a fleet that leaves frames out asks for more
# replicas than it needs; where it is less, for fewer.
TEXT_FRAMES = 2.0


def frames_of(job: Job, bend: Callable[[], Level], *, wanted: int, floor: int) -> SamplingPlan:
    """wanted, floor: frames. bend: at which level a job that bends is shown. A job that is shown all is one image."""
    caption = job if isinstance(job, jobs.Caption) else None
    level = bend() if caption else LEVELS[0]
    if isinstance(job, jobs.Summarize):
        wanted = 0
    frames = round(level.fps(wanted, floor))
    share = (frames + TEXT_FRAMES) / (wanted + TEXT_FRAMES)
    # A stretch of no length to speak of has no rate that anybody could use.
    seconds = max(1.0, (caption.end - caption.start).total_seconds()) if caption else 1.0
    return SamplingPlan(
        frames / seconds, wanted / seconds, frames, wanted, share, 1.0, key=0.0, rest=0.0, wanted_rest=0.0
    )
