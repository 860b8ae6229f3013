"""Counts of a minute: by label, zone and line, and where objects stood. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from services.analytics.tracking.objects import FollowedObject, anchor, instant
from services.analytics.tracking.places import Passage
from shared.contract import events

MINUTE_S = 60
# The heat map's cells are square on a frame of 16:9.
COLUMNS, ROWS = 32, 18
# A frame stands for the time since the frame before, unless that is longer than this: then there was a gap.
LONGEST_STEP_S = 1.0


class _Stays(msgspec.Struct):
    """The maximum number present at a time, and the total object-seconds."""

    most: int = 0
    seconds: float = 0.0


class _Presence(_Stays):
    objects: int = 0


class _Visits(_Stays):
    entered: int = 0
    left: int = 0
    stayed_s: float = 0.0


class _Crossings(msgspec.Struct):
    into: int = 0
    out: int = 0


class Minute(msgspec.Struct):
    """The counts of a minute so far. number: minutes since 1970. time: of the last frame, Unix seconds.

    zones, lines: by name, then by label. heat: seconds by cell.
    """

    number: int
    time: float
    seconds: float = 0.0
    labels: dict[str, _Presence] = {}
    zones: dict[str, dict[str, _Visits]] = {}
    lines: dict[str, dict[str, _Crossings]] = {}
    heat: dict[int, float] = {}


def count(
    minute: Minute | None,
    time: float,
    objects: Sequence[FollowedObject],
    fresh: Sequence[FollowedObject],
    passages: Sequence[Passage],
    zones: Sequence[str],
) -> tuple[Minute, Minute | None]:
    """Count a frame; return (its minute, the previous minute if that is over).

    time: the frame's, Unix seconds. fresh: those of `objects` that have just been confirmed.
    """
    number = math.floor(time / MINUTE_S)
    over = None
    if minute is not None and minute.number != number:
        over, minute = minute, Minute(number, minute.time)
    now = minute or Minute(number, time)
    passed = time - now.time
    passed = passed if 0 < passed <= LONGEST_STEP_S else 0.0
    now.time = time
    now.seconds += passed
    for o in fresh:
        now.labels.setdefault(o.label, _Presence()).objects += 1
    for label, count in Counter(o.label for o in objects).items():
        presence = now.labels.setdefault(label, _Presence())
        presence.most = max(presence.most, count)
        presence.seconds += count * passed
    for zone in zones:
        for label, count in Counter(o.label for o in objects if o.is_in(zone)).items():
            visits = now.zones.setdefault(zone, {}).setdefault(label, _Visits())
            visits.most = max(visits.most, count)
            visits.seconds += count * passed
    for p in passages:
        label = p.object.label
        if p.what in ("in", "out"):
            crossings = now.lines.setdefault(p.place, {}).setdefault(label, _Crossings())
            crossings.into += p.what == "in"
            crossings.out += p.what == "out"
        else:
            visits = now.zones.setdefault(p.place, {}).setdefault(label, _Visits())
            visits.entered += p.what == "entered"
            visits.left += p.what == "left"
            visits.stayed_s += p.stayed_s
    if passed:
        for o in objects:
            x, y = anchor(o.box, "bottom")
            cell = min(ROWS - 1, int(y * ROWS)) * COLUMNS + min(COLUMNS - 1, int(x * COLUMNS))
            now.heat[cell] = now.heat.get(cell, 0.0) + passed
    return now, over


def event(camera: str, minute: Minute) -> events.Counts:
    return events.Counts(
        camera=camera,
        start=instant(minute.number * MINUTE_S),
        end=instant((minute.number + 1) * MINUTE_S),
        seconds=round(minute.seconds, 3),
        labels={
            label: events.Presence(objects=p.objects, most=p.most, seconds=round(p.seconds, 3))
            for label, p in sorted(minute.labels.items())
        },
        zones={
            zone: {
                label: events.Visits(
                    entered=v.entered,
                    left=v.left,
                    most=v.most,
                    seconds=round(v.seconds, 3),
                    stayed_s=round(v.stayed_s, 3),
                )
                for label, v in sorted(visits.items())
            }
            for zone, visits in sorted(minute.zones.items())
        },
        lines={
            line: {label: events.Crossings(into=c.into, out=c.out) for label, c in sorted(crossings.items())}
            for line, crossings in sorted(minute.lines.items())
        },
        heat=events.Heat(
            columns=COLUMNS, rows=ROWS, seconds=[round(minute.heat.get(i, 0.0), 2) for i in range(COLUMNS * ROWS)]
        ),
    )
