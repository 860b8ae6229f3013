"""Reads a device's model and streams, with or without a login, within a time."""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import suppress

from tidegate.onvif import media
from tidegate.onvif.http import Requests
from tidegate.onvif.values import Address, BadAnswer, Device, Login, NotAuthorized, OnvifError, Profile, short

# A recorder of 64 cameras has two profiles for each.
MOST_PROFILES = 128
READ_S = 60.0


async def read(
    address: Address,
    login: Login | None = None,
    *,
    verify: bool = True,
    most: int = MOST_PROFILES,
    within_s: float = READ_S,
) -> Device:
    """Return a device and its first `most` profiles. verify: whether an https certificate is checked.

    The login goes to this address only. A refused login is not tried again, as many cameras lock their users out.
    Raises NotAuthorized, or OnvifError if the device can't be read.
    """
    try:
        async with asyncio.timeout(within_s), Requests(login, verify=verify) as requests:
            await _set_clock(requests, address)
            device = await _information(requests, address, login)
            profiles, media_address, namespace = await _profiles(requests, address)
            read = [await _with_url(requests, media_address, namespace, profile) for profile in profiles[:most]]
    except TimeoutError as e:
        raise OnvifError(f"it does not tell its streams within {within_s:g} s") from e
    return device._replace(profiles=tuple(read), peers=frozenset(requests.peers), unread=max(0, len(profiles) - most))


async def _set_clock(requests: Requests, address: Address) -> None:
    """Take over the device's clock, which its digest depends on; many cameras start in 1970."""
    with suppress(OnvifError):
        answer = await requests.call(address, "GetSystemDateAndTime", media.CLOCK, open=True)
        if its := media.clock(answer):
            requests.clock_ahead = its - dt.datetime.now(dt.UTC)


async def _information(requests: Requests, address: Address, login: Login | None) -> Device:
    try:
        answer = await requests.call(address, "GetDeviceInformation", media.INFORMATION)
    except OnvifError as e:
        # Some devices show their streams to everyone, and nothing else.
        if isinstance(e, NotAuthorized) and login:
            raise
        return Device()
    return Device(
        manufacturer=short(answer.text("Manufacturer")),
        model=short(answer.text("Model")),
        firmware=short(answer.text("FirmwareVersion")),
    )


async def _profiles(requests: Requests, address: Address) -> tuple[list[Profile], Address, str]:
    """Return profiles, the address of their service, and its namespace: of the newest service that has any."""
    failed: OnvifError = BadAnswer("it names no media service")
    for service in await _services(requests, address):
        at = address.at(service.url)
        try:
            answer = await requests.call(at, "GetProfiles", media.profiles_request(service.namespace))
        except NotAuthorized:
            raise
        except OnvifError as e:
            failed = e
            continue
        if profiles := media.profiles(answer):
            return profiles, at, service.namespace
        failed = OnvifError("it names no profile with video")
    raise failed


async def _services(requests: Requests, address: Address) -> list[media.Service]:
    try:
        found = media.services(await requests.call(address, "GetServices", media.SERVICES))
        if found:
            return found
    except NotAuthorized:
        raise
    except OnvifError:
        pass  # Devices of older ONVIF versions have capabilities instead.
    return media.services(await requests.call(address, "GetCapabilities", media.CAPABILITIES))


async def _with_url(requests: Requests, address: Address, namespace: str, profile: Profile) -> Profile:
    try:
        answer = await requests.call(address, "GetStreamUri", media.stream_request(namespace, profile.token))
    except OnvifError as e:
        return profile._replace(problem=str(e))
    return media.with_url(profile, answer)
