"""Retention of recordings: what stays of each hour, what is removed when, and that nothing else is."""

from __future__ import annotations

import datetime as dt
import os

import msgspec
import pytest
from nats.aio.client import Client

from services.recorder import metrics
from services.recorder.keeping import UNKNOWN_S
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
from shared.recordings.ledger import Last, Ledger
from shared.recordings.policy import EffectivePolicy
from shared.recordings.records import HOUR, Hole, Unreadable, folder_of
from shared.recordings.retention import GB
from tests.support.worlds.incidents import incident, say
from tests.support.worlds.keeper import AT, MINUTE, SETTLED, House
from tests.support.worlds.keeper import house as house

DAY = dt.timedelta(days=1)


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


async def test_a_past_hour_is_closed_even_if_nothing_follows(house: House) -> None:
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
    ("policy", "stays"),
    [
        (EffectivePolicy(), [0, 1, 2, 3, 4, 5]),
        (EffectivePolicy(record="never"), []),
        (EffectivePolicy(record="never", hold=True), [0, 1, 2, 3, 4, 5]),
        # The last one was never analysed.
        (EffectivePolicy(record="activity", before_s=0, after_s=0), [0, 3, 4, 5]),
        (EffectivePolicy(record="activity", before_s=0, after_s=0, labels=("person",)), [3, 4, 5]),
        (EffectivePolicy(record="activity", before_s=0, after_s=40, labels=("dog",)), [0, 1, 4, 5]),
        (EffectivePolicy(record="activity", before_s=0, after_s=0, zones=("door",)), [1, 4, 5]),
        (EffectivePolicy(record="incidents", before_s=0, after_s=0), [4]),
        (EffectivePolicy(record="incidents", before_s=60, after_s=60), [3, 4, 5]),
    ],
)
async def test_a_policy_decides_what_stays(
    house: House, admin: Client, policy: EffectivePolicy, stays: list[int]
) -> None:
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
    await house.keep(policy, SETTLED - MINUTE)
    assert await house.minutes(AT) == list(range(6))
    await house.keep(policy, SETTLED)
    assert await house.minutes(AT) == stays
    hour = await house.library.hour("cam", AT)
    assert hour
    holes = [round((hole.since - AT) / MINUTE) for hole in hour.holes]
    assert holes == [n for n in range(6) if n not in stays] and all(hole.cause == "policy" for hole in hour.holes)
    shows = {round((file.start - AT) / MINUTE) for file in hour.files if file.incident}
    assert shows == {n for n in stays if 270 - policy.before_s < 60 * (n + 1) and 270 + policy.after_s >= 60 * n}


async def test_old_video_goes_first_then_incidents_and_held_video_stays(house: House, admin: Client) -> None:
    await house.record(AT, range(3))
    time = AT + 1.5 * MINUTE
    await say(admin, incident("a", "cam", start=time, state="end", end=time, time=time))
    policy = EffectivePolicy(keep_days=1, incidents_days=3, before_s=0, after_s=0)
    await house.keep(policy, AT + DAY)
    assert await house.minutes(AT) == [0, 1, 2]
    await house.keep(msgspec.structs.replace(policy, hold=True), AT + 100 * DAY)
    assert await house.minutes(AT) == [0, 1, 2]
    await house.keep(policy, AT + DAY + 2 * MINUTE)
    assert await house.minutes(AT) == [1, 2]
    await house.keep(policy, AT + 2 * DAY)
    assert await house.minutes(AT) == [1]
    await house.keep(policy, AT + 4 * DAY)
    assert await house.minutes(AT) == []
    # Only the catalogue is left.
    assert [path.name for path in house.path.rglob("*") if path.is_file()] == ["hours.json"]


async def test_over_the_limit_the_oldest_goes_first(house: House) -> None:
    for n in range(3):
        await house.record(AT + n * HOUR, range(4), size=GB // 10)
    now = AT + 5 * HOUR
    await house.keep(EffectivePolicy(), now)
    await house.keep(EffectivePolicy(most_gb=0.7), now)
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [1, 2, 3], [0, 1, 2, 3]]


async def test_each_removed_file_counts_by_its_own_cause(house: House) -> None:
    def count(cause: str) -> float:
        return metrics.REMOVED.labels(cause)._value.get()

    for n in range(3):
        await house.record(AT + n * HOUR, range(4), size=GB // 10)
    now = AT + DAY + HOUR + MINUTE / 2
    await house.keep(EffectivePolicy(), now)
    before = {cause: count(cause) for cause in ("age", "size")}
    # The first hour is past its age; of the other two, one file is over the limit.
    await house.keep(EffectivePolicy(keep_days=1, most_gb=0.7), now)
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [1, 2, 3], [0, 1, 2, 3]]
    # An hour may lose some files by age, and others by size.
    await house.keep(EffectivePolicy(keep_days=1, most_gb=0.3), now + 2 * MINUTE)
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [], [1, 2, 3]]
    assert {cause: count(cause) - before[cause] for cause in before} == {"age": 5, "size": 4}


async def test_unknown_files_are_swept(house: House) -> None:
    await house.record(AT, range(2))
    folder = house.path / folder_of("cam", AT)
    left = folder / "0000-dead-0.mp4"
    part = folder / "0100-dead-0.mp4.1234.part"
    for path in (left, part):
        path.write_bytes(b"x")
    # A young file may be on its way into an index.
    os.utime(left, (0, (SETTLED.timestamp() - UNKNOWN_S) + 60))
    os.utime(part, (0, SETTLED.timestamp() - UNKNOWN_S - 60))
    await house.keep(EffectivePolicy(), SETTLED)
    assert left.exists() and not part.exists()
    left.unlink()
    assert await house.minutes(AT) == [0, 1]


async def test_the_oldest_video_of_all_cameras_goes_if_the_disk_is_short(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        await house.record(AT + n * HOUR, range(4))
    needed = [30]

    async def lacks() -> int:
        return needed[0]

    monkeypatch.setattr(house.library.store, "lacks", lacks)
    await house.keeper.make_room(["cam"])
    assert [await house.minutes(AT + n * HOUR) for n in range(3)] == [[], [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("dies", range(1, 12))
async def test_another_process_continues_after_a_crash(
    house: House, admin: Client, monkeypatch: pytest.MonkeyPatch, dies: int
) -> None:
    """Die at each call to the store, once: settling, sweeping and removal by age end as without a death."""
    await house.record(AT, range(4))
    await say(admin, *(detected(n, *(["person"] if n == 2 else [])) for n in range(4)))
    policy = EffectivePolicy(record="activity", before_s=0, after_s=0, keep_days=1, incidents_days=1)
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
            await house.keep(policy, now)
        except Dead:
            await house.keep(policy, now)
        if now == SETTLED:
            index = await house.library.hour("cam", AT)
            assert index and [round((f.start - AT) / MINUTE) for f in index.files] == [2]
            assert len(index.holes) == 3
    assert [path.name for path in house.path.rglob("*") if path.is_file()] == ["hours.json"]


async def test_a_damaged_index_costs_neither_recording_nor_files(house: House) -> None:
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
    # An index that is damaged after its hour blocks no other removal, and is removed with its hour.
    index.write_bytes(b"{")
    await house.record(AT + HOUR, range(2))
    await house.keep(EffectivePolicy(keep_days=1), AT + DAY)
    await house.keep(EffectivePolicy(keep_days=1), AT + 2 * DAY)
    assert [path.name for path in house.path.rglob("*") if path.is_file()] == ["hours.json"]


@pytest.mark.parametrize("spoiled", [None, b"", b"{"])
async def test_a_lost_catalogue_is_rebuilt(house: House, spoiled: bytes | None) -> None:
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
