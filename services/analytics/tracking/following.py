"""Follow a camera's objects: filter them by rules, match them to tracks, and fill in missed frames. Pure.

Example:
    following = Following(state, lost_s=2)
    passages, ended = following.see(time, frame, rules)
    following.confirmed()                   # objects that were seen often enough
    passages, ended = following.end_all()   # nothing more is seen
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from services.analytics.tracking import places
from services.analytics.tracking.objects import Box, FollowedObject, Spot, anchor
from services.analytics.tracking.places import Before, Passage
from services.analytics.tracking.tracker import Sighting, Tracker, TrackerState
from shared.contract import geometry
from shared.contract.events import Frame
from shared.contract.rules import Rules

# Chosen by hand; the figures of docs/explanation/tracking.md were measured with these values.

# An object is reported only after this many frames have shown it: a weak detector sees many things once.
MIN_FRAMES_SEEN = 2
# Only a frame's likeliest objects, this many, are matched: more would delay other cameras.
MAX_OBJECTS_IN_FRAME = 300
# A box of a smaller area, as a share of the frame, is dropped: this is a thousandth of a pixel.
MIN_AREA = 1e-9

Ended: TypeAlias = list[FollowedObject]


class FollowingState(Protocol):
    """The part of a camera's state that following reads and changes; see `CameraState`."""

    id_prefix: str
    count: int
    tracker: TrackerState
    followed: dict[int, FollowedObject]
    frames: list[float]

    @property
    def aspect(self) -> float: ...


class Following:
    """See the module."""

    def __init__(self, state: FollowingState, lost_s: float) -> None:
        self._s = state
        self._lost_s = lost_s
        self._tracker = Tracker(lost_s, state.tracker)

    def keep_places(self, rules: Rules) -> None:
        """Forget where objects stand to zones and lines that the new rules lack."""
        for o in self._s.followed.values():
            o.zones = {name: place for name, place in o.zones.items() if name in rules.zones}
            o.lines = {name: place for name, place in o.lines.items() if name in rules.lines}

    def confirmed(self) -> list[FollowedObject]:
        """Return objects that have been seen often enough to be real, the oldest first."""
        objects = (o for o in self._s.followed.values() if o.hits >= MIN_FRAMES_SEEN)
        return sorted(objects, key=lambda o: (o.first, o.id))

    def see(self, time: float, frame: Frame, rules: Rules) -> tuple[list[Passage], Ended]:
        """Match a frame's objects; return (their passages, the objects that are given up)."""
        s = self._s
        sightings = wanted(frame, rules)
        numbers, lost = self._tracker.match(time, sightings, s.aspect)
        passages, ended = self._end(lost)
        for number, sighting in zip(numbers, sightings, strict=True):
            if number is None:
                continue
            track = s.followed.get(number)
            before = Before(track.last, track.box) if track else None
            if track is None:
                track = s.followed[number] = self._begin(time, sighting.box)
            else:
                self._fill(track, time, sighting.box)
            track.see(time, sighting.box, sighting.label, sighting.score)
            passages += places.find_passages(track, before, rules, s.aspect)
        return passages, ended

    def end_all(self) -> tuple[list[Passage], Ended]:
        """Give up every object, and reset the tracker; return (their passages, the objects)."""
        passages, ended = self._end(list(self._s.followed))
        self._tracker = Tracker(self._lost_s)
        self._s.tracker = self._tracker.state
        return passages, ended

    def _begin(self, time: float, box: Box) -> FollowedObject:
        self._s.count += 1
        return FollowedObject(
            id=f"{self._s.id_prefix}-{self._s.count}",
            votes={},
            score=0.0,
            box=box,
            first=time,
            last=time,
            still_box=box,
            still_since=time,
        )

    def _fill(self, track: FollowedObject, time: float, box: Box) -> None:
        """Add the frames in which the detector missed it, on the straight line between."""
        for missed in self._s.frames:
            if track.last < missed < time:
                share = (missed - track.last) / (time - track.last)
                between = tuple(a + share * (b - a) for a, b in zip(track.box, box, strict=True))
                track.path.append(Spot(missed, between, None))  # type: ignore[arg-type]

    def _end(self, numbers: Iterable[int]) -> tuple[list[Passage], Ended]:
        passages: list[Passage] = []
        ended: Ended = []
        for number in numbers:
            track = self._s.followed.pop(number, None)
            if track and track.hits >= MIN_FRAMES_SEEN:
                passages += places.exits(track)
                ended.append(track)
        return passages, ended


def wanted(frame: Frame, rules: Rules) -> Sequence[Sighting]:
    """Return the objects of a frame that pass the rules' labels, filters and masks."""
    found = []
    for o in frame.objects:
        width, height = o.box[2] - o.box[0], o.box[3] - o.box[1]
        if width <= 0 or height <= 0 or width * height < MIN_AREA:
            continue
        if rules.labels is not None and o.label not in rules.labels:
            continue
        f = rules.filters.get(o.label)
        if f and not (
            o.score >= f.min_score
            and f.min_area <= width * height <= f.max_area
            and f.min_height <= height <= f.max_height
        ):
            continue
        if any(
            (m.labels is None or o.label in m.labels) and geometry.inside(m.polygon, anchor(o.box, m.anchor))
            for m in rules.masks
        ):
            continue
        found.append(Sighting(o.label, o.score, o.box))
    if len(found) <= MAX_OBJECTS_IN_FRAME:
        return found
    return sorted(found, key=lambda d: (-d.score, d))[:MAX_OBJECTS_IN_FRAME]
