"""How many frames of a second are looked at: all that are wanted, or fewer, down to a floor. Pure.

LEVELS[2].fps(wanted=5.0, floor=1.0)        # 1.0
"""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """share: of the frames between the floor and what is wanted, how many are looked at, 0 to 1."""

    name: str
    share: float

    def fps(self, wanted: float, floor: float) -> float:
        """Frames of a second of video that are looked at. A floor above what is wanted asks for no more than that."""
        least = min(wanted, floor)
        return least + self.share * (wanted - least)


def sampled(duration: float, fps: float) -> int:
    """How many frames are taken of a segment of `duration` seconds that has as many."""
    return max(1, round(duration * fps))


# The first looks at everything. At one frame a second, cameras with a keyframe a second need no other frame decoded.
LEVELS = (Level("full", 1.0), Level("reduced", 0.5), Level("floor", 0.0))
