"""Frames with rules and tracks drawn into them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from shared.client.tracks import Followed
from shared.contract.rules import Rules
from tidegate.drawing.positions import TRAIL_S, box_at
from tidegate.drawing.scene import Pixels, draw_box, draw_rules


class Painter:
    """Draws rules and tracks into the frames of one camera."""

    def __init__(self, tracks: Sequence[Followed], rules: Rules) -> None:
        self._tracks = tracks
        self._rules = rules

    def paint(self, pixels: Pixels, time: dt.datetime) -> Pixels:
        """Return the frame with rules and tracks. pixels: RGB, uint8, (height, width, 3)."""
        image = draw_rules(pixels, self._rules)
        draw = ImageDraw.Draw(image)
        for track, path, _ in self._tracks:
            box = box_at(path, time)
            if box is None:
                continue
            since = time - dt.timedelta(seconds=TRAIL_S)
            feet = [((p.box[0] + p.box[2]) / 2, p.box[3]) for p in path if since <= p.time <= time]
            draw_box(draw, image.size, box, track.id, f"{track.label} {track.id.rpartition('-')[2]}", feet)
        draw.text((8, 6), f"{time.astimezone():%H:%M:%S.%f}"[:-5], fill="white", stroke_width=2, stroke_fill="black")
        return np.asarray(image)
