"""The number of frames that the model gets for a job, and their cost. Pure.

A caption gets fewer while capacity is short; verdicts and questions always get all. The stretch is the same for every
replica and every try. So all of the video has one caption, whichever process dies.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.contract.work import jobs
from shared.contract.work.jobs import Job
from shared.elastic.levels import LEVELS, Level
from shared.elastic.sampling_plan import SamplingPlan

# The cost of a job besides its frames, mostly for the text of its answer, in frames. We estimate one to five for a
# model of 2B to 8B parameters on a GPU. If it is more, a fleet that defers frames asks for more replicas than it needs;
# if it is less, for fewer.
TEXT_FRAMES = 2.0


def frames_of(job: Job, level_of: Callable[[], Level], *, wanted: int, floor: int) -> SamplingPlan:
    """Return a job's plan. wanted, floor: frames. level_of: for degradable jobs; others count as one image."""
    caption = job if isinstance(job, jobs.Caption) else None
    level = level_of() if caption else LEVELS[0]
    if isinstance(job, jobs.Summarize):
        wanted = 0
    frames = round(level.fps(wanted, floor))
    share = (frames + TEXT_FRAMES) / (wanted + TEXT_FRAMES)
    # A very short stretch has no meaningful rate.
    seconds = max(1.0, (caption.end - caption.start).total_seconds()) if caption else 1.0
    return SamplingPlan(
        frames / seconds, wanted / seconds, frames, wanted, share, 1.0, key=0.0, rest=0.0, wanted_rest=0.0
    )
