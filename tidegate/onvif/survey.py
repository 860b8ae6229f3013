"""All cameras that answer on the local network, with the streams of those that want no login. No login is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from tidegate.onvif import device, discovery
from tidegate.onvif.values import Device, Found, NotAuthorized, OnvifError

# A list shows the streams of a camera; a recorder's are for a closer look.
_MOST_PROFILES = 8
_DEVICE_S = 8.0
_ALL_S = 30.0
_AT_ONCE = 16

LOGIN = "login needed"


class Surveyed(NamedTuple):
    """A device that answered. device: empty if it was not read. note: why not."""

    found: Found
    device: Device
    note: str = ""


async def survey(interfaces: Sequence[str], within_s: float) -> list[Surveyed]:
    """Return the devices that answer within this time, by address. interfaces: our own IPv4 addresses.

    Raises SettingError if none of these can be used.
    """
    found = await discovery.discover(interfaces, within_s)
    turn = asyncio.Semaphore(_AT_ONCE)
    tasks = [asyncio.create_task(_read(one, turn)) for one in found]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_ALL_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return [
        Surveyed(one, Device(), "not read in time") if task.cancelled() else task.result()
        for one, task in zip(found, tasks, strict=True)
    ]


async def _read(found: Found, turn: asyncio.Semaphore) -> Surveyed:
    if found.address is None:
        return Surveyed(found, Device(), "its answer names no address of its own")
    async with turn:
        try:
            # Without a login a wrong certificate costs nothing.
            read = await device.read(found.address, verify=False, most=_MOST_PROFILES, within_s=_DEVICE_S)
        except NotAuthorized:
            return Surveyed(found, Device(), LOGIN)
        except OnvifError as e:
            return Surveyed(found, Device(), str(e))
        except Exception as e:  # Whatever a device sends, the others are listed.
            return Surveyed(found, Device(), f"it can't be read: {type(e).__name__}")
    return Surveyed(found, read)
