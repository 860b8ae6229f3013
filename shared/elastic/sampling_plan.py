"""The analysed and the wanted part of a segment. Pure.

Example:
    plan = SamplingPlan.of(LEVELS[-1], wanted=5.0, floor=1.0, duration=1.0, frames=25, megapixels=2.07, images=1)
    plan.fps                    # 1.0: for the decoder
    plan.quality                # of the event; None if all wanted frames were analysed
"""

from __future__ import annotations

from typing import NamedTuple

from shared.contract.events import Quality
from shared.elastic.levels import Level, sampled


class SamplingPlan(NamedTuple):
    """fps, wanted_fps: frames per second. frames, wanted: of the segment. images, wanted_images: computed from these,
    in the unit of a batch's weight.

    key: megapixels of the first decoded frame. rest, wanted_rest: megapixels decoded after it.
    """

    fps: float
    wanted_fps: float
    frames: int
    wanted: int
    images: float
    wanted_images: float
    key: float
    rest: float
    wanted_rest: float

    @classmethod
    def of(
        cls,
        level: Level,
        *,
        wanted: float,
        floor: float,
        duration: float,
        frames: int,
        megapixels: float,
        images: float,
    ) -> SamplingPlan:
        """Return the plan at a level. duration, frames: of the segment. megapixels, images: per frame."""
        fps = level.fps(wanted, floor)
        sampled_count, all_count = (min(frames, sampled(duration, rate)) for rate in (fps, wanted))
        rest, all_rest = (_before_last(n, frames) * megapixels for n in (sampled_count, all_count))
        return cls(
            fps,
            wanted,
            sampled_count,
            all_count,
            sampled_count * images,
            all_count * images,
            megapixels,
            rest,
            all_rest,
        )

    def first_frame_only(self) -> SamplingPlan:
        """Return the plan of a segment that needed only its first frame."""
        return self._replace(frames=0, wanted=0, images=0, wanted_images=0, rest=0.0, wanted_rest=0.0)

    def without_inference(self) -> SamplingPlan:
        """Return the plan of a segment whose frames were decoded, and not inferred: it is no faster replica's work."""
        return self._replace(images=0, wanted_images=0)

    @property
    def quality(self) -> Quality | None:
        """The quality for the event; None if no frame was deferred."""
        if self.frames >= self.wanted:
            return None
        return Quality(fps=round(self.fps, 4), wanted=round(self.wanted_fps, 4), cause="backlog")


def _before_last(wanted: int, frames: int) -> int:
    """Return how many frames after the first are decoded for `wanted` evenly spread ones: up to the last of these."""
    return frames * (wanted - 1) // wanted
