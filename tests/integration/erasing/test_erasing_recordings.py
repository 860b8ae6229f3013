"""A camera's recordings are erased as files, in a folder, in a bucket, and encrypted; those of others stay."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from services.recorder import erasing
from services.recorder.answering import Answers
from services.recorder.erasing import Eraser
from services.recorder.ledgers import Ledgers
from services.recorder.tails import Tails
from shared.contract import names
from shared.contract.questions.erasure import Erased, ErasureRequest
from shared.recordings.ledger import Last, Ledger
from shared.recordings.library import Library
from shared.recordings.policy import EffectivePolicy, camera_key
from shared.recordings.records import HOUR, Hour, Recorded, file_key
from shared.recordings.store import Store
from shared.runtime.errors import Refusal
from tests.support.servers.s3_server import moto
from tests.support.worlds.buckets import bucket, page, store, url
from tests.support.worlds.keeper import AT, MINUTE, All
from tidegate.erasing import passes
from tidegate.erasing.scope import Scope
from tidegate.erasing.stores import Plan
from tidegate.erasing.table import RECORDED

__all__ = ["bucket", "moto", "page", "store", "url"]

OTHERS = ("lobby2", "lobby-2", "lob")


def recorded(camera: str, start: dt.datetime) -> Recorded:
    return Recorded(
        **{"key": file_key(camera, start, "ab-0"), "start": start, "end": start + MINUTE, "codec": "c", "track": "t"},
        **{"width": 1, "height": 1, "timescale": 1, "early": 0, "init": 1, "head": 1, "groups_ms": (0,), "sizes": (9,)},
        **{"first_seq": 1, "last_seq": 1, "epoch": "e", "last_n": 1, "segments": 60},
    )


class World:
    """Two closed hours and a running one of each camera, with a file a minute for five minutes."""

    def __init__(self, client: Client, store: Store, ledgers: Ledgers) -> None:
        self.client = client
        self.library = Library(store)
        self.ledgers = ledgers
        self.hold = False
        tails = Tails(client)
        answers = Answers(client, self.library, ledgers, tails, self._policy, lambda camera: ())
        self.eraser = Eraser(client, self.library, ledgers, All(), tails, answers, self._policy)  # type: ignore[arg-type]

    def _policy(self, camera: str) -> EffectivePolicy:
        return EffectivePolicy(hold=self.hold)

    async def record(self, camera: str) -> None:
        for n in range(3):
            files = tuple(recorded(camera, AT + n * HOUR + minute * MINUTE) for minute in range(5))
            for file in files:
                await self.library.store.put(file.key, [f"video of {camera}".encode()])
            if n < 2:
                await self.library.close(Hour(camera=camera, hour=AT + n * HOUR, files=files))
            else:
                last = Last(seq=9, epoch="e", n=9, end=files[-1].end)
                await self.ledgers.of(camera)
                await self.ledgers.store(camera, Ledger(last=last, hour=AT + n * HOUR, files=files))

    async def erase(self, **fields: object) -> Erased:
        """All parts of an erasure, together."""
        total = Erased()
        while True:
            part = await self.eraser.erase(msgspec.convert({"camera": "lobby", **fields}, ErasureRequest))
            total = msgspec.structs.replace(part, count=total.count + part.count, size=total.size + part.size)
            if not part.more:
                return total

    async def content(self, camera: str) -> dict[str, bytes]:
        store = self.library.store
        return {one.key: await store.read(one.key) for one in await store.list_objects(camera)}

    async def files(self) -> list[str]:
        """The hours and minutes of the files; index, store, ledger and catalogue must agree."""
        ledger = await self.ledgers.fresh("lobby")
        rows, _ = await self.library.between("lobby", AT - HOUR, AT + 9 * HOUR, None)
        found = [*rows, *ledger.files]
        held = {key for key in await self.content("lobby") if key.endswith(".mp4")}
        assert {file.key for file in found} == held
        assert sum(h.files for h in (await self.library.catalogue("lobby")).hours) == len(rows)
        return [f"{(f.start - AT) // HOUR}:{f.start.minute}" for f in found]


@pytest_asyncio.fixture
async def house(admin: Client, store: Store) -> AsyncIterator[World]:
    house = World(admin, store, Ledgers(admin.jetstream(), await admin.jetstream().key_value(names.RECORDER)))
    for camera in ("lobby", *OTHERS):
        await house.record(camera)
    yield house


async def test_all_of_a_camera_is_erased_and_nothing_of_others(house: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH", 4)
    monkeypatch.setattr(erasing, "PART_S", 0.0)
    before = {camera: await house.content(camera) for camera in OTHERS}
    counted = await house.erase(dry_run=True)
    assert len(await house.content("lobby")) == counted.count == 15 + 2 + 1
    assert await house.erase() == counted
    assert await house.content("lobby") == {} and await house.files() == []
    assert {camera: await house.content(camera) for camera in OTHERS} == before
    for camera in OTHERS:
        assert len((await house.ledgers.fresh(camera)).files) == 5
    # What MEDIA still has is not recorded again.
    assert (await house.ledgers.fresh("lobby")).position == 10
    assert await house.erase() == Erased()


async def test_a_range_takes_whole_files_and_says_what_they_show(house: World) -> None:
    since, until = AT + 3.5 * MINUTE, AT + HOUR + MINUTE
    counted = await house.erase(since=since, until=until, dry_run=True)
    done = await house.erase(since=since, until=until)
    assert done == counted and done.count == 3
    assert (done.since, done.until) == (AT + 3 * MINUTE, AT + HOUR + MINUTE)
    assert await house.files() == [*("0:0", "0:1", "0:2"), *(f"{n}:{m}" for n in (1, 2) for m in range(5) if n + m > 1)]
    _, holes = await house.library.between("lobby", AT, AT + 2 * HOUR, None)
    assert [(hole.since, hole.cause) for hole in holes] == [(AT + n * MINUTE, "policy") for n in (3, 4, 60)]
    # The running hour is in the ledger.
    done = await house.erase(since=AT + 2 * HOUR + 4 * MINUTE)
    assert done.count == 1 and (await house.files())[-1] == "2:3"
    assert await house.erase(since=since, until=until) == Erased()


async def test_a_file_that_no_index_names_is_judged_by_its_name(house: World) -> None:
    stray = file_key("lobby", AT + 30 * MINUTE, "cd-0")
    await house.library.store.put(stray, [b"unindexed"])
    assert (await house.erase(since=AT + 40 * MINUTE, until=AT + 50 * MINUTE)).count == 0
    assert (await house.erase(since=AT + 31 * MINUTE, until=AT + 32 * MINUTE)).count == 1
    assert stray not in await house.content("lobby")


async def test_a_hold_refuses_unless_it_is_overruled(house: World) -> None:
    house.hold = True
    for fields in ({}, {"since": AT}):
        with pytest.raises(Refusal, match="a hold forbids"):
            await house.erase(**fields)
    assert len(await house.files()) == 15
    assert (await house.erase(dry_run=True)).count == 18
    assert (await house.erase(despite_hold=True)).count == 18


async def test_the_command_erases_what_the_recorder_has(house: World) -> None:
    await house.eraser.start()
    plan = Plan(Scope("lobby"), dry_run=False, despite_hold=False, settings=True)
    outcome = await passes.erase(house.client, plan, lambda text: None, in_flight_s=0.0)
    await house.eraser.stop()
    assert not outcome.problems and outcome.results[RECORDED].number == 18
    assert await house.content("lobby") == {}
    # Its entry went after its files.
    assert outcome.results[f"KV {names.RECORDER}"].number == 1
    assert await house.ledgers.cameras() == sorted(OTHERS)
    assert camera_key("lobby") == "camera.lobby"
