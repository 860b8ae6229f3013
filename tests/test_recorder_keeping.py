"""What becomes of what was recorded: what stays of each hour, what goes when, and that nothing else does."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from nats.aio.client import Client

from services.recorder.keeping import SETTLE, UNKNOWN_S, Keeper
from services.recorder.ledgers import Ledgers
from shared.contract import names
from shared.contract.events import (
    DetectedObject,
    Detections,
    Event,
    Frame,
    PathPoint,
    SegmentRef,
    Timing,
    Track,
    Tracks,
    Unchanged,
)
from shared.recordings.folder import Folder
from shared.recordings.ledger import Last, Ledger
from shared.recordings.library import Library
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import HOUR, Hole, Hour, Recorded, Unreadable, file_key, folder_of
from shared.recordings.retention import GB
from tests.incidents import incident, say

MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)
# An hour that is over: events that are stored now say what was then.
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

    async def keep(self, kept: EffectivePolicy, now: dt.datetime) -> None:
        await self.keeper.keep("cam", kept, now)

    async def minutes(self, hour: dt.datetime) -> list[int]:
        """Of the files that there are, by the index, the store and the catalogue alike."""
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


def of_segment(minute: float) -> dict[str, object]:
    return {
        "camera": "cam",
        "segment": SegmentRef(stream="MEDIA", seq=1, epoch="e", n=0),
        "start": AT + minute * MINUTE,
        "duration": 60.0,
        "model": "m",
    }


def detected(minute: float, *labels: str, quiet: bool = False) -> Detections:
    found = [DetectedObject(label=label, score=0.9, box=(0.1, 0.1, 0.2, 0.2)) for label in labels]
    return Detections(
        **of_segment(minute),  # type: ignore[arg-type]
        frames=[Frame(time=AT + (minute + 0.5) * MINUTE, objects=found)],
        timing=Timing(queued_ms=0, decode_ms=0, infer_ms=0),
        unchanged=Unchanged(since=AT) if quiet else None,
    )


def followed(minute: float, zone: str, *, stationary: bool = False) -> Tracks:
    time = AT + (minute + 0.5) * MINUTE
    track = Track(
        id="e.1", state="update", label="person", score=0.9, box=(0.1, 0.1, 0.2, 0.2), first=time, last=time,
        path=[PathPoint(time=time, box=(0.1, 0.1, 0.2, 0.2))], speed=0.1, stationary=stationary, zones=[zone],
    )  # fmt: skip
    return Tracks(**of_segment(minute), tracks=[track])  # type: ignore[arg-type]


async def test_an_hour_that_is_over_is_closed_though_nothing_follows(house: House) -> None:
    ledger = Ledger(
        last=Last(seq=7, epoch="e", n=6, end=AT + 9 * MINUTE),
        hour=AT,
        holes=(Hole(since=AT, until=AT + MINUTE, cause="camera"),),
    )
    await house.ledgers.of("cam")
    await house.ledgers.store("cam", ledger)
    await house.keep(EffectivePolicy(), AT + HOUR)
    assert (await house.ledgers.of("cam")).hour == AT
    await house.keep(EffectivePolicy(), AT + HOUR + 10 * MINUTE)
    assert await house.ledgers.of("cam") == Ledger(last=ledger.last)
    hour = await house.library.hour("cam", AT)
    assert hour and hour.holes == ledger.holes
    assert [one.hour for one in (await house.library.catalogue("cam")).hours] == [AT]


@pytest.mark.parametrize(
    ("kept", "stays"),
    [
        (EffectivePolicy(), [0, 1, 2, 3, 4, 5]),
        (EffectivePolicy(record="never"), []),
        (EffectivePolicy(record="never", hold=True), [0, 1, 2, 3, 4, 5]),
        # Nobody has looked at the last one.
        (EffectivePolicy(record="activity", before_s=0, after_s=0), [0, 3, 4, 5]),
        (EffectivePolicy(record="activity", before_s=0, after_s=0, labels=("person",)), [3, 4, 5]),
        (EffectivePolicy(record="activity", before_s=0, after_s=40, labels=("dog",)), [0, 1, 4, 5]),
        (EffectivePolicy(record="activity", before_s=0, after_s=0, zones=("door",)), [1, 4, 5]),
        (EffectivePolicy(record="incidents", before_s=0, after_s=0), [4]),
        (EffectivePolicy(record="incidents", before_s=60, after_s=60), [3, 4, 5]),
    ],
)
async def test_what_a_policy_wants_stays(house: House, admin: Client, kept: EffectivePolicy, stays: list[int]) -> None:
    await house.record(AT, range(6))
    events: list[Event] = [
        detected(0, "dog"),
        detected(1),
        detected(2, "person", quiet=True),
        detected(3, "person"),
        detected(4),
        followed(1, "door"),
        followed(2, "door", stationary=True),
        followed(3, "lawn"),
    ]
    time = AT + 4.5 * MINUTE
    events.append(incident("a", "cam", start=time, state="end", end=time, time=time))
    early = AT + 1 * MINUTE
    events.append(incident("b", "cam", start=early, state="end", end=early, time=early, not_found=True))
    await say(admin, *events)
    await house.keep(kept, SETTLED - MINUTE)
    assert await house.minutes(AT) == list(range(6))
    await house.keep(kept, SETTLED)
    assert await house.minutes(AT) == stays
    hour = await house.library.hour("cam", AT)
    assert hour
    holes = [round((hole.since - AT) / MINUTE) for hole in hour.holes]
    assert holes == [n for n in range(6) if n not in stays] and all(hole.cause == "policy" for hole in hour.holes)
    shows = {round((file.start - AT) / MINUTE) for file in hour.files if file.incident}
    assert shows == {n for n in stays if 270 - kept.before_s < 60 * (n + 1) and 270 + kept.after_s >= 60 * n}


async def test_what_is_old_goes_and_incidents_later_and_nothing_that_is_held(house: House, admin: Client) -> None:
    await house.record(AT, range(3))
    time = AT + 1.5 * MINUTE
    await say(admin, incident("a", "cam", start=time, state="end", end=time, time=time))
    kept = EffectivePolicy(keep_days=1, incidents_days=3, before_s=0, after_s=0)
    await house.keep(kept, AT + DAY)
    assert await house.minutes(AT) == [0, 1, 2]
    await house.keep(msgspec.structs.replace(kept, hold=True), AT + 100 * DAY)
    assert await house.minutes(AT) == [0, 1, 2]
    await house.keep(kept, AT + DAY + 2 * MINUTE)
    assert await house.minutes(AT) == [1, 2]
    await house.keep(kept, AT + 2 * DAY)
    assert await house.minutes(AT) == [1]
    await house.keep(kept, AT + 4 * DAY)
    assert await house.minutes(AT) == []
    # Nothing of it is left, but that there is nothing.
    assert [path.name for path in house.path.rglob("*") if path.is_file()] == ["hours.json"]


async def test_what_is_too_much_goes_the_oldest_first(house: House) -> None:
    for n in range(3):
        await house.record(AT + n * HOUR, range(4), size=GB // 10)
    now = AT + 5 * HOUR
    await house.keep(EffectivePolicy(), now)
    await house.keep(EffectivePolicy(most_gb=0.7), now)
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [1, 2, 3], [0, 1, 2, 3]]


async def test_what_nobody_knows_is_swept_away(house: House) -> None:
    await house.record(AT, range(2))
    folder = house.path / folder_of("cam", AT)
    left = folder / "0000-dead-0.mp4"
    part = folder / "0100-dead-0.mp4.1234.part"
    for path in (left, part):
        path.write_bytes(b"x")
    # What is young may be on its way into an index.
    os.utime(left, (0, (SETTLED.timestamp() - UNKNOWN_S) + 60))
    os.utime(part, (0, SETTLED.timestamp() - UNKNOWN_S - 60))
    await house.keep(EffectivePolicy(), SETTLED)
    assert left.exists() and not part.exists()
    left.unlink()
    assert await house.minutes(AT) == [0, 1]


async def test_the_oldest_of_all_go_where_others_need_the_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        await house.record(AT + n * HOUR, range(4))
    needed = [30]

    async def lacks() -> int:
        return needed[0]

    monkeypatch.setattr(house.library.store, "lacks", lacks)
    await house.keeper.make_room(["cam"])
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("dies", range(1, 12))
async def test_whoever_dies_on_the_way_another_goes_on(
    house: House, admin: Client, monkeypatch: pytest.MonkeyPatch, dies: int
) -> None:
    """At each of the calls to the store, once: settling, sweeping and removing by age end as if nobody had."""
    await house.record(AT, range(4))
    await say(admin, *(detected(n, *(["person"] if n == 2 else [])) for n in range(4)))
    kept = EffectivePolicy(record="activity", before_s=0, after_s=0, keep_days=1, incidents_days=1)
    left = [dies]

    class Dead(Exception):
        pass

    def mortal(name: str) -> None:
        whole = getattr(house.library.store, name)

        async def call(*given: object, **more: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Dead
            return await whole(*given, **more)

        monkeypatch.setattr(house.library.store, name, call)

    for name in ("put", "remove", "list_objects"):
        mortal(name)
    for now in (SETTLED, AT + 2 * DAY):
        try:
            await house.keep(kept, now)
        except Dead:
            await house.keep(kept, now)
        if now == SETTLED:
            index = await house.library.hour("cam", AT)
            assert index and [round((f.start - AT) / MINUTE) for f in index.files] == [2]
            assert len(index.holes) == 3
    assert [path.name for path in house.path.rglob("*") if path.is_file()] == ["hours.json"]


async def test_an_index_that_was_damaged_costs_neither_recording_nor_files(house: House) -> None:
    await house.record(AT, range(2))
    index = house.path / folder_of("cam", AT) / "index.json"
    index.write_bytes(b"\0" * 100)
    with pytest.raises(Unreadable, match="is no index of recordings"):
        await house.library.hour("cam", AT)
    await house.record(AT, range(2, 4))
    found = await house.library.hour("cam", AT)
    assert found and len(found.files) == 2
    assert index.with_name("index.json.damaged").read_bytes() == b"\0" * 100
    for path in index.parent.glob("*.mp4"):
        os.utime(path, (0, 0))
    await house.keep(EffectivePolicy(), SETTLED)
    assert len([*index.parent.glob("*.mp4")]) == 4
    # One that is damaged once its hour is over keeps nothing else from going, and goes with its hour.
    index.write_bytes(b"{")
    await house.record(AT + HOUR, range(2))
    await house.keep(EffectivePolicy(keep_days=1), AT + DAY)
    await house.keep(EffectivePolicy(keep_days=1), AT + 2 * DAY)
    assert [path.name for path in house.path.rglob("*") if path.is_file()] == ["hours.json"]


@pytest.mark.parametrize("spoiled", [None, b"", b"{"])
async def test_a_catalogue_that_was_lost_is_made_anew(house: House, spoiled: bytes | None) -> None:
    for n in range(3):
        await house.record(AT + n * HOUR, range(2))
    before = await house.library.catalogue("cam")
    path = house.path / "cam/hours.json"
    path.unlink()
    if spoiled is not None:
        path.write_bytes(spoiled)
    assert await house.library.catalogue("cam") == before
    await house.keep(EffectivePolicy(keep_days=1), AT + 2 * DAY)
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [], []]
