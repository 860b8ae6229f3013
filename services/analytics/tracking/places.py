"""Which zones an object is in, and which lines it crosses. Pure.

A box's edges jitter. So an object has entered or left only once a second frame confirms it; near a border it still
counts as where it was. The time of the passage is when the straight line between two frames met the border.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from services.analytics.tracking.objects import Box, FollowedObject, Membership, Side, anchor
from shared.contract import geometry
from shared.contract.geometry import Point
from shared.contract.rules import Line, Rules, Zone

# Chosen by hand; the crossings and stays of docs/explanation/tracking.md were measured with this value.

# An object nearer to a border than this, in its own heights, counts as where it was.
BORDER_MARGIN = 0.05


class Passage(NamedTuple):
    """An object entered or left a zone, or crossed a line (in, out). stayed_s: time in the zone, for one that left."""

    what: Literal["entered", "left", "in", "out"]
    place: str
    object: FollowedObject
    time: float
    stayed_s: float = 0.0


class Before(NamedTuple):
    """Where an object was when it was last seen."""

    time: float
    box: Box


def find_passages(obj: FollowedObject, before: Before | None, rules: Rules, aspect: float) -> list[Passage]:
    """Return the borders that an object has passed since it was last seen."""
    passages = []
    for name, zone in rules.zones.items():
        passages += _zone(obj, before, name, zone, aspect)
    for name, line in rules.lines.items():
        passages += _line(obj, before, name, line, aspect)
    return passages


def exits(obj: FollowedObject) -> list[Passage]:
    """Return the exits of an object that is no longer seen: it left all zones when it was last seen."""
    return [
        Passage("left", name, obj, obj.last, round(obj.last - m.since, 3)) for name, m in obj.zones.items() if m.inside
    ]


def _zone(obj: FollowedObject, before: Before | None, name: str, zone: Zone, aspect: float) -> list[Passage]:
    point = anchor(obj.box, zone.anchor)
    membership = obj.zones.setdefault(name, Membership(False, obj.first))
    inside = geometry.inside(zone.polygon, point)
    if inside == membership.inside:
        membership.crossed_at = None
    elif membership.crossed_at is None:
        membership.crossed_at = _when(obj, before, zone.anchor, zone.polygon, closed=True)
    if geometry.border(zone.polygon, point, aspect) < BORDER_MARGIN * obj.height:
        return []
    if inside == membership.inside or not membership.turning:
        membership.turning = inside != membership.inside
        return []
    time = obj.last if membership.crossed_at is None else membership.crossed_at
    stayed_s = round(time - membership.since, 3)
    obj.zones[name] = Membership(inside, time)
    return [Passage("entered", name, obj, time) if inside else Passage("left", name, obj, time, stayed_s)]


def _line(obj: FollowedObject, before: Before | None, name: str, line: Line, aspect: float) -> list[Passage]:
    point = anchor(obj.box, line.anchor)
    last = obj.lines.setdefault(name, Side())
    if before and last.met is None and geometry.meet(anchor(before.box, line.anchor), point, line.start, line.to):
        last.met = _when(obj, before, line.anchor, [line.start, line.to], closed=False)
    distance = geometry.right_of(line.start, line.to, point, aspect)
    if abs(distance) < BORDER_MARGIN * obj.height:
        return []
    side = 1 if distance > 0 else -1
    met, previous_side = last.met, last.side
    obj.lines[name] = Side(side)
    if met is None or previous_side in (0, side):
        return []
    return [Passage("in" if side > 0 else "out", name, obj, met)]


def _when(obj: FollowedObject, before: Before | None, where: str, corners: list[Point], *, closed: bool) -> float:
    """Return when it passed the border, on the straight line from where it was. Unix seconds, to the millisecond."""
    if before is None:
        return obj.last
    share = geometry.met_at(anchor(before.box, where), anchor(obj.box, where), corners, closed=closed)
    return round(before.time + share * (obj.last - before.time), 3)
