"""The condition of each kind of rule: for which objects it is true at this frame. Pure.

    for key, case in evaluate(rule, scene, holds=True).cases.items(): ...

A key identifies the subject of an incident: an object, two of them, or nothing where it is about a number of objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import singledispatch
from typing import Literal, NamedTuple

from services.analytics.tracking.objects import FollowedObject
from services.analytics.tracking.places import Passage
from shared.contract import geometry, rules


class ObservedScene(NamedTuple):
    """A camera at one frame. objects: all that are followed and confirmed, in the order of their ids.

    passages: what was entered, left and crossed since the frame before.
    """

    time: float
    aspect: float
    objects: Sequence[FollowedObject]
    passages: Sequence[Passage]

    def of(self, rule: rules.Rule, zone: str | None = None) -> list[FollowedObject]:
        """Return the objects that a rule is about; only those in `zone`, if one is given."""
        return [o for o in self.objects if _labelled(o, rule.labels) and (zone is None or o.is_in(zone))]


class Case(NamedTuple):
    """A case in which a rule is true. value: the measurement. since: when it became true, if before this frame."""

    objects: Sequence[FollowedObject]
    value: float | None = None
    direction: Literal["in", "out"] | None = None
    since: float | None = None


Cases = Mapping[str, Case]


class Evaluation(NamedTuple):
    """A rule at one frame. cases: where it is true, by key. left: when keys' cases ended, if at an earlier time.

    undone: keys of moments that no longer count.
    """

    cases: Cases
    left: Mapping[str, float] = {}
    undone: Collection[str] = ()


def evaluate(rule: rules.Rule, scene: ObservedScene, *, holds: bool) -> Evaluation:
    """Return a rule's evaluation. holds: whether the rule is in force, by its schedule."""
    return Evaluation(cases(rule, scene) if holds else {}, left(rule, scene), undone(rule, scene))


@singledispatch
def cases(rule: rules.Rule, scene: ObservedScene) -> Cases:
    """Return where `rule` is true now, by key."""
    raise TypeError(f"no condition is written for {type(rule).__name__}")


@cases.register
def _(rule: rules.Enter, scene: ObservedScene) -> Cases:
    # If the rule begins to hold while an object is inside already, it becomes true now.
    entered = {p.object.id: p.time for p in scene.passages if p.what == "entered" and p.place == rule.zone}
    return {o.id: Case([o], since=entered.get(o.id)) for o in scene.of(rule, rule.zone)}


@cases.register
def _(rule: rules.Exit, scene: ObservedScene) -> Cases:
    return {
        p.object.id: Case([p.object], round(p.stayed_s, 3), since=p.time)
        for p in scene.passages
        if p.what == "left" and p.place == rule.zone and _labelled(p.object, rule.labels)
    }


@cases.register
def _(rule: rules.Crossing, scene: ObservedScene) -> Cases:
    found = {}
    for p in scene.passages:
        if (p.what == "in" or p.what == "out") and p.place == rule.line and rule.direction in ("both", p.what):
            if not _labelled(p.object, rule.labels):
                continue
            found[f"{p.object.id}.{p.what}"] = Case([p.object], direction=p.what, since=p.time)
    return found


@cases.register
def _(rule: rules.Loitering, scene: ObservedScene) -> Cases:
    return _each(scene.of(rule, rule.zone), lambda o: scene.time - o.zones[rule.zone].since, lambda s: s > rule.seconds)


@cases.register
def _(rule: rules.Count, scene: ObservedScene) -> Cases:
    found = scene.of(rule, rule.zone)
    true = len(found) > rule.over if rule.over is not None else len(found) < (rule.under or 0)
    return {"": Case(found, float(len(found)))} if true else {}


@cases.register
def _(rule: rules.Proximity, scene: ObservedScene) -> Cases:
    near = scene.of(rule, rule.zone)
    others = [o for o in scene.objects if _labelled(o, rule.to)]
    found = {}
    for a in near:
        for b in others:
            distance = geometry.apart(a.box, b.box, scene.aspect)
            if a.id != b.id and distance < rule.distance:
                found["+".join(sorted((a.id, b.id)))] = Case([a, b], round(distance, 4))
    return found


@cases.register
def _(rule: rules.Stopped, scene: ObservedScene) -> Cases:
    return _each(scene.of(rule, rule.zone), FollowedObject.still_s, lambda s: s > rule.seconds)


@cases.register
def _(rule: rules.WrongWay, scene: ObservedScene) -> Cases:
    found = {}
    for o in scene.of(rule, rule.zone):
        direction = o.direction(scene.aspect)
        if direction is None or o.speed(scene.aspect) < rule.min_speed:
            continue
        if geometry.turned(direction, rule.direction) > rule.tolerance:
            found[o.id] = Case([o], round(direction, 1))
    return found


@cases.register
def _(rule: rules.Speed, scene: ObservedScene) -> Cases:
    return _each(scene.of(rule, rule.zone), lambda o: o.speed(scene.aspect), lambda v: v > rule.over)


@cases.register
def _(rule: rules.Crowding, scene: ObservedScene) -> Cases:
    """Groups of objects that are linked by nearness. A group's key is the id of its oldest member."""
    left = scene.of(rule, rule.zone)
    found = {}
    while left:
        group = [left.pop(0)]
        for member in group:
            near = [o for o in left if geometry.apart(member.box, o.box, scene.aspect) <= rule.distance]
            group += near
            left = [o for o in left if o not in near]
        if len(group) >= rule.objects:
            found[group[0].id] = Case(group, float(len(group)))
    return found


@singledispatch
def left(rule: rules.Rule, scene: ObservedScene) -> dict[str, float]:
    """Return when objects left the rule's zone, or their place, by id: the rule was true of them until then."""
    return _exit_times(getattr(rule, "zone", None), scene)


@left.register
def _(rule: rules.Stopped, scene: ObservedScene) -> dict[str, float]:
    return {o.id: o.elsewhere.left_at for o in scene.objects if o.elsewhere} | _exit_times(rule.zone, scene)


@singledispatch
def undone(rule: rules.Rule, scene: ObservedScene) -> Collection[str]:
    """Return the keys of a momentary rule whose opposite has just become true."""
    return ()


@undone.register
def _(rule: rules.Exit, scene: ObservedScene) -> Collection[str]:
    return [p.object.id for p in scene.passages if p.what == "entered" and p.place == rule.zone]


@undone.register
def _(rule: rules.Crossing, scene: ObservedScene) -> Collection[str]:
    opposite = {"in": "out", "out": "in"}
    return [f"{p.object.id}.{opposite[p.what]}" for p in scene.passages if p.what in opposite and p.place == rule.line]


def _exit_times(zone: str | None, scene: ObservedScene) -> dict[str, float]:
    return {p.object.id: p.time for p in scene.passages if p.what == "left" and p.place == zone}


def _each(
    objects: Sequence[FollowedObject], measure: Callable[[FollowedObject], float], true: Callable[[float], bool]
) -> dict[str, Case]:
    return {o.id: Case([o], round(value, 3)) for o in objects if true(value := measure(o))}


def _labelled(obj: FollowedObject, labels: Sequence[str] | None) -> bool:
    return labels is None or obj.label in labels
