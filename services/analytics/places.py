"""Which zones an object is in, and which lines it crosses. Pure.

A box's edges tremble. So an object has entered or left only once a second frame says so too, and near a border it
still counts as where it was. The time of the passage is when the straight way between two frames met the border.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from services.analytics.objects import Box, FollowedObject, Membership, Side, anchor
from shared.contract import geometry
from shared.contract.geometry import Point
from shared.contract.rules import Line, Rules, Zone


class PlacesTuning(msgspec.Struct, frozen=True, kw_only=True):
    """Chosen by hand; the crossings and stays of docs/explanation/tracking.md were measured with this value."""

    margin: float = 0.05
    """An object nearer to a border than this, in its own heights, counts as where it was."""


TUNING = PlacesTuning()


class Passage(NamedTuple):
    """An object entered or left a zone, or crossed a line (in, out). stayed_s: how long one that left was in."""

    what: Literal["entered", "left", "in", "out"]
    place: str
    object: FollowedObject
    time: float
    stayed_s: float = 0.0


class Before(NamedTuple):
    """Where an object was when it was last seen."""

    time: float
    box: Box


def passed(found: FollowedObject, before: Before | None, rules: Rules, aspect: float) -> list[Passage]:
    """The borders that an object has passed since it was last seen."""
    passages = []
    for name, zone in rules.zones.items():
        passages += _zone(found, before, name, zone, aspect)
    for name, line in rules.lines.items():
        passages += _line(found, before, name, line, aspect)
    return passages


def gone(found: FollowedObject) -> list[Passage]:
    """An object that is no longer seen has left all zones when it was last seen."""
    return [
        Passage("left", name, found, found.last, round(found.last - m.since, 3))
        for name, m in found.zones.items()
        if m.inside
    ]


def _zone(found: FollowedObject, before: Before | None, name: str, zone: Zone, aspect: float) -> list[Passage]:
    point = anchor(found.box, zone.anchor)
    known = found.zones.setdefault(name, Membership(False, found.first))
    inside = geometry.inside(zone.polygon, point)
    if inside == known.inside:
        known.passed = None
    elif known.passed is None:
        known.passed = _when(found, before, zone.anchor, zone.polygon, closed=True)
    if geometry.border(zone.polygon, point, aspect) < TUNING.margin * found.height:
        return []
    if inside == known.inside or not known.turning:
        known.turning = inside != known.inside
        return []
    time = found.last if known.passed is None else known.passed
    stayed_s = round(time - known.since, 3)
    found.zones[name] = Membership(inside, time)
    return [Passage("entered", name, found, time) if inside else Passage("left", name, found, time, stayed_s)]


def _line(found: FollowedObject, before: Before | None, name: str, line: Line, aspect: float) -> list[Passage]:
    point = anchor(found.box, line.anchor)
    known = found.lines.setdefault(name, Side())
    if before and known.met is None and geometry.meet(anchor(before.box, line.anchor), point, line.start, line.to):
        known.met = _when(found, before, line.anchor, [line.start, line.to], closed=False)
    distance = geometry.right_of(line.start, line.to, point, aspect)
    if abs(distance) < TUNING.margin * found.height:
        return []
    side = 1 if distance > 0 else -1
    met, was = known.met, known.side
    found.lines[name] = Side(side)
    if met is None or was in (0, side):
        return []
    return [Passage("in" if side > 0 else "out", name, found, met)]


def _when(found: FollowedObject, before: Before | None, where: str, corners: list[Point], *, closed: bool) -> float:
    """When it passed the border, on the straight way from where it was before. Unix seconds, to the millisecond."""
    if before is None:
        return found.last
    share = geometry.met_at(anchor(before.box, where), anchor(found.box, where), corners, closed=closed)
    return round(before.time + share * (found.last - before.time), 3)
