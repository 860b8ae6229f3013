"""How many frames of a second are looked at: all that are wanted, or as few as must be. Pure.

LEVELS[1].fps(wanted=5.0, floor=1.0)        # 1.0
"""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """share: of the frames between the floor and what is wanted, how many are looked at, 0 to 1.

    cost: what a segment costs at it, as a share of full quality, with 5 frames a second wanted and a floor of 1:
    decoding and inference, as `python -m bench.bench_levels` measures them.
    """

    name: str
    share: float
    cost: float

    def fps(self, wanted: float, floor: float) -> float:
        """Frames of a second of video that are looked at. A floor above what is wanted asks for no more than that."""
        least = min(wanted, floor)
        return least + self.share * (wanted - least)


def sampled(duration: float, fps: float) -> int:
    """How many frames are taken of a segment of `duration` seconds that has as many."""
    return max(1, round(duration * fps))


# At one frame a second, cameras with a keyframe a second need no other frame decoded: the floor leaves out 80 % of the
# frames and saves 84 % of the work. Two frames a second leave out 60 % and save 45 %: there is no level between.
LEVELS = (Level("full", 1.0, 1.0), Level("floor", 0.0, 0.16))
