"""Frames with what was followed in them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from shared.client.tracks import Followed
from shared.contract.rules import Rules
from tidegate.drawing.followed import TRAIL_S, where
from tidegate.drawing.scene import Pixels, box_over, rules_over


class Painter:
    """Rules and tracks over frames of one camera."""

    def __init__(self, found: Sequence[Followed], rules: Rules) -> None:
        self._found = found
        self._rules = rules

    def paint(self, pixels: Pixels, time: dt.datetime) -> Pixels:
        """pixels: RGB, uint8, (height, width, 3)."""
        image = rules_over(pixels, self._rules)
        draw = ImageDraw.Draw(image)
        for track, path, _ in self._found:
            box = where(path, time)
            if box is None:
                continue
            since = time - dt.timedelta(seconds=TRAIL_S)
            feet = [((p.box[0] + p.box[2]) / 2, p.box[3]) for p in path if since <= p.time <= time]
            box_over(draw, image.size, box, track.id, f"{track.label} {track.id.rpartition('-')[2]}", feet)
        draw.text((8, 6), f"{time.astimezone():%H:%M:%S.%f}"[:-5], fill="white", stroke_width=2, stroke_fill="black")
        return np.asarray(image)
