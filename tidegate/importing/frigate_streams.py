"""The streams of a camera that Tidegate reads, of a Frigate camera's inputs. Pure.

If Frigate records the camera, the input with the role `record` is its stream, and another one with `detect` is its
substream, if it is of the same address and login. Else the one with `detect` is its only stream. An input that go2rtc
restreams is read from its source.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.contract.cameras import new_camera
from shared.runtime.errors import SettingError
from shared.runtime.redact import split_userinfo
from tidegate.importing.addresses import Address, address_of
from tidegate.importing.frigate_settings import CameraSettings
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Path, Report

_RESTREAM = re.compile(r"^rtsps?://(?:[^@/]*@)?(?:127\.0\.0\.1|localhost|\[::1\])(?::8554)?/([^/?#]+)", re.I)
_PRESETS = {"preset-rtsp-udp": "udp", "preset-rtsp-generic": "tcp", "preset-rtsp-restream": "tcp"}
# A variable in an address; its value is the same in both streams.
_NAME = re.compile(r"\$?\{FRIGATE_[A-Za-z0-9_]{1,100}\}")
_ARGUMENT = re.compile(r"-rtsp_transport\s+(tcp|udp)")
_OTHER_STREAM = "neither recorded nor analysed: to use this one, put it into 'url' or 'detect'"
_OTHER_CAMERA = "another address or login than the recorded stream, which is analysed, too; or add it as a camera"
_ONE, _MAIN, _SUB = "one stream for analysis and recording", "the recorded stream", "the analysed stream"


class Stream(NamedTuple):
    """detect: the URL of the substream, if there is one."""

    address: Address
    transport: str | None
    detect: str | None = None


def stream_of(settings: CameraSettings, document: dict[str, Any], records: bool) -> tuple[Stream | None, str]:
    """Return (the stream, ""), or (None, why there is none). States what becomes of every input."""
    report, at = settings.report, ("cameras", settings.camera, "ffmpeg", "inputs")
    inputs = _walk(document, at)
    if not isinstance(inputs, list) or not inputs:
        return None, "it has no ffmpeg.inputs"
    chosen = _chosen(inputs, "record" if records else "detect")
    if chosen is None:
        return None, "no input has a path that is a text"
    address, through = _address(inputs[chosen]["path"], settings.camera, document, report)
    if address is None:
        return None, "its address is not RTSP or has an unusual character in it: see docs/how-to/import.md"
    other = _chosen(inputs, "detect")
    detect = None
    for i in range(len(inputs)):
        if i == other != chosen:
            detect = _substream(report, (*at, i), inputs[i], inputs[chosen]["path"], settings.camera, document)
        elif i != chosen:
            report.note((*at, i), NONE, _OTHER_STREAM)
    how = "; ".join(text for text in (through, "the address is one variable" if address.whole else "") if text)
    _note_input(report, (*at, chosen), inputs[chosen], "url", how, _MAIN if detect else _ONE)
    return Stream(address, _transport(settings, inputs[chosen], (*at, chosen)), detect), ""


def _substream(
    report: Report, at: Path, one: dict[str, Any], main: str, camera: str, document: dict[str, Any]
) -> str | None:
    """Return the URL of the input with `detect`, if it is of the same camera as the recorded one."""
    if not _are_of_one_camera(_raw(one["path"], document), _raw(main, document)):
        report.note(at, NONE, _OTHER_CAMERA)
        return None
    address, through = _address(one["path"], camera, document, report)
    if address is None:
        report.note(at, NONE, _OTHER_CAMERA)
        return None
    _note_input(report, at, one, "detect", through, _SUB)
    return address.url


def _are_of_one_camera(sub: str, main: str) -> bool:
    """Return whether two different streams have the same address and login, none of it in the path or the query."""
    try:
        (bare, login), (main_bare, main_login) = split_userinfo(sub), split_userinfo(main)
        new_camera(_NAME.sub("1", main_bare), detect=_NAME.sub("1", bare))
    except (SettingError, ValueError):
        return False
    return login == main_login and (login is None or ":" in login) and bare != main_bare


def _raw(path: str, document: dict[str, Any]) -> str:
    """Return the text of an input's address, with its login: of a restream that of its source."""
    restream = _RESTREAM.match(path)
    streams = _walk(document, ("go2rtc", "streams"))
    sources = streams.get(restream[1]) if restream and isinstance(streams, dict) else None
    texts = sources if isinstance(sources, list) else [sources]
    plain = [text.removeprefix("ffmpeg:").partition("#")[0] for text in texts if isinstance(text, str)]
    found = next((text for text in plain if re.match(r"rtsps?://", text, re.I)), path)
    return f"file://{found}" if found.startswith("/") else found


def _chosen(inputs: list[Any], role: str) -> int | None:
    """Return the index of the input with a role; else of one with `detect`; else of the first."""
    usable = [i for i, one in enumerate(inputs) if isinstance(one, dict) and isinstance(one.get("path"), str)]
    for wanted in (role, "detect"):
        for i in usable:
            roles = inputs[i].get("roles")
            if isinstance(roles, list) and wanted in roles:
                return i
    return usable[0] if usable else None


def _address(path: str, camera: str, document: dict[str, Any], report: Report) -> tuple[Address | None, str]:
    """Return (the address, what to state of it). A restream of go2rtc is replaced by its source."""
    restream = _RESTREAM.match(path)
    if restream is None:
        return address_of(path, camera, report), ""
    streams = _walk(document, ("go2rtc", "streams"))
    name = restream[1]
    sources = streams.get(name) if isinstance(streams, dict) else None
    at: Path = ("go2rtc", "streams", name)
    for source in sources if isinstance(sources, list) else [sources]:
        if isinstance(source, str) and (found := _source(source, camera, report)):
            report.note(at, APPROXIMATED if isinstance(sources, list) and len(sources) > 1 else MAPPED, _DIRECT)
            return found, "read from the source of go2rtc, without the restream"
    if sources is not None:
        report.note(at, NONE, "not RTSP: keep go2rtc running, which Tidegate reads instead")
    found = address_of(path, camera, report)
    return found, "read from go2rtc: replace 127.0.0.1 by the address of its machine"


_DIRECT = "url: the first RTSP source; options after # and further sources are left out"


def _source(text: str, camera: str, report: Report) -> Address | None:
    """Return the address of a source of go2rtc, if it is RTSP."""
    text = text.removeprefix("ffmpeg:").partition("#")[0]
    return address_of(text, camera, report) if re.match(r"rtsps?://", text, re.I) else None


def _note_input(report: Report, at: Path, one: Any, field: str, how: str, use: str) -> None:
    """State what becomes of an input that is read. field: of the site file. how: differences of its address."""
    status = APPROXIMATED if how.startswith("read from go2rtc") else MAPPED
    report.note((*at, "path"), status, f"{field}{how and ': '}{how}")
    roles = one.get("roles")
    names = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
    if "audio" in names:
        report.note((*at, "roles"), APPROXIMATED, f"{use}; sound is not analysed")
    else:
        report.note((*at, "roles"), MAPPED, use)


def _transport(settings: CameraSettings, one: dict[str, Any], at: Path) -> str | None:
    """Return the transport of RTP by the input's arguments, the camera's, or those of all cameras."""
    own = (one.get("input_args"), (*at, "input_args"))
    common = settings.find("ffmpeg", "input_args")
    for value, path in (own, *([common] if common else [])):
        if value in (None, [], ""):
            continue
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        argument = _ARGUMENT.search(text)
        transport = _PRESETS.get(text) or (argument[1] if argument else None)
        if transport is None:
            settings.report.note(path, NONE, "ingest has no FFmpeg arguments: 'transport' is tcp or udp")
        elif text in _PRESETS:
            settings.report.note(path, MAPPED if transport == "udp" else DEFAULT, f"transport: {transport}")
        else:
            settings.report.note(path, APPROXIMATED, f"transport: {transport}; other arguments are left out")
        return transport
    return None


def is_local(url: str) -> bool:
    """Return whether an address is of Frigate's own machine."""
    try:
        return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return False


def _walk(value: Any, keys: Path) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
