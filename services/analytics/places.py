"""Which zones an object is in, and which lines it crosses. Pure.

A box's edges tremble. So an object has entered or left only when a second frame says so too, and near a border, within
a twentieth of its own height, it is where it was.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from services.analytics import geometry
from services.analytics.geometry import Point
from services.analytics.objects import Box, Followed, Membership, Side, anchor
from services.analytics.rules import Line, Rules

MARGIN = 0.05


class Passage(NamedTuple):
    """An object entered or left a zone, or crossed a line (in, out). stayed_s: for those that left."""

    what: Literal["entered", "left", "in", "out"]
    place: str
    object: Followed
    time: float
    stayed_s: float = 0.0


def step(found: Followed, before: Box | None, rules: Rules, aspect: float) -> list[Passage]:
    """What an object that was just seen has passed. before: its box when it was seen before that."""
    passages = []
    for name, zone in rules.zones.items():
        passages += _zone(found, name, _where(found, zone.polygon, zone.anchor, aspect))
    for name, line in rules.lines.items():
        passages += _line(found, before, name, line, aspect)
    return passages


def gone(found: Followed) -> list[Passage]:
    """An object that is no longer seen has left all zones when it was last seen."""
    return [
        Passage("left", name, found, found.last, found.last - m.since) for name, m in found.zones.items() if m.inside
    ]


def _where(found: Followed, polygon: list[Point], where: str, aspect: float) -> bool | None:
    """Inside, outside, or None: too near to the border to say."""
    point = anchor(found.box, where)
    if geometry.border(polygon, point, aspect) < MARGIN * found.height:
        return None
    return geometry.inside(polygon, point)


def _zone(found: Followed, name: str, inside: bool | None) -> list[Passage]:
    now = found.last
    known = found.zones.get(name)
    if known is None:
        known = found.zones[name] = Membership(False, found.first)
    if inside is None or inside == known.inside:
        known.turning = None if inside is not None else known.turning
        return []
    if known.turning is None:
        known.turning = now
        return []
    turned = known.turning
    stayed_s = turned - known.since
    found.zones[name] = Membership(inside, turned)
    if inside:
        return [Passage("entered", name, found, turned)]
    return [Passage("left", name, found, turned, stayed_s)]


def _line(found: Followed, before: Box | None, name: str, line: Line, aspect: float) -> list[Passage]:
    point = anchor(found.box, line.anchor)
    known = found.lines.setdefault(name, Side())
    if before and known.met is None and geometry.meet(anchor(before, line.anchor), point, line.start, line.to):
        known.met = found.last
    distance = geometry.right_of(line.start, line.to, point, aspect)
    if abs(distance) < MARGIN * found.height:
        return []
    side = 1 if distance > 0 else -1
    met, was = known.met, known.side
    found.lines[name] = Side(side)
    if met is None or was in (0, side):
        return []
    return [Passage("in" if side > 0 else "out", name, found, met)]
