"""An object that is followed: what is known of it, and where it stands. Plain data, so that it can be stored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from services.analytics import geometry
from services.analytics.geometry import Point

Box = tuple[float, float, float, float]

# Speed and direction are of this last time.
MOVEMENT_S = 1.0
# Below this a box's jitter has a direction too: heights of the frame a second, and heights of the object.
LEAST_SPEED, LEAST_SPEED_OF_OWN = 0.01, 0.15
# A box that has kept so much of its place has not moved; and what is elsewhere for less than this was only half hidden
# by something in front of it.
SAME_PLACE, MOVED_S = 0.6, 1.0
# What is cut off by the frame's edge stands just inside it, and so inside of a zone that reaches there.
EDGE = 1e-6
# From when on it counts as stationary.
STATIONARY_S = 5.0


class Spot(msgspec.Struct, array_like=True):
    """A point of its path. score: None where it lies between two others."""

    time: float
    box: Box
    score: float | None


class Membership(msgspec.Struct, array_like=True):
    """Of a zone. inside: as settled, since then. passed: when it has passed the border since. turning: whether a frame
    has seen it clearly on the other side.
    """

    inside: bool
    since: float
    passed: float | None = None
    turning: bool = False


class Side(msgspec.Struct, array_like=True):
    """Of a line. side: where it last was for certain, -1 left, 1 right. met: when it has passed over the line since."""

    side: int = 0
    met: float | None = None


class Elsewhere(msgspec.Struct, array_like=True):
    """Not where it has stayed, from a time on. since: for how long it has been in this box's place."""

    begun: float
    box: Box
    since: float


class FollowedObject(msgspec.Struct):
    """times: Unix seconds. votes: sum of scores by label. score: the best. path: since its last event.

    seen: in how many frames. told, zones_told: when its last event was, and which zones that named. steps: where its
    middle was in the last second. still_box: where it has stayed since `still_since`. elsewhere: where it seems to be.
    """

    id: str
    votes: dict[str, float]
    score: float
    box: Box
    first: float
    last: float
    still_box: Box
    still_since: float
    seen: int = 0
    path: list[Spot] = []
    told: float | None = None
    zones_told: list[str] = []
    steps: list[tuple[float, float, float]] = []
    zones: dict[str, Membership] = {}
    lines: dict[str, Side] = {}
    elsewhere: Elsewhere | None = None

    @property
    def label(self) -> str:
        """The most likely; of equals the first in the alphabet."""
        return min(self.votes, key=lambda label: (-self.votes[label], label))

    def see(self, time: float, box: Box, label: str, score: float) -> None:
        """It was seen there."""
        self.path.append(Spot(time, box, score))
        self.seen += 1
        self.votes[label] = self.votes.get(label, 0.0) + score
        self.score = max(self.score, score)
        self.box, self.last = box, time
        self.steps = [s for s in self.steps if s[0] >= time - MOVEMENT_S]
        self.steps.append((time, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        self._place(time, box)

    def _place(self, time: float, box: Box) -> None:
        if overlap(box, self.still_box) >= SAME_PLACE:
            self.elsewhere = None
            return
        known = self.elsewhere or Elsewhere(time, box, time)
        if overlap(box, known.box) < SAME_PLACE:
            known = Elsewhere(known.begun, box, time)
        self.elsewhere = known
        if time - known.begun >= MOVED_S:
            self.still_box, self.still_since, self.elsewhere = known.box, known.since, None

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    def zones_now(self) -> list[str]:
        """Those it is in."""
        return [name for name, known in self.zones.items() if known.inside]

    def is_stationary(self) -> bool:
        return self.still_s() >= STATIONARY_S

    def still_s(self) -> float:
        """For how long it has stayed in its place, until it was seen elsewhere."""
        return (self.elsewhere.begun if self.elsewhere else self.last) - self.still_since

    def velocity(self, aspect: float) -> tuple[float, float]:
        """Right and down, in heights of the frame a second."""
        (t1, x1, y1), (t2, x2, y2) = self.steps[0], self.steps[-1]
        if t2 <= t1:
            return 0.0, 0.0
        return (x2 - x1) * aspect / (t2 - t1), (y2 - y1) / (t2 - t1)

    def speed(self, aspect: float) -> float:
        return math.hypot(*self.velocity(aspect))

    def direction(self, aspect: float) -> float | None:
        """Degrees clockwise from up; None while it does not move enough to have one."""
        if self.speed(aspect) < max(LEAST_SPEED, LEAST_SPEED_OF_OWN * self.height):
            return None
        return geometry.heading(*self.velocity(aspect))


def anchor(box: Box, where: str) -> Point:
    """Where an object stands. bottom: the middle of its box's lower edge. center: its middle."""
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) / 2, y2 if where == "bottom" else (y1 + y2) / 2
    return min(max(x, EDGE), 1 - EDGE), min(max(y, EDGE), 1 - EDGE)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
