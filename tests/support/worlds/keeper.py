"""A keeper of recordings over small files that are named by their minutes."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest_asyncio
from nats.aio.client import Client

from services.recorder.keeping import SETTLE, Keeper
from services.recorder.ledgers import Ledgers
from shared.contract import names
from shared.recordings.library import Library
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import HOUR, Hour, Recorded, file_key, folder_of
from shared.recordings.stores.folder import Folder

MINUTE = dt.timedelta(minutes=1)
# A past hour: events that are stored now refer to it.
AT = (dt.datetime.now(dt.UTC) - 3 * HOUR).replace(minute=0, second=0, microsecond=0)
SETTLED = AT + HOUR + SETTLE


class All:
    """A share of every camera."""

    def has(self, camera: str) -> bool:
        return True


class House:
    """A keeper, the store, and hours of a camera whose files are small and named by their minutes."""

    def __init__(self, client: Client, folder: Path, ledgers: Ledgers) -> None:
        self.client = client
        self.path = folder
        self.library = Library(Folder(folder))
        self.ledgers = ledgers
        self.keeper = Keeper(client, self.library, ledgers, All(), lambda camera: EffectivePolicy())  # type: ignore[arg-type]

    async def record(self, hour: dt.datetime, minutes: Sequence[int], size: int = 10) -> None:
        files = []
        for n in minutes:
            start = hour + n * MINUTE
            files.append(
                Recorded(
                    key=file_key("cam", start, "ab-0"),
                    start=start,
                    end=start + MINUTE,
                    codec="c",
                    width=1,
                    height=1,
                    track="t",
                    timescale=1,
                    early=0,
                    init=1,
                    head=1,
                    groups_ms=(0,),
                    sizes=(size - 1,),
                    first_seq=n + 1,
                    last_seq=n + 1,
                    epoch="e",
                    last_n=n,
                    segments=60,
                )
            )
            await self.library.store.put(files[-1].key, [b"x" * min(size, 100)])
        await self.library.close(Hour(camera="cam", hour=hour, files=tuple(files)))

    async def keep(self, policy: EffectivePolicy, now: dt.datetime) -> None:
        await self.keeper.keep("cam", policy, now)

    async def minutes(self, hour: dt.datetime) -> list[int]:
        """The minutes of existing files: index, store and catalogue must agree."""
        index = await self.library.hour("cam", hour)
        files = index.files if index else ()
        held = {
            one.key for one in await self.library.store.list_objects(folder_of("cam", hour)) if one.key.endswith(".mp4")
        }
        assert {file.key for file in files} == held
        sums = [one for one in (await self.library.catalogue("cam")).hours if one.hour == hour]
        assert sum(one.files for one in sums) == len(files)
        return [round((file.start - hour) / MINUTE) for file in files]


@pytest_asyncio.fixture
async def house(admin: Client, tmp_path: Path) -> AsyncIterator[House]:
    kv = await admin.jetstream().key_value(names.RECORDER)
    house = House(admin, tmp_path / "store", Ledgers(admin.jetstream(), kv))
    yield house
    await house.library.store.close()
