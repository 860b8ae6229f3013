"""A camera's rules: zones, masks, lines, filters, schedules, and conditions of incidents. Pure.

    rules = read(text, "lobby.yaml")          # YAML or JSON; raises Mistakes, which lists each with its path
    for mistake in check(value): ...
    json_schema()                             # for editors

KV `rules` stores them as JSON, by camera. Points are fractions of width and height from the top left. An object's
position is the middle of the lower edge of its box, unless `anchor` is `center`.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from shared.contract import geometry
from shared.contract.names import END, TOKEN
from shared.contract.reading.handwritten import parse
from shared.contract.reading.mistakes import Mistake, Mistakes, join, mistakes, nearest

Share = Annotated[float, Meta(ge=0, le=1)]
Point = tuple[Share, Share]
Polygon = Annotated[list[Point], Meta(min_length=3, max_length=64)]
Name = Annotated[str, Meta(pattern=TOKEN, description="a text of 1 to 64 letters, digits, - and _ is")]
Label = Annotated[str, Meta(min_length=1, max_length=64)]
Labels = Annotated[list[Label], Meta(min_length=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Anchor = Literal["bottom", "center"]
Alert = Literal["confirmed", "unless_rejected", "start"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
# No detector reports more objects in a frame.
MOST_OBJECTS = 10_000
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = rf"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00){END}"
Clock = Annotated[str, Meta(pattern=_CLOCK, description="a time in quotes, such as '07:30', is")]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a rule file."""


class Zone(_Part, frozen=True, kw_only=True):
    """A part of the frame. An object is in it while its anchor is."""

    polygon: Polygon
    anchor: Anchor = "bottom"


class Mask(_Part, frozen=True, kw_only=True):
    """Objects in this part are ignored: those of `labels`, or all."""

    polygon: Polygon
    labels: Labels | None = None
    anchor: Anchor = "bottom"


class Line(_Part, frozen=True, kw_only=True):
    """A line from one point to another. Seen from `from` to `to`, a crossing from left to right is `in`."""

    start: Point = msgspec.field(name="from")
    to: Point
    anchor: Anchor = "bottom"


class Filter(_Part, frozen=True, kw_only=True):
    """Objects of a label outside these bounds are ignored. Areas and heights are fractions of the frame's."""

    min_score: Share = 0.0
    min_area: Share = 0.0
    max_area: Share = 1.0
    min_height: Share = 0.0
    max_height: Share = 1.0


class Schedule(_Part, frozen=True, kw_only=True):
    """When a rule is active, by the clock of the camera's `timezone`. An `until` before `from` is on the next day."""

    days: Annotated[list[Day], Meta(min_length=1)] = msgspec.field(default_factory=lambda: list(DAYS))
    start: Clock = msgspec.field(name="from", default="00:00")
    until: Clock = "24:00"

    def holds(self, time: dt.datetime) -> bool:
        """Return whether the schedule is active at `time`, which is in the camera's time zone."""
        clock, day = time.strftime("%H:%M"), DAYS[time.weekday()]
        if self.start < self.until:
            return day in self.days and self.start <= clock < self.until
        yesterday = DAYS[(time.weekday() - 1) % 7]
        return (day in self.days and clock >= self.start) or (yesterday in self.days and clock < self.until)


class Rule(_Part, frozen=True, kw_only=True, tag_field="kind"):
    """The fields of all rules.

    id: names its incidents. labels: of its objects; by default all. hold_s: how long it must be true before it is an
    incident. end_after_s: how long it must be untrue before the incident ends. cooldown_s: minimum seconds between the
    starts of two incidents of the rule. verify: the condition that a vision language model confirms. alert: when an
    incident becomes an alert: `unless_rejected`, once the model confirms it, is uncertain, can't be asked or does not
    answer in time, which is the default with `verify`; `confirmed`, once the model confirms it, and not at all without
    a model; `start`, when it begins. Without `verify` and `alert` there is no alert.
    """

    # Whether the rule is true at an instant rather than over a time: a line is crossed at an instant.
    momentary: ClassVar[bool] = False

    id: Name
    labels: Labels | None = None
    hold_s: Seconds = 0.0
    end_after_s: Seconds = 2.0
    cooldown_s: Seconds = 0.0
    severity: Literal["info", "warning", "critical"] = "warning"
    schedule: Name | None = None
    verify: Annotated[str, Meta(min_length=1, max_length=4000)] | None = None
    alert: Alert | None = None

    @property
    def alerts(self) -> Alert:
        """Return when an incident with a verification becomes an alert: an unreachable model must hide none."""
        return self.alert or "unless_rejected"


class Enter(Rule, frozen=True, kw_only=True, tag="enter"):
    """An object is in the zone. The incident lasts until the object has left."""

    zone: Name


class Exit(Rule, frozen=True, kw_only=True, tag="exit"):
    """An object has left the zone."""

    momentary: ClassVar[bool] = True
    zone: Name


class Loitering(Rule, frozen=True, kw_only=True, tag="loitering"):
    """An object has been in the zone for longer than `seconds`."""

    zone: Name
    seconds: Annotated[float, Meta(gt=0, le=86_400)]


class Crossing(Rule, frozen=True, kw_only=True, tag="crossing"):
    """An object has crossed the line."""

    momentary: ClassVar[bool] = True
    line: Name
    direction: Literal["in", "out", "both"] = "both"


class Count(Rule, frozen=True, kw_only=True, tag="count"):
    """More than `over`, or fewer than `under`, objects are in the zone, or in the frame; for `hold_s`."""

    zone: Name | None = None
    over: Annotated[int, Meta(ge=0, le=MOST_OBJECTS)] | None = None
    under: Annotated[int, Meta(ge=1, le=MOST_OBJECTS)] | None = None


class Proximity(Rule, frozen=True, kw_only=True, tag="proximity"):
    """An object of `labels` is nearer than `distance`, in heights of the frame, to one of `to`: box to box."""

    to: Labels
    distance: Annotated[float, Meta(gt=0, le=4)]
    zone: Name | None = None


class Stopped(Rule, frozen=True, kw_only=True, tag="stopped"):
    """An object has not moved for longer than `seconds`."""

    seconds: Annotated[float, Meta(gt=0, le=86_400)]
    zone: Name | None = None


class WrongWay(Rule, frozen=True, kw_only=True, tag="wrong_way"):
    """An object's direction differs from `direction` by more than `tolerance`, in degrees clockwise from up."""

    direction: Annotated[float, Meta(ge=0, lt=360)]
    tolerance: Annotated[float, Meta(gt=0, lt=180)] = 90.0
    min_speed: Annotated[float, Meta(gt=0, le=10)] = 0.02
    zone: Name | None = None


class Speed(Rule, frozen=True, kw_only=True, tag="speed"):
    """An object is faster than `over`, in heights of the frame a second."""

    over: Annotated[float, Meta(gt=0, le=10)]
    zone: Name | None = None


class Crowding(Rule, frozen=True, kw_only=True, tag="crowding"):
    """At least `objects` form a group: each within `distance`, in heights of the frame, of another, box to box."""

    objects: Annotated[int, Meta(ge=2, le=MOST_OBJECTS)]
    distance: Annotated[float, Meta(ge=0, le=4)] = 0.05
    zone: Name | None = None


# Room for a thousand zones of some corners, which is more than any camera has.
MOST_BYTES = 256 * 1024

AnyRule: TypeAlias = Enter | Exit | Loitering | Crossing | Count | Proximity | Stopped | WrongWay | Speed | Crowding


class Rules(_Part, frozen=True, kw_only=True):
    """All settings of a camera's analytics.

    timezone: of the schedules, such as Europe/Berlin. labels: of the tracked objects; by default all that cv reports.
    """

    timezone: str = "UTC"
    labels: Labels | None = None
    zones: dict[Name, Zone] = {}
    masks: list[Mask] = []
    lines: dict[Name, Line] = {}
    filters: dict[Label, Filter] = {}
    schedules: dict[Name, Schedule] = {}
    rules: list[AnyRule] = []

    def zone_info(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)


def read(text: bytes, where: str) -> Rules:
    """Rules from YAML or JSON. Raises Mistakes."""
    return _of(*parse(text, where, MOST_BYTES), where)


def decode(data: bytes) -> Rules:
    """Rules from KV, which are JSON. Raises Mistakes."""
    where = "entry in bucket 'rules'"
    try:
        return _of(msgspec.json.decode(data), [], where)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Mistakes(where, [Mistake("", f"not JSON: {e}")]) from e


def _of(value: Any, doubled: list[Mistake], where: str) -> Rules:
    value = {} if value is None else value
    try:
        found = [*doubled, *check(value)]
    except RecursionError as e:
        raise Mistakes(where, [Mistake("", "it is nested too deeply")]) from e
    if found:
        raise Mistakes(where, found)
    return msgspec.convert(value, Rules)


def encode(rules: Rules) -> bytes:
    return msgspec.json.encode(rules)


def check(value: Any) -> list[Mistake]:
    """Return every mistake in a file's value: in its form, and in the meaning of its well-formed parts."""
    value = {} if value is None else value
    return [*mistakes(value, Rules), *_meaning(value)]


def labels(rules: Rules) -> Iterator[tuple[str, str]]:
    """Yield (path, label) of each label that is named."""
    named = {"labels": rules.labels} | {f"masks[{i}].labels": mask.labels for i, mask in enumerate(rules.masks)}
    for i, rule in enumerate(rules.rules):
        named[f"rules[{i}].labels"] = rule.labels
        if isinstance(rule, Proximity):
            named[f"rules[{i}].to"] = rule.to
    for path, found in named.items():
        yield from ((f"{path}[{i}]", label) for i, label in enumerate(found or []))
    yield from ((join("filters", label), label) for label in rules.filters)


def json_schema() -> dict[str, Any]:
    """Return JSON Schema 2020-12 of a rule file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate rules of a camera",
        **msgspec.json.schema(Rules),
    }


def _meaning(value: Any) -> Iterator[Mistake]:
    """Yield mistakes in the meaning: each part may be well formed, and the whole still wrong."""
    if not isinstance(value, dict):
        return
    if isinstance(name := value.get("timezone"), str):
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield Mistake("timezone", f"{name!r} is no time zone: give one such as Europe/Berlin, or UTC")
    for path, area in _formed(value, "zones", Zone) + _formed(value, "masks", Mask):
        if flaw := geometry.flaw(area.polygon):
            yield Mistake(f"{path}.polygon", flaw)
    for path, line in _formed(value, "lines", Line):
        if line.start == line.to:
            yield Mistake(path, "it has no length: its 'from' and 'to' are the same point")
    for path, filter in _formed(value, "filters", Filter):
        for least, most in (("min_area", "max_area"), ("min_height", "max_height")):
            if getattr(filter, least) > getattr(filter, most):
                yield Mistake(path, f"its {least} is over its {most}: nothing passes")
    for path, schedule in _formed(value, "schedules", Schedule):
        if schedule.start == schedule.until:
            yield Mistake(path, "it ends when it begins: leave both out for the whole day")
    yield from _of_rules(value)


def _of_rules(value: dict[str, Any]) -> Iterator[Mistake]:
    seen: dict[str, str] = {}
    for path, rule in _items(value.get("rules"), "rules"):
        if not isinstance(rule, dict):
            continue
        if isinstance(id := rule.get("id"), str):
            if id in seen:
                yield Mistake(f"{path}.id", f"{id!r} is the id of {seen[id]} too: ids name incidents")
            seen.setdefault(id, path)
        for field in ("zone", "line", "schedule"):
            there = value.get(f"{field}s") or {}
            if isinstance(name := rule.get(field), str) and isinstance(there, dict) and name not in there:
                yield Mistake(f"{path}.{field}", f"there is no {field} {name!r}{nearest(name, map(str, there))}")
        tracked = value.get("labels")
        for field in ("labels", "to"):
            for at, label in _items(rule.get(field), f"{path}.{field}"):
                if isinstance(tracked, list) and label not in tracked:
                    yield Mistake(at, f"{label!r} is not tracked: add it to 'labels' at the top")
    for path, rule in _formed(value, "rules", AnyRule):
        if isinstance(rule, Count) and (rule.over is None) == (rule.under is None):
            yield Mistake(path, "give one of 'over' and 'under'")
        if rule.alert == "unless_rejected" and rule.verify is None:
            yield Mistake(f"{path}.alert", "'unless_rejected' needs 'verify': nothing would reject it; give 'start'")


def _formed(value: dict[str, Any], field: str, kind: Any) -> list[tuple[str, Any]]:
    """Return (path, part) of the well-formed parts of a field."""
    found = []
    for path, item in _items(value.get(field), field):
        try:
            found.append((path, msgspec.convert(item, kind)))
        except msgspec.ValidationError:
            continue
    return found


def _items(value: Any, field: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{field}.{name}", item) for name, item in value.items()]
    return [(f"{field}[{i}]", item) for i, item in enumerate(value)] if isinstance(value, list) else []
