"""Cameras of NVIDIA's Video Search and Summarization blueprint as a site file and a table. Pure.

Two lists are read, by the blueprint's public repository: its camera configuration, `sensors` with `camera_name`,
`rtsp_url` and `group_id`; and the sensors of its video storage, with `name` and `sensorUrl` or `url`. Alert types of
its verifier, `alerts` with `prompts`, have no zone: their prompts are stored under `x-alerts`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from shared.runtime.errors import SettingError
from tidegate.importing.addresses import address_of
from tidegate.importing.frigate import MOST_CAMERAS, Imported
from tidegate.importing.report import DEFAULT, MAPPED, NONE, Path, Report
from tidegate.importing.tokens import tokens

_NAMES = ("camera_name", "name", "sensorName", "sensorId", "id")
_URLS = ("rtsp_url", "sensorUrl", "url", "streamUrl")
_MOST_PROMPT = 4000
_TEXTS = {
    "sensorId": "Tidegate names a camera by its id",
    "region": "a camera has no place: name a group by it",
    "location": "a camera has no place: name a group by it",
    "state": "the state is seen by 'tidegate status'",
    "alert_type": "x-alerts: write a rule for it, with the text as 'verify' (docs/how-to/rules.md)",
    "output_category": "an incident is named by its rule",
    "system": "the system prompt is a setting of vlm (docs/reference/settings.md)",
    "version": "the form of the file is recognised by its fields",
}


def convert(document: dict[str, Any], where: str) -> Imported:
    """Return the site of a list of sensors. Raises SettingError if no camera is in it."""
    report = Report(document)
    sensors = document.get("sensors")
    entries = [one for one in sensors if isinstance(one, dict)] if isinstance(sensors, list) else []
    if not entries:
        raise SettingError(f"{where} has no sensors: give a list, or 'sensors', of camera_name and rtsp_url")
    if len(entries) > MOST_CAMERAS:
        raise SettingError(f"{where} has {len(entries)} sensors, and {MOST_CAMERAS} are the most: split it")
    cameras: dict[str, Any] = {}
    groups: dict[str, list[str]] = {}
    named = [(i, one) for i, one in enumerate(sensors) if isinstance(one, dict)] if isinstance(sensors, list) else []
    ids = tokens(name for _, one in named if (name := _first(one, _NAMES)[1]))
    for i, one in named:
        _add(report, ("sensors", i), one, ids, cameras, groups)
    alerts = _alerts(document, report)
    for path in list(report.open()):
        text = _TEXTS.get(str(path[-1]), "no setting of a camera")
        report.note(path, NONE, text)
    if not cameras:
        notes = "\n".join(f"  {note}" for note in report.notes[:10])
        raise SettingError(f"{where} has no camera with a stream that Tidegate reads: RTSP, or a file\n{notes}")
    renamed = tokens(groups)
    site: dict[str, Any] = {"cameras": cameras}
    if groups:
        site["groups"] = {renamed[name]: {"cameras": members} for name, members in groups.items()}
    return Imported(site | ({"x-alerts": alerts} if alerts else {}), report)


def _add(
    report: Report,
    at: Path,
    one: dict[str, Any],
    ids: dict[str, str],
    cameras: dict[str, Any],
    groups: dict[str, list[str]],
) -> None:
    """Add the camera of a sensor, and its group."""
    (name_field, name), (url_field, url) = _first(one, _NAMES), _first(one, _URLS)
    shown = ids[name] if name else f"number {at[-1]}"
    why = ""
    if not name or not url:
        why = "it has no name or no address"
    elif ids[name] in cameras:
        why = "another has its name"
    elif one.get("state") == "removed":
        why = "it is removed"
    address = None if why else address_of(_with_login(url, one), shown, report)
    if address is None:
        why = why or "its address is not RTSP, or can't be read"
        report.remark(f"sensor {shown} is left out: {why}")
        report.rest(at, NONE, f"the sensor is left out: {why}")
        return
    camera = {"url": address.url, "user": address.user, "password": address.password}
    cameras[shown] = {field: value for field, value in camera.items() if value is not None}
    report.note((*at, name_field), MAPPED, "the id of the camera")
    report.note((*at, url_field), MAPPED, "url")
    for field in ("username", "password"):
        if isinstance(one.get(field), str):
            status, text = (
                (MAPPED, "user" if field == "username" else "password") if one[field] else (DEFAULT, "it is empty")
            )
            report.note((*at, field), status, text)
    if isinstance(group := one.get("group_id"), str) and group:
        groups.setdefault(group, []).append(shown)
        report.note((*at, "group_id"), MAPPED, "groups")


def _with_login(url: str, one: dict[str, Any]) -> str:
    """Return the address with the user and the password of other fields."""
    user, password = one.get("username"), one.get("password")
    scheme, mark, rest = url.partition("://")
    if not mark or not isinstance(user, str) or not user or "@" in rest.partition("/")[0]:
        return url
    secret = f":{quote(password, safe='')}" if isinstance(password, str) and password else ""
    return f"{scheme}://{quote(user, safe='')}{secret}@{rest}"


def _first(one: dict[str, Any], fields: tuple[str, ...]) -> tuple[str, str]:
    """Return (field, value) of the first field that is a text."""
    return next(((f, one[f]) for f in fields if isinstance(one.get(f), str) and one[f]), ("", ""))


def _alerts(document: dict[str, Any], report: Report) -> dict[str, str]:
    """Return the prompts by the type of alert."""
    found = {}
    alerts = document.get("alerts")
    for i, one in enumerate(alerts if isinstance(alerts, list) else []):
        prompts = one.get("prompts") if isinstance(one, dict) else None
        text = prompts.get("user") if isinstance(prompts, dict) else None
        if isinstance(text, str) and isinstance(one.get("alert_type"), str):
            found[one["alert_type"][:64]] = text[:_MOST_PROMPT]
            report.note(("alerts", i, "prompts", "user"), NONE, "x-alerts: " + _TEXTS["alert_type"].partition(": ")[2])
    return found
