"""The streams of a device that a camera takes, and whether they are at the device that the login is for. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from shared.contract.cameras import new_camera
from shared.runtime.errors import SettingError
from tidegate.onvif.values import Address, Device, Profile

CODECS = ("H264", "H265")
# Detectors scale frames to about this width: a smaller picture loses objects, a larger one costs decoding.
LEAST_WIDTH = 640
# A stream with fewer frames per second loses what moves: another one suits if there is any.
LEAST_FPS = 5.0


class Choice(NamedTuple):
    """The streams for one camera. main: of its url. detect: its substream; None for one stream. reason: a sentence."""

    main: Profile
    detect: Profile | None
    reason: str

    @property
    def analysed(self) -> Profile:
        return self.detect or self.main


def choices(profiles: Sequence[Profile]) -> list[Choice]:
    """Return the streams for a camera of each video source: the suited one and, if it can be taken, the largest."""
    return [_paired(small, [p for p in _usable(profiles) if p.source == small.source]) for small in suited(profiles)]


def _paired(small: Profile, group: Sequence[Profile]) -> Choice:
    large = max(group, key=lambda p: (p.width * p.height, p.width, p.fps))
    if large.width * large.height <= small.width * small.height:
        few = f", and is under {LEAST_WIDTH} pixels wide" if small.width < LEAST_WIDTH else ""
        return Choice(small, None, f"one stream, {_size(small)}: no profile is larger{few}")
    try:
        new_camera(large.url, detect=small.url)
    except SettingError as e:
        return Choice(small, None, f"one stream, {_size(small)}: {_size(large)} can't be its main stream, as {e}")
    return Choice(
        large, small, f"{_size(large)} is the largest, for recordings; {_size(small)} is large enough for detection"
    )


def _size(profile: Profile) -> str:
    fps = f" at {profile.fps:g} fps" if profile.fps else ""
    return f"{profile.token} ({profile.codec} {profile.width}x{profile.height}{fps})"


def _usable(profiles: Sequence[Profile]) -> list[Profile]:
    return [profile for profile in profiles if profile.codec in CODECS and profile.url]


def suited(profiles: Sequence[Profile]) -> list[Profile]:
    """Return one profile for each video source: the narrowest of at least LEAST_WIDTH, or else the widest.

    One that is known to have fewer than LEAST_FPS is taken only if all have.
    """
    by_source: dict[str, list[Profile]] = {}
    for profile in _usable(profiles):
        by_source.setdefault(profile.source, []).append(profile)
    return [_best(group) for group in by_source.values()]


def _best(profiles: Sequence[Profile]) -> Profile:
    wide = [profile for profile in profiles if profile.width >= LEAST_WIDTH]
    if wide:
        wide = [profile for profile in wide if not 0 < profile.fps < LEAST_FPS] or wide
        return min(wide, key=lambda p: (p.width, p.height, -p.fps))
    return max(profiles, key=lambda p: (p.width, p.height, p.fps))


def chosen(device: Device, name: str | None, one_stream: bool = False) -> Choice:
    """Return the streams for a camera: this token or name alone, or those of the only source. Raises SettingError."""
    if name is None:
        found = choices(device.profiles)
        if len(found) == 1:
            small = found[0].analysed
            return Choice(small, None, f"one stream, {_size(small)}: --one-stream") if one_stream else found[0]
        if found:
            tokens = ", ".join(choice.analysed.token for choice in found[:8])
            raise SettingError(f"the device has {len(found)} video sources: choose one by --profile, such as {tokens}")
        raise SettingError("no profile of the device has H.264 or H.265 video and a URL: set one up in the device")
    named = _named(device, name)
    return Choice(named, None, f"one stream, {_size(named)}: --profile")


def _named(device: Device, name: str) -> Profile:
    named = [p for p in device.profiles if p.token == name] or [p for p in device.profiles if p.name == name]
    if len(named) > 1:
        tokens = ", ".join(profile.token for profile in named[:8])
        raise SettingError(f"{len(named)} profiles have the name {name!r}: give the token of one, {tokens}")
    if not named:
        tokens = ", ".join(profile.token for profile in device.profiles[:8])
        raise SettingError(f"the device has no profile {name!r}: it has {tokens}")
    if named[0].codec not in CODECS:
        raise SettingError(f"profile {name!r} has {named[0].codec or 'unknown'} video: choose one of H.264 or H.265")
    if not named[0].url:
        raise SettingError(f"profile {name!r} can't be opened: {named[0].problem}")
    return named[0]


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
