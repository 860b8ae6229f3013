"""A Frigate configuration, of the versions 0.14 to 0.18, as a site file and a table. Pure.

Example:
    imported = convert(read(text, "config.yml"), "config.yml")
    imported.site                # {"cameras": {"lobby": {"url": ..., "rules": ..., "recording": ...}}}
    imported.report.rows()       # each field of the input once
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from shared.runtime.errors import SettingError
from tidegate.importing.frigate_fields import row_of
from tidegate.importing.frigate_recording import recording_of, records
from tidegate.importing.frigate_rules import rules_of
from tidegate.importing.frigate_settings import CameraSettings
from tidegate.importing.frigate_streams import is_local, stream_of
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Path, Report
from tidegate.importing.tokens import tokens

MOST_CAMERAS = 2000


class Imported(NamedTuple):
    """site: the value of a site file. report: what became of each field."""

    site: dict[str, Any]
    report: Report


def convert(document: dict[str, Any], where: str) -> Imported:
    """Return the site of a Frigate configuration. Raises SettingError if it has no camera."""
    cameras = document.get("cameras")
    if not isinstance(cameras, dict) or not any(isinstance(one, dict) for one in cameras.values()):
        raise SettingError(f"{where} has no cameras: give Frigate's config.yml, with 'cameras:' and a name for each")
    if len(cameras) > MOST_CAMERAS:
        raise SettingError(f"{where} has {len(cameras)} cameras, and {MOST_CAMERAS} are the most: split it")
    report = Report(document)
    names = tokens(name for name, one in cameras.items() if isinstance(one, dict))
    by_default = _detects_by_default(document)
    converted = {}
    for name, token in names.items():
        settings = CameraSettings(document, name, report)
        if (camera := _camera(settings, document, by_default=by_default)) is not None:
            converted[token] = camera
            if token != name:
                report.remark(f"camera {name!r} becomes {token}: letters, digits, - and _ are taken")
    groups = _groups(document, {name: token for name, token in names.items() if token in converted}, report)
    _close(document, report)
    if not converted:
        raise SettingError(f"{where} has no camera with a stream that Tidegate reads: RTSP, or a file\n" + _why(report))
    site: dict[str, Any] = {"cameras": converted} | ({"groups": groups} if groups else {})
    return Imported(site, report)


def _why(report: Report) -> str:
    return "\n".join(f"  {note}" for note in report.notes[:10])


def _detects_by_default(document: dict[str, Any]) -> bool:
    """Return whether cameras detect unless they say otherwise: a file of 0.16 or later has to enable it."""
    version = re.match(r"(\d+)\.(\d+)", str(document.get("version", "")))
    return version is None or (int(version[1]), int(version[2])) < (0, 16)


def _camera(settings: CameraSettings, document: dict[str, Any], *, by_default: bool) -> dict[str, Any] | None:
    """Return the value of a camera; None, with a remark, if its stream can't be read."""
    report = settings.report
    stream, why = stream_of(settings, document, records(settings))
    if stream is None:
        report.remark(f"camera {settings.camera!r} is left out: {why}")
        report.rest(("cameras", settings.camera), NONE, f"the camera is left out: {why}")
        return None
    if is_local(stream.address.url):
        report.remark(f"camera {settings.camera!r} has an address of Frigate's machine: replace 127.0.0.1 in its url")
    address = stream.address
    camera: dict[str, Any] = {"url": address.url, "detect": stream.detect}
    camera |= {"user": address.user, "password": address.password}
    if enabled := settings.flag("enabled"):
        report.note(enabled.path, MAPPED, "enabled")
        camera["enabled"] = enabled.value
    if stream.transport == "udp":
        camera["transport"] = "udp"
    if fps := settings.number("detect", "fps", least=0.001, most=120):
        report.note(fps.path, MAPPED, "fps")
        camera["fps"] = fps.value
    detects = _detects(settings, by_default=by_default)
    camera["rules"] = rules_of(settings, detects=detects)
    camera["recording"] = recording_of(settings)
    return {field: value for field, value in camera.items() if value is not None}


def _detects(settings: CameraSettings, *, by_default: bool) -> bool:
    detect = settings.flag("detect", "enabled")
    if detect is None:
        return by_default
    if detect.value:
        settings.report.note(detect.path, MAPPED, "a camera is analysed")
    else:
        settings.report.note(
            detect.path, APPROXIMATED, "the camera has no rules; its video is still analysed, unless 'enabled' is false"
        )
    return bool(detect.value)


def _groups(document: dict[str, Any], names: dict[str, str], report: Report) -> dict[str, Any]:
    found = document.get("camera_groups")
    groups = found if isinstance(found, dict) else {}
    renamed = tokens(groups)
    converted = {}
    for name, group in groups.items():
        at: Path = ("camera_groups", name, "cameras")
        members = group.get("cameras") if isinstance(group, dict) else None
        members = [members] if isinstance(members, str) else members
        if not isinstance(members, list):
            continue
        present = [names[one] for one in dict.fromkeys(m for m in members if isinstance(m, str)) if one in names]
        if present:
            converted[renamed[name]] = {"cameras": present}
            whole = len(present) == len(members)
            report.note(at, MAPPED if whole else APPROXIMATED, "groups" + ("" if whole else ": other members left out"))
        else:
            report.note(at, NONE, "none of its members is an imported camera")
    return converted


def _close(document: dict[str, Any], report: Report) -> None:
    """State what becomes of the fields that no camera used."""
    cameras = [name for name, one in document["cameras"].items() if isinstance(one, dict)]
    for path in list(report.open()):
        own = (("cameras", name, *path) for name in cameras)
        status, text = row_of(path, _at(document, path))
        if path[0] != "cameras" and status == NONE and all(_at(document, one) is not None for one in own):
            status, text = DEFAULT, "each camera has its own"
        report.note(path, status, text)


def _at(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value
