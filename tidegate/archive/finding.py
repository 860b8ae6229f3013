"""Which files there are of a time: of closed hours out of the store, of running hours out of the ledgers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from nats.aio.client import Client

from shared.contract import names
from shared.contract.entries import entries
from shared.recordings import ledger as ledgers
from shared.recordings import opening
from shared.recordings.library import Library
from shared.recordings.policy import camera_key
from shared.recordings.records import Hour, Recorded, Unreadable, catalogue_key

# What ends the name of a camera's catalogue.
_CATALOGUE = catalogue_key("")


async def cameras(store: str, key_file: str) -> list[str]:
    """The cameras of which there is a catalogue. All of the store is listed, which takes minutes where weeks are kept.

    Raises Unkept and SettingError.
    """
    opened = opening.recordings(store, "--store", key_file)
    try:
        return sorted(
            h.key.removesuffix(_CATALOGUE) for h in await opened.list_objects("") if h.key.endswith(_CATALOGUE)
        )
    finally:
        await opened.close()


async def running_hours(client: Client) -> dict[str, Hour | None]:
    """By camera that was ever recorded, what its ledger holds of an hour that may not be over. Raises Unreadable."""
    prefix = camera_key("")
    return {
        key.removeprefix(prefix): ledgers.running(key.removeprefix(prefix), ledgers.decode(value))
        for key, value in (await entries(client.jetstream(), names.RECORDER)).items()
        if key.startswith(prefix)
    }


async def files(
    store: str,
    key_file: str,
    cameras: Sequence[str],
    since: dt.datetime,
    until: dt.datetime,
    running: Mapping[str, Hour | None],
) -> dict[str, list[Recorded]]:
    """By camera, those that show something of [since, until), by time. Raises Unkept, Unreadable and SettingError."""
    opened = opening.recordings(store, "--store", key_file)
    library = Library(opened)
    try:
        found = {camera: (await library.between(camera, since, until, running.get(camera)))[0] for camera in cameras}
    finally:
        await opened.close()
    for camera, row in found.items():
        for file in row:
            # An index may be written by hand.
            if not file.key.startswith(f"{camera}/") or ".." in file.key:
                raise Unreadable(f"an index of {camera} names a file that is none of its own: {file.key}")
    return found
