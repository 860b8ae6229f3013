"""A camera's recording policy, of a Frigate camera. Pure.

Frigate retains all video for some days, video with motion for others, and video of alerts and of detections for yet
others. Tidegate has one rule of recording, one retention for it, and one for incidents.
"""

from __future__ import annotations

from typing import Any

from tidegate.importing.frigate_settings import CameraSettings, Found
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE

# Frigate's default retention of alerts and of detections.
_DAYS = 10.0
_MOST_DAYS = 36_500


def records(settings: CameraSettings) -> bool:
    """Return whether Frigate records the camera; by default it does not."""
    enabled = settings.flag("record", "enabled")
    return bool(enabled and enabled.value)


def recording_of(settings: CameraSettings) -> dict[str, Any]:
    """Return the value of `recording`, and state what becomes of the fields of `record`."""
    report = settings.report
    if enabled := settings.flag("record", "enabled"):
        report.note(enabled.path, MAPPED, "recording.record")
    if not records(settings):
        for keys in _FIELDS:
            if found := settings.find("record", *keys):
                report.note(found.path, DEFAULT, "nothing is recorded")
        return {"record": "never"}
    always, motion = _continuous(settings)
    alerts, detections = _review_days(settings)
    policy: dict[str, Any] = {"incidents_days": alerts} if alerts else {}
    if always:
        policy |= {"record": "always", "keep_days": always}
    elif motion or detections:
        policy |= {"record": "activity", "keep_days": max(motion, detections)}
    else:
        policy |= {"record": "incidents"}
    _note_longer(settings, always=always, motion=motion, detections=detections, alerts=alerts)
    return policy | _margins(settings)


_DAYS_OF = (("retain", "days"), ("retain", "mode"), ("continuous", "days"), ("motion", "days"))
_FIELDS = (
    *_DAYS_OF,
    *((kind, *rest) for kind in ("alerts", "detections") for rest in (("retain", "days"), ("retain", "mode"))),
    *((kind, side) for kind in ("alerts", "detections", "events") for side in ("pre_capture", "post_capture")),
    ("events", "retain", "default"),
    ("events", "retain", "mode"),
)


def _days(settings: CameraSettings, *keys: str) -> Found | None:
    return settings.number("record", *keys, most=_MOST_DAYS)


def _continuous(settings: CameraSettings) -> tuple[float, float]:
    """Return the days of all video, and of video with motion. `retain` is of versions before 0.17."""
    old, mode = _days(settings, "retain", "days"), settings.text("record", "retain", "mode")
    word = mode.value if mode else "all"
    if mode:
        exact = word == "all" or not (old and old.value)
        text = (
            "recording.record: always" if word == "all" else "recording.record: activity, which is objects, not motion"
        )
        settings.report.note(mode.path, MAPPED if exact else APPROXIMATED, text)
    always, motion = _days(settings, "continuous", "days"), _days(settings, "motion", "days")
    all_days = always.value if always else old.value if old and word == "all" else 0.0
    motion_days = motion.value if motion else old.value if old and word != "all" else 0.0
    return all_days, motion_days


def _review_days(settings: CameraSettings) -> tuple[float, float]:
    """Return the days of alerts and of detections. `events` is of versions before 0.15."""
    events = _days(settings, "events", "retain", "default")
    found = [_days(settings, kind, "retain", "days") or events for kind in ("alerts", "detections")]
    for kind in ("alerts", "detections", "events"):
        if mode := settings.text("record", kind, "retain", "mode"):
            exact = mode.value == "all"
            settings.report.note(
                mode.path, MAPPED if exact else APPROXIMATED, "the whole time range is retained, still parts included"
            )
    alerts, detections = (one.value if one else _DAYS for one in found)
    return alerts, detections


def _note_longer(settings: CameraSettings, *, always: float, motion: float, detections: float, alerts: float) -> None:
    """State what becomes of each number of days."""
    report = settings.report
    longest = always or max(motion, detections)
    notes = {
        ("retain", "days"): (MAPPED, "recording.keep_days")
        if always
        else _of_activity(motion, longest, bool(always), "motion"),
        ("continuous", "days"): (MAPPED, "recording.keep_days") if always else (DEFAULT, "not all video is recorded"),
        ("motion", "days"): _of_activity(motion, longest, bool(always), "motion"),
        ("detections", "retain", "days"): _of_activity(detections, longest, bool(always), "detections"),
        ("alerts", "retain", "days"): (MAPPED, "recording.incidents_days") if alerts else (NONE, _NO_DAYS),
        ("events", "retain", "default"): (
            APPROXIMATED,
            "recording.incidents_days, and keep_days of objects",
        ),
    }
    for keys, (status, text) in notes.items():
        if found := _days(settings, *keys):
            report.note(found.path, status if found.value or status != MAPPED else DEFAULT, text)


_NO_DAYS = "incidents are retained for recording.incidents_days, 30 by default: 0 is not taken"


def _of_activity(days: float, longest: float, always: bool, what: str) -> tuple[str, str]:
    if not days:
        return DEFAULT, f"no retention of {what} of its own"
    if always:
        if days <= longest:
            return DEFAULT, "all video is retained for as long"
        return NONE, "one retention of all video: raise recording.keep_days, or take record: activity"
    if days == longest:
        return APPROXIMATED, "recording.keep_days of record: activity, which is objects that are seen"
    return APPROXIMATED, "recording.keep_days: the longer one of motion and detections"


def _margins(settings: CameraSettings) -> dict[str, float]:
    """Return before_s and after_s: of alerts and detections the longer one, as Frigate's buffer is."""
    margins = {}
    for side, name in (("pre_capture", "before_s"), ("post_capture", "after_s")):
        found = [settings.number("record", kind, side, most=600) for kind in ("alerts", "detections", "events")]
        present = [one for one in found if one]
        if not present:
            continue
        margins[name] = max(one.value for one in present)
        for one in present:
            same = one.value == margins[name]
            text = f"recording.{name}" + ("" if same else ": the longer one of alerts and detections")
            settings.report.note(one.path, MAPPED if same else APPROXIMATED, text)
    return margins
