"""The one stream of a camera that Tidegate reads, of a Frigate camera's inputs. Pure.

Tidegate reads one stream of a camera, for analysis and for recording. If Frigate records the camera, it is the stream
with the role `record`; else the one with `detect`. An input that go2rtc restreams is read from its source.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tidegate.importing.addresses import Address, address_of
from tidegate.importing.frigate_settings import CameraSettings
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Path, Report

_RESTREAM = re.compile(r"^rtsps?://(?:[^@/]*@)?(?:127\.0\.0\.1|localhost|\[::1\])(?::8554)?/([^/?#]+)", re.I)
_PRESETS = {"preset-rtsp-udp": "udp", "preset-rtsp-generic": "tcp", "preset-rtsp-restream": "tcp"}
_ARGUMENT = re.compile(r"-rtsp_transport\s+(tcp|udp)")
_OTHER_STREAM = "Tidegate reads one stream of a camera: to use this one, put it into 'url'"


class Stream(NamedTuple):
    address: Address
    transport: str | None


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
    for i in range(len(inputs)):
        _note_input(report, (*at, i), inputs[i], chosen=i == chosen, through=through, whole=address.whole)
    return Stream(address, _transport(settings, inputs[chosen], (*at, chosen))), ""


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


def _note_input(report: Report, at: Path, one: Any, *, chosen: bool, through: str, whole: bool) -> None:
    if not chosen:
        report.note(at, NONE, _OTHER_STREAM)
        return
    how = "; ".join(text for text in (through, "the address is one variable" if whole else "") if text)
    report.note(
        (*at, "path"), APPROXIMATED if through.startswith("read from go2rtc") else MAPPED, f"url{how and ': '}{how}"
    )
    roles = one.get("roles")
    names = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
    if "audio" in names:
        report.note((*at, "roles"), APPROXIMATED, "one stream for analysis and recording; sound is not analysed")
    else:
        report.note((*at, "roles"), MAPPED, "one stream for analysis and recording")


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
