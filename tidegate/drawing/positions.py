"""The position of a tracked object at a time. Pure."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Sequence

from shared.contract.events import Box, PathPoint

# Seconds to show a box after its last frame: more than a frame interval at 2 fps.
SHOWN_S = 0.6
TRAIL_S = 4.0


def box_at(path: Sequence[PathPoint], time: dt.datetime) -> Box | None:
    """Return the box, interpolated between a path's points; None before the first and after the last."""
    times = [p.time for p in path]
    i = bisect_right(times, time)
    if i == 0:
        return None
    last = path[i - 1]
    if i == len(path):
        return last.box if (time - last.time).total_seconds() <= SHOWN_S else None
    after = path[i]
    share = (time - last.time) / (after.time - last.time)
    return tuple(a + share * (b - a) for a, b in zip(last.box, after.box, strict=True))  # type: ignore[return-value]
