"""A followed object: its state, and where it stands. Plain data, so that it can be stored."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import msgspec

from shared.contract import geometry
from shared.contract.geometry import Point

Box = tuple[float, float, float, float]


# Chosen by hand; the crossings and stays of docs/explanation/tracking.md were measured with these values.

# Speed and direction cover the last seconds, this many.
MOVEMENT_S = 1.0
# An object slower than this, in heights of the frame a second, has no direction but that of its box's jitter.
MIN_SPEED = 0.01
# An object slower than this, in its own heights a second, has no direction either.
MIN_OWN_SPEED = 0.15
# An object has not moved while its box overlaps the one where it stayed by at least this much.
SAME_PLACE_OVERLAP = 0.6
# An object has moved once it was elsewhere for this long: for less, it may only have been half hidden.
MOVED_S = 1.0
# A point cut off by the frame's edge is moved this far inside it, and so inside a zone that reaches to the edge.
EDGE_INSET = 1e-6
# An object is stationary once it has stayed in its place for this long.
STATIONARY_S = 5.0


class Spot(msgspec.Struct, array_like=True):
    """A point of an object's path. score: None where the point was filled in between two detections."""

    time: float
    box: Box
    score: float | None


class Membership(msgspec.Struct, array_like=True):
    """Where an object stands to a zone. inside: as confirmed at `since`. crossed_at: when it has crossed the border
    since then. turning: whether one frame has seen it clearly on the other side.
    """

    inside: bool
    since: float
    crossed_at: float | None = None
    turning: bool = False


class Side(msgspec.Struct, array_like=True):
    """Where an object stands to a line. side: the last certain side, -1 left, 1 right.

    met: when it has gone over the line since then.
    """

    side: int = 0
    met: float | None = None


class Elsewhere(msgspec.Struct, array_like=True):
    """An object seems to have left its place at `begun`. It has been in the place of `box` since `since`."""

    left_at: float
    box: Box
    since: float


class FollowedObject(msgspec.Struct):
    """A followed object. Times are Unix seconds of video.

    votes: sum of scores by label. score: the best. path: the points not published yet. hits: number of frames that it
    was seen in. last_event_time, last_event_zones: when its last event was, and which zones that named. steps: (time,
    x, y) of its middle in the last second. still_box: where it has stayed since `still_since`. elsewhere: where it
    seems to be now, if not there.
    """

    id: str
    votes: dict[str, float]
    score: float
    box: Box
    first: float
    last: float
    still_box: Box
    still_since: float
    hits: int = msgspec.field(default=0, name="seen")
    path: list[Spot] = []
    last_event_time: float | None = msgspec.field(default=None, name="told")
    last_event_zones: list[str] = msgspec.field(default_factory=list, name="zones_told")
    steps: list[tuple[float, float, float]] = []
    zones: dict[str, Membership] = {}
    lines: dict[str, Side] = {}
    elsewhere: Elsewhere | None = None

    @property
    def label(self) -> str:
        """The most likely label; the alphabetically first of equals."""
        return min(self.votes, key=lambda label: (-self.votes[label], label))

    def see(self, time: float, box: Box, label: str, score: float) -> None:
        """Record that a frame has seen it at `box`."""
        self.path.append(Spot(time, box, score))
        self.hits += 1
        self.votes[label] = self.votes.get(label, 0.0) + score
        self.score = max(self.score, score)
        self.box, self.last = box, time
        self.steps = [s for s in self.steps if s[0] >= time - MOVEMENT_S]
        self.steps.append((time, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        self._place(time, box)

    def _place(self, time: float, box: Box) -> None:
        if overlap(box, self.still_box) >= SAME_PLACE_OVERLAP:
            self.elsewhere = None
            return
        elsewhere = self.elsewhere or Elsewhere(time, box, time)
        if overlap(box, elsewhere.box) < SAME_PLACE_OVERLAP:
            elsewhere = Elsewhere(elsewhere.left_at, box, time)
        self.elsewhere = elsewhere
        if time - elsewhere.left_at >= MOVED_S:
            self.still_box, self.still_since, self.elsewhere = elsewhere.box, elsewhere.since, None

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    def is_in(self, zone: str) -> bool:
        membership = self.zones.get(zone)
        return membership is not None and membership.inside

    def zones_now(self) -> list[str]:
        """Return names of the zones that it is in."""
        return [name for name, membership in self.zones.items() if membership.inside]

    def is_stationary(self) -> bool:
        return self.still_s() >= STATIONARY_S

    def still_s(self) -> float:
        """Return seconds that it has stayed in its place, until it was seen elsewhere."""
        return (self.elsewhere.left_at if self.elsewhere else self.last) - self.still_since

    def velocity(self, aspect: float) -> tuple[float, float]:
        """Return (to the right, down) in heights of the frame a second."""
        (t1, x1, y1), (t2, x2, y2) = self.steps[0], self.steps[-1]
        if t2 <= t1:
            return 0.0, 0.0
        return (x2 - x1) * aspect / (t2 - t1), (y2 - y1) / (t2 - t1)

    def speed(self, aspect: float) -> float:
        return math.hypot(*self.velocity(aspect))

    def direction(self, aspect: float) -> float | None:
        """Return degrees clockwise from up; None while it moves too little to have a direction."""
        if self.speed(aspect) < max(MIN_SPEED, MIN_OWN_SPEED * self.height):
            return None
        return geometry.heading(*self.velocity(aspect))


def instant(time: float) -> dt.datetime:
    """Return Unix seconds as UTC, to the millisecond."""
    return dt.datetime.fromtimestamp(round(time * 1000) / 1000, dt.UTC)


def anchor(box: Box, where: str) -> Point:
    """Return the point where an object stands: the middle of its lower edge for `bottom`, of its box for `center`."""
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) / 2, y2 if where == "bottom" else (y1 + y2) / 2
    return min(max(x, EDGE_INSET), 1 - EDGE_INSET), min(max(y, EDGE_INSET), 1 - EDGE_INSET)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
