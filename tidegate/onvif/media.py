"""The requests of an ONVIF device, and its clock, services, profiles and URLs from the answers. Pure.

Media2 (`ver20`) names H.265 profiles, which the first media service can't.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import NamedTuple
from xml.sax.saxutils import escape

from shared.contract import credentials
from shared.runtime.redact import split_userinfo
from tidegate.onvif.elements import Element
from tidegate.onvif.values import LONGEST_URL, Profile, short

DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA = "http://www.onvif.org/ver10/media/wsdl"
MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
_SCHEMA = "http://www.onvif.org/ver10/schema"
_MOST_PIXELS = 65_536
_LONGEST_TOKEN = 64

CLOCK = f'<GetSystemDateAndTime xmlns="{DEVICE}"/>'
SERVICES = f'<GetServices xmlns="{DEVICE}"><IncludeCapability>false</IncludeCapability></GetServices>'
CAPABILITIES = f'<GetCapabilities xmlns="{DEVICE}"><Category>Media</Category></GetCapabilities>'
INFORMATION = f'<GetDeviceInformation xmlns="{DEVICE}"/>'


class Service(NamedTuple):
    """A media service. namespace: MEDIA or MEDIA2. url: as the device names it."""

    namespace: str
    url: str


def profiles_request(namespace: str) -> str:
    if namespace == MEDIA:
        return f'<GetProfiles xmlns="{MEDIA}"/>'
    kinds = "<Type>VideoSource</Type><Type>VideoEncoder</Type>"
    return f'<GetProfiles xmlns="{MEDIA2}">{kinds}</GetProfiles>'


def stream_request(namespace: str, token: str) -> str:
    profile = f"<ProfileToken>{escape(token)}</ProfileToken>"
    if namespace == MEDIA2:
        return f'<GetStreamUri xmlns="{MEDIA2}"><Protocol>RTSP</Protocol>{profile}</GetStreamUri>'
    setup = (
        f'<StreamSetup><Stream xmlns="{_SCHEMA}">RTP-Unicast</Stream>'
        f'<Transport xmlns="{_SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
    )
    return f'<GetStreamUri xmlns="{MEDIA}">{setup}{profile}</GetStreamUri>'


def clock(answer: Element) -> dt.datetime | None:
    """Return the device's time; None if it names none."""
    utc = answer.first("SystemDateAndTime", "UTCDateTime")
    if utc is None:
        return None
    fields = [utc.text("Date", name) for name in ("Year", "Month", "Day")]
    fields += [utc.text("Time", name) for name in ("Hour", "Minute", "Second")]
    try:
        year, month, day, hour, minute, second = (int(field[:4]) for field in fields)
        return dt.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=dt.UTC)
    except ValueError:
        return None


def services(answer: Element) -> list[Service]:
    """Return the media services of GetServices or GetCapabilities, the newer first."""
    found = {
        service.text("Namespace"): service.text("XAddr")
        for service in answer.all("Service")
        if service.text("Namespace") in (MEDIA, MEDIA2)
    }
    if url := answer.text("Capabilities", "Media", "XAddr"):
        found.setdefault(MEDIA, url)
    return [Service(namespace, found[namespace]) for namespace in (MEDIA2, MEDIA) if namespace in found]


def profiles(answer: Element) -> list[Profile]:
    """Return the profiles with video, without their URLs, in the device's order; of equal tokens the first."""
    found: dict[str, Profile] = {}
    for each in answer.all("Profiles"):
        token = each.attributes.get("token", "")
        encoder = each.first("VideoEncoderConfiguration") or each.first("Configurations", "VideoEncoder")
        source = each.first("VideoSourceConfiguration") or each.first("Configurations", "VideoSource")
        # A token goes back to the device as it came: one that can't is left out.
        if encoder is None or not token or len(token) > _LONGEST_TOKEN or not token.isprintable():
            continue
        found.setdefault(
            token,
            Profile(
                token=token,
                name=short(each.text("Name")),
                source=short(source.text("SourceToken")) if source else "",
                codec=short(encoder.text("Encoding")).upper().replace("HEVC", "H265"),
                width=_pixels(encoder.text("Resolution", "Width")),
                height=_pixels(encoder.text("Resolution", "Height")),
                fps=_rate(encoder.text("RateControl", "FrameRateLimit")),
            ),
        )
    return list(found.values())


def with_url(profile: Profile, answer: Element) -> Profile:
    """Return the profile with the URL of GetStreamUri, without its user info, or with a problem."""
    url = answer.text("MediaUri", "Uri") or answer.text("Uri")
    if not url:
        return profile._replace(problem="the device names no URL")
    try:
        bare = split_userinfo(url)[0] if re.fullmatch("[!-~]+", url) and len(url) <= LONGEST_URL else ""
    except ValueError:
        bare = ""
    if "@" in bare or not credentials.origin(bare):
        return profile._replace(problem="its URL is no rtsp:// or rtsps:// that can be opened")
    return profile._replace(url=bare)


def _pixels(text: str) -> int:
    found = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    return found if found <= _MOST_PIXELS else 0


def _rate(text: str) -> float:
    try:
        found = float(text[:16])
    except ValueError:
        return 0.0
    return round(found, 1) if math.isfinite(found) and 0 < found <= 1000 else 0.0
