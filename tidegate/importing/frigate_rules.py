"""A camera's zones, masks, filters and rules, of a Frigate camera. Pure.

An alert of Frigate becomes a rule with `alert: start`: on each required zone, or on the whole frame without any. A zone
with a loitering time is entered only after it, so its rule is `loitering` rather than `enter`.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from typing import Any, NamedTuple

from tidegate.importing.frigate_settings import CameraSettings, Found
from tidegate.importing.polygons import polygon
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Path
from tidegate.importing.tokens import tokens

# Frigate's defaults, as of 0.14 to 0.18.
TRACKED = ["person"]
_ALERT_LABELS = ["person", "car"]
_CUTOFF_S = {"alerts": 40.0, "detections": 30.0}
_FPS = 5.0
_DAY_S = 86_400.0
# The default of CV_MIN_SCORE.
_REPORTED = 0.4
_BELOW = "rules.filters; cv leaves out objects below CV_MIN_SCORE, 0.4: set the camera's min_score, too"


class Zone(NamedTuple):
    """A zone of the site file. labels: that count in it; None: all."""

    token: str
    labels: list[str] | None
    loitering_s: float
    hold_s: float


def rules_of(settings: CameraSettings, *, detects: bool) -> dict[str, Any]:
    """Return the value of `rules`. detects: whether Frigate detects objects of the camera."""
    size = _size(settings)
    tracked = settings.texts("objects", "track")
    if tracked:
        settings.report.note(tracked.path, MAPPED, "rules.labels")
    labels = tracked.value if tracked and tracked.value else TRACKED
    zones = dict(_zones(settings, size))
    polygons = {zone.token: {"polygon": points} for zone, points in zones.values()}
    by_name = {name: zone for name, (zone, _) in zones.items()}
    rules: dict[str, Any] = {"labels": labels, "zones": polygons, "masks": list(_masks(settings, size))}
    rules["filters"] = dict(_filters(settings, size))
    rules["rules"] = _rules(settings, labels, by_name) if detects else []
    if not detects:
        for kind in ("alerts", "detections"):
            for field in ("enabled", "labels", "required_zones", "cutoff_time"):
                if found := settings.find("review", kind, field):
                    settings.report.note(found.path, DEFAULT, "no rule: detection is off")
    _note_zones(settings, by_name, {rule["zone"] for rule in rules["rules"] if "zone" in rule})
    if timezone := _timezone(settings):
        rules["timezone"] = timezone
    return {field: value for field, value in rules.items() if value}


def _size(settings: CameraSettings) -> tuple[float, float] | None:
    """Return (width, height) of the frame that pixels are of."""
    width, height = (settings.number("detect", side, least=1, most=100_000) for side in ("width", "height"))
    for found in (width, height):
        if found:
            settings.report.note(found.path, APPROXIMATED, "the detector scales frames itself; pixels are read by it")
    return (width.value, height.value) if width and height else None


def _timezone(settings: CameraSettings) -> str | None:
    found = settings.text("ui", "timezone")
    if found is None:
        return None
    try:
        zoneinfo.ZoneInfo(found.value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        settings.report.note(found.path, NONE, "not read: a time zone such as Europe/Berlin is expected")
        return None
    settings.report.note(found.path, MAPPED, "rules.timezone")
    return str(found.value)


def _zones(settings: CameraSettings, size: tuple[float, float] | None) -> Iterator[tuple[str, tuple[Zone, Any]]]:
    """Yield (name, (zone, corners)) of each zone that is in use and well drawn."""
    report, camera = settings.report, settings.camera
    names = tokens(settings.names("zones"))
    for name, token in names.items():
        coordinates = settings.find("zones", name, "coordinates")
        enabled = settings.flag("zones", name, "enabled")
        if enabled:
            report.note(enabled.path, MAPPED, "a disabled zone is left out")
        if coordinates is None or (enabled and not enabled.value):
            report.rest(
                ("cameras", camera, "zones", name), NONE, "the zone is disabled, or has no coordinates: left out"
            )
            continue
        drawn = polygon(coordinates.value, size)
        if drawn.flaw:
            report.note(coordinates.path, NONE, drawn.flaw)
            report.rest(("cameras", camera, "zones", name), NONE, "the zone is left out: see its coordinates")
            continue
        renamed = f", as {token!r}" if token != name else ""
        status = APPROXIMATED if drawn.change or renamed else MAPPED
        report.note(coordinates.path, status, f"rules.zones{renamed}" + (f": {drawn.change}" if drawn.change else ""))
        objects = settings.texts("zones", name, "objects")
        loitering = settings.number("zones", name, "loitering_time", most=_DAY_S)
        inertia = settings.number("zones", name, "inertia", least=1, most=10_000)
        fps = settings.number("detect", "fps", least=0.001, most=120)
        hold = min(_DAY_S, inertia.value / (fps.value if fps else _FPS)) if inertia else 0.0
        labels = objects.value if objects and objects.value else None
        zone = Zone(token, labels, loitering.value if loitering else 0.0, round(hold, 3))
        yield name, (zone, drawn.points)


def _note_zones(settings: CameraSettings, zones: dict[str, Zone], used: set[str]) -> None:
    """State what becomes of the conditions of zones."""
    unused = "no rule uses the zone: add one (docs/how-to/rules.md)"
    for name, zone in zones.items():
        texts = {
            "objects": (MAPPED, "labels of the rules of this zone"),
            "loitering_time": (MAPPED, "seconds of a loitering rule")
            if zone.loitering_s
            else (DEFAULT, "no loitering"),
            "inertia": (DEFAULT, "loitering_time alone counts")
            if zone.loitering_s
            else (APPROXIMATED, "hold_s of the rules of this zone: frames become seconds by detect.fps"),
        }
        for field, (status, text) in texts.items():
            if found := settings.find("zones", name, field):
                is_used = zone.token in used or status == DEFAULT
                settings.report.rest(found.path, status if is_used else NONE, text if is_used else unused)


def _masks(settings: CameraSettings, size: tuple[float, float] | None) -> Iterator[dict[str, Any]]:
    """Yield masks of all objects, then of one label each."""
    places: list[tuple[tuple[str, ...], list[str] | None]] = [(("objects", "mask"), None)]
    places += [
        (("objects", "filters", label, "mask"), [label])
        for label in settings.names("objects", "filters")
        if 0 < len(label) <= 64
    ]
    for keys, labels in places:
        for coordinates, path in _drawings(settings, keys):
            drawn = polygon(coordinates, size)
            status = NONE if drawn.flaw else APPROXIMATED if drawn.change else MAPPED
            text = drawn.flaw or f"rules.masks{': ' * bool(drawn.change)}{drawn.change}"
            settings.report.note(path, status, text)
            if drawn.points:
                yield {"polygon": drawn.points} | ({"labels": labels} if labels else {})


def _drawings(settings: CameraSettings, keys: tuple[str, ...]) -> Iterator[tuple[Any, Path]]:
    """Yield (coordinates, path) of masks: of a text, a list of texts, or an object by names, as from 0.18 on."""
    found = settings.find(*keys)
    if found is None:
        return
    if not isinstance(found.value, dict):
        drawings = found.value if isinstance(found.value, list) else [found.value]
        if not drawings or drawings == [""]:
            settings.report.note(found.path, DEFAULT, "no mask")
        yield from ((one, found.path) for one in drawings if one != "")
        return
    for name in settings.names(*keys):
        enabled = settings.flag(*keys, name, "enabled")
        coordinates = settings.find(*keys, name, "coordinates")
        if enabled:
            settings.report.note(enabled.path, MAPPED, "a disabled mask is left out")
        if coordinates and (enabled is None or enabled.value):
            yield coordinates.value, coordinates.path
        elif coordinates:
            settings.report.note(coordinates.path, NONE, "the mask is disabled: left out")


def _filters(settings: CameraSettings, size: tuple[float, float] | None) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield (label, filter)."""
    report = settings.report
    for label in settings.names("objects", "filters"):
        if not 0 < len(label) <= 64:
            continue
        at = ("objects", "filters", label)
        filter: dict[str, float] = {}
        if score := settings.number(*at, "min_score", most=1):
            filter["min_score"] = score.value
            status, text = (MAPPED, "rules.filters") if score.value >= _REPORTED else (APPROXIMATED, _BELOW)
            report.note(score.path, status, text)
        areas = {}
        for field in ("min_area", "max_area"):
            if (found := settings.number(*at, field)) and (area := _area(settings, found, size)) is not None:
                areas[field] = area
        if areas.get("min_area", 0.0) > areas.get("max_area", 1.0):
            for field in areas:
                if found := settings.find(*at, field):
                    report.note(found.path, NONE, "min_area is over max_area: nothing would pass")
            areas = {}
        if filter | areas:
            yield label, filter | areas


def _area(settings: CameraSettings, found: Found, size: tuple[float, float] | None) -> float | None:
    """Return an area as a fraction of the frame. As in Frigate, one below 1 is a fraction already."""
    area = float(found.value)
    if area < 1:
        settings.report.note(found.path, MAPPED, "rules.filters")
        return area
    if size is None:
        settings.report.note(
            found.path, NONE, "it is in pixels of an unknown frame: set detect.width and detect.height"
        )
        return None
    settings.report.note(found.path, MAPPED, "rules.filters: pixels become a fraction of the frame")
    return min(1.0, round(area / (size[0] * size[1]), 6))


def _rules(settings: CameraSettings, tracked: list[str], zones: dict[str, Zone]) -> list[dict[str, Any]]:
    """Return the rules of alerts, of detections that are limited, and of zones with a loitering time."""
    rules = [*_of_review(settings, "alerts", tracked, zones), *_of_review(settings, "detections", tracked, zones)]
    used = {rule["zone"] for rule in rules if "zone" in rule}
    for zone in zones.values():
        labels = _common(tracked, zone.labels)
        if zone.loitering_s and zone.token not in used and labels:
            rules.append(_rule(f"loitering-{zone.token}", labels, tracked, zone) | {"severity": "info"})
    return rules


def _of_review(
    settings: CameraSettings, kind: str, tracked: list[str], zones: dict[str, Zone]
) -> Iterator[dict[str, Any]]:
    """Yield the rules of `alerts` or `detections`. Detections of everything anywhere need none: all is tracked."""
    report, is_alert = settings.report, kind == "alerts"
    enabled, cutoff = (
        settings.flag("review", kind, "enabled"),
        settings.number("review", kind, "cutoff_time", most=_DAY_S),
    )
    labels, required = settings.texts("review", kind, "labels"), settings.texts("review", kind, "required_zones")
    if enabled:
        report.note(enabled.path, MAPPED, f"{kind} are rules; none if it is false")
    wanted = labels.value if labels and labels.value else _ALERT_LABELS if is_alert else tracked
    limited = bool(labels and labels.value) or bool(required and required.value)
    if (enabled and not enabled.value) or not (is_alert or limited):
        for found in (labels, required, cutoff):
            if found:
                report.note(found.path, DEFAULT, f"no rule of {kind}")
        return
    unknown = [label for label in wanted if label not in tracked]
    if labels:
        left_out = "; labels that are not tracked are left out" if unknown else ""
        report.note(labels.path, APPROXIMATED if unknown else MAPPED, f"labels of the rules of {kind}{left_out}")
    if required:
        _note_required(settings, required, zones, kind)
    if cutoff:
        report.note(cutoff.path, MAPPED, f"end_after_s of the rules of {kind}")
    own = {"end_after_s": cutoff.value if cutoff else _CUTOFF_S[kind]}
    own |= {"alert": "start"} if is_alert else {"severity": "info"}
    seen = _common(tracked, wanted)
    name = kind.removesuffix("s")
    places = [zones.get(zone) for zone in required.value] if required and required.value else []
    for zone in filter(None, places):
        if here := _common(seen, zone.labels):
            yield _rule(f"{name}-{zone.token}", here, tracked, zone) | own
    if not places and seen:
        yield {"id": name, "kind": "count", "over": 0, "labels": seen} | own


def _note_required(settings: CameraSettings, required: Found, zones: dict[str, Zone], kind: str) -> None:
    if not required.value:
        settings.report.note(required.path, DEFAULT, "the whole frame counts")
    elif not any(zone in zones for zone in required.value):
        settings.report.note(required.path, NONE, f"none of these zones is imported: no rule of {kind}")
    else:
        missing = any(zone not in zones for zone in required.value)
        text = f"a rule on each zone, of {kind}"
        settings.report.note(
            required.path, APPROXIMATED if missing else MAPPED, text + "; others are left out" * missing
        )


def _rule(id: str, labels: list[str], tracked: list[str], zone: Zone) -> dict[str, Any]:
    """Return the rule that is true while an object is in a zone, as Frigate defines that."""
    condition: dict[str, Any] = {"kind": "enter", "zone": zone.token}
    if zone.loitering_s:
        condition |= {"kind": "loitering", "seconds": zone.loitering_s}
    hold = {"hold_s": zone.hold_s} if zone.hold_s and not zone.loitering_s else {}
    return {"id": id[:64], **condition, "labels": labels, **hold}


def _common(labels: list[str], others: list[str] | None) -> list[str]:
    return labels if others is None else [label for label in labels if label in others]
