"""A stream read as a log."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from nats.aio.client import Client

from shared.bus.direct import Stored
from shared.bus.log import BATCH, Log
from shared.contract import names


async def put(client: Client, count: int, camera: str = "lobby", **headers: str) -> None:
    js = client.jetstream()
    for n in range(count):
        await js.publish(f"events.detections.{camera}", str(n).encode(), headers=headers or None)


async def test_a_log_is_read_in_order_and_ends_with_nothing(admin: Client) -> None:
    await put(admin, 2 * BATCH + 1)
    await put(admin, 1, "yard")
    async with Log(admin, names.EVENTS) as log:
        found: list[Stored] = []
        while part := await log.read("events.detections.lobby", found[-1].seq + 1 if found else 0):
            assert len(part) <= BATCH
            found += part
        assert [int(s.data) for s in found] == list(range(2 * BATCH + 1))
        assert all(a.time <= b.time and a.seq < b.seq for a, b in itertools.pairwise(found))
        assert await log.read("events.detections.lobby", 10_000) == []


async def test_all_of_many_subjects_exceeds_one_batch(admin: Client) -> None:
    cameras = [f"cam-{n}" for n in range(BATCH + 10)]
    for camera in cameras:
        await put(admin, 1, camera)
    async with Log(admin, names.EVENTS) as log:
        assert sorted(s.subject for s in await log.all("events.*.*")) == sorted(
            f"events.detections.{c}" for c in cameras
        )
        assert await log.all("events.tracks.*") == []


async def test_a_log_is_read_from_a_time_on(admin: Client) -> None:
    await put(admin, 5)
    await put(admin, 1, "yard")
    async with Log(admin, names.EVENTS) as log:
        every = await log.read("events.detections.lobby", 1)
        # The request to the server is in milliseconds.
        time = every[2].time.replace(microsecond=every[2].time.microsecond // 1000 * 1000)
        found = await log.since("events.detections.lobby", time)
        assert [s.seq for s in found] == [s.seq for s in every if s.time >= time]
        assert every[2].seq in [s.seq for s in found]
        assert len(await log.since("events.detections.lobby", time - dt.timedelta(days=400), most=3)) == 3
        assert await log.since("events.detections.lobby", every[-1].time + dt.timedelta(hours=1)) == []


async def test_the_last_message_of_a_subject_is_read_or_none(admin: Client) -> None:
    await put(admin, 3)
    async with Log(admin, names.EVENTS) as log:
        last = await log.last("events.detections.lobby")
        assert last is not None and last.data == b"2"
        assert await log.last("events.detections.yard") is None


@pytest.mark.parametrize("status", ["204", "404", "500", "x"])
async def test_a_message_header_is_not_taken_for_a_server_answer(admin: Client, status: str) -> None:
    await put(admin, 2, Status=status, Description="ours")
    async with Log(admin, names.EVENTS) as log:
        assert [s.data for s in await log.read("events.detections.*", 1)] == [b"0", b"1"]
        last = await log.last("events.detections.lobby")
        assert last is not None and last.headers["Status"] == status
