"""How much of a segment was looked at, and how much is wanted. Pure.

look = Look.of(LEVELS[-1], wanted=5.0, floor=1.0, duration=1.0, frames=25, megapixels=2.07, images=1)
look.fps                    # 1.0: to be given to the decoder
look.quality                # of the event; None where all that is wanted was looked at
"""

from __future__ import annotations

from typing import NamedTuple

from shared.contract.events import Quality
from shared.elastic.levels import Level, sampled


class SamplingPlan(NamedTuple):
    """fps, wanted_fps: frames of a second. frames, wanted: of the segment. images, wanted_images: that are
    computed of these, in the unit of a batch's weight.

    rest, wanted_rest: megapixels that are decoded after the frame that decoding begins with. key: those of that frame.
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
        cls, level: Level, *, wanted: float, floor: float, duration: float, frames: int, megapixels: float, images: int
    ) -> SamplingPlan:
        """At a level. duration, frames: of the segment. megapixels, images: that one of its frames has, and makes."""
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
        """Of a segment whose first frame was all that was wanted of it."""
        return self._replace(frames=0, wanted=0, images=0, wanted_images=0, rest=0.0, wanted_rest=0.0)

    @property
    def quality(self) -> Quality | None:
        """What the event says; None where no frame was left out."""
        if self.frames >= self.wanted:
            return None
        return Quality(fps=round(self.fps, 4), wanted=round(self.wanted_fps, 4), cause="backlog")


def _before_last(wanted: int, frames: int) -> int:
    """How many frames after the first are decoded for so many that are spread evenly: up to the last of these."""
    return frames * (wanted - 1) // wanted
