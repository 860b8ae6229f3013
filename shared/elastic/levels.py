"""The analysed frames per second: all wanted ones, or the required minimum. Pure.

Example:
    LEVELS[1].fps(wanted=5.0, floor=1.0)        # 1.0
"""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """share: the analysed share of the frames between the floor and the wanted ones, 0 to 1.

    cost: of a segment, as a share of full quality, with 5 wanted frames a second and a floor of 1: decoding and
    inference, as `python -m bench.bench_levels` measures them.
    """

    name: str
    share: float
    cost: float

    def fps(self, wanted: float, floor: float) -> float:
        """Return the analysed frames per second of video. A floor above the wanted frames has no effect."""
        least = min(wanted, floor)
        return least + self.share * (wanted - least)


def sampled(duration: float, fps: float) -> int:
    """Return the number of sampled frames of a segment of `duration` seconds, if it has that many."""
    return max(1, round(duration * fps))


# At one frame a second, cameras with a keyframe a second need no other frame decoded: the floor defers 80 % of the
# frames and saves 84 % of the work. Two frames a second defer 60 % and save 45 %: so there is no level between.
LEVELS = (Level("full", 1.0, 1.0), Level("floor", 0.0, 0.16))
