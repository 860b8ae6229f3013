"""The recorded files of a time span: closed hours from the store's indexes, open hours from the recorder's ledgers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from nats.aio.client import Client

from shared.contract import names
from shared.contract.reading.entries import entries
from shared.recordings import ledger as ledgers
from shared.recordings import opening
from shared.recordings.library import Library
from shared.recordings.policy import camera_key
from shared.recordings.records import Hour, Recorded, Unreadable, catalogue_key

# The suffix of every camera's catalogue.
_CATALOGUE = catalogue_key("")


async def list_cameras(store: str, key_file: str) -> list[str]:
    """Return the cameras that have a catalogue. Lists the whole store: minutes, if it holds weeks.

    Raises StoreUnavailable and SettingError.
    """
    opened = opening.open_recordings(store, "--store", key_file)
    try:
        return sorted(
            one.key.removesuffix(_CATALOGUE) for one in await opened.list_objects("") if one.key.endswith(_CATALOGUE)
        )
    finally:
        await opened.close()


async def running_hours(client: Client) -> dict[str, Hour | None]:
    """Return, for each camera that was ever recorded, the open hour in its ledger, if any. Raises Unreadable."""
    prefix = camera_key("")
    return {
        key.removeprefix(prefix): ledgers.open_hour(key.removeprefix(prefix), ledgers.decode(value))
        for key, value in (await entries(client.jetstream(), names.RECORDER)).items()
        if key.startswith(prefix)
    }


async def list_files(
    store: str,
    key_file: str,
    cameras: Sequence[str],
    since: dt.datetime,
    until: dt.datetime,
    running: Mapping[str, Hour | None],
) -> dict[str, list[Recorded]]:
    """Return each camera's files in [since, until), by time. Raises StoreUnavailable, Unreadable and SettingError."""
    opened = opening.open_recordings(store, "--store", key_file)
    library = Library(opened)
    try:
        found = {camera: (await library.between(camera, since, until, running.get(camera)))[0] for camera in cameras}
    finally:
        await opened.close()
    for camera, row in found.items():
        for file in row:
            # An index may be edited by hand: a file of another camera must not be read.
            if not file.key.startswith(f"{camera}/") or ".." in file.key:
                raise Unreadable(f"an index of {camera} names a file that is none of its own: {file.key}")
    return found
