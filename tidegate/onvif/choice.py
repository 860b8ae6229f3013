"""Which profile of a device suits detection, and whether its stream is at the device that the login is for. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from shared.runtime.errors import SettingError
from tidegate.onvif.values import Address, Device, Profile

CODECS = ("H264", "H265")
# Detectors scale frames to about this width: a smaller picture loses objects, a larger one costs decoding.
LEAST_WIDTH = 640


def suited(profiles: Sequence[Profile]) -> list[Profile]:
    """Return one profile for each video source: the narrowest of at least LEAST_WIDTH, or else the widest."""
    by_source: dict[str, list[Profile]] = {}
    for profile in profiles:
        if profile.codec in CODECS and profile.url:
            by_source.setdefault(profile.source, []).append(profile)
    return [_best(group) for group in by_source.values()]


def _best(profiles: Sequence[Profile]) -> Profile:
    wide = [profile for profile in profiles if profile.width >= LEAST_WIDTH]
    if wide:
        return min(wide, key=lambda p: (p.width, p.height, -p.fps))
    return max(profiles, key=lambda p: (p.width, p.height, p.fps))


def chosen(device: Device, name: str | None) -> Profile:
    """Return the profile of this token or name, or the suited one of the only video source. Raises SettingError."""
    if name is None:
        best = suited(device.profiles)
        if len(best) == 1:
            return best[0]
        if best:
            tokens = ", ".join(profile.token for profile in best[:8])
            raise SettingError(f"the device has {len(best)} video sources: choose one by --profile, such as {tokens}")
        raise SettingError("no profile of the device has H.264 or H.265 video and a URL: set one up in the device")
    found = [p for p in device.profiles if p.token == name] or [p for p in device.profiles if p.name == name]
    if len(found) > 1:
        tokens = ", ".join(profile.token for profile in found[:8])
        raise SettingError(f"{len(found)} profiles have the name {name!r}: give the token of one, {tokens}")
    if not found:
        tokens = ", ".join(profile.token for profile in device.profiles[:8])
        raise SettingError(f"the device has no profile {name!r}: it has {tokens}")
    if found[0].codec not in CODECS:
        raise SettingError(f"profile {name!r} has {found[0].codec or 'unknown'} video: choose one of H.264 or H.265")
    if not found[0].url:
        raise SettingError(f"profile {name!r} can't be opened: {found[0].problem}")
    return found[0]


def foreign_host(profile: Profile, address: Address, device: Device) -> str:
    """Return the stream's host if that is not the device that was logged in to; else an empty string."""
    host = urlsplit(profile.url).hostname or ""
    own = {_canonical(address.host), *map(_canonical, device.peers)}
    return "" if _canonical(host) in own else host


def _canonical(host: str) -> str:
    text = host.strip("[]").lower()
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return text.removesuffix(".")
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)
