"""Streams of a backup on another server: their order, their ids, and what consumers get."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.bus.log import Log
from shared.contract import names
from shared.contract.reading.entries import entries
from shared.runtime.errors import BusError
from tests.support.waiting import patience_s
from tests.support.worlds.backups import running
from tidegate.backup import contents, restoring, streams, taking
from tidegate.backup.records import Message


async def publish(client: Client, subject: str, n: int, count: int = 1) -> None:
    js = client.jetstream()
    for k in range(n, n + count):
        await js.publish(subject, f"{k}".encode(), headers={"Nats-Msg-Id": f"{subject}/{k}", "ce-id": f"{k}"})


async def stored(client: Client, stream: str) -> list[tuple[str, bytes, str]]:
    """Return the messages of a stream: subject, data and id."""
    async with Log(client, stream) as log:
        return [(m.subject, m.data, m.headers.get("ce-id", "")) for m in await log.all(">")]


async def taken(client: Client, file: Path) -> contents.Contents:
    plan = taking.Plan(file=file, data=None, secret=None, passwords=False, history=True)
    await taking.take(client, plan, lambda _: None)
    return contents.check(file, None, lambda _: None)


async def restored(data: Path, file: Path) -> restoring.Restored:
    found = contents.check(file, None, lambda _: None)
    source = restoring.Source(file=file, key=None, contents=found)
    return await restoring.restore_here(data, source, lambda _: None, lambda _: None)


async def fill(client: Client) -> None:
    await publish(client, names.media("lobby"), 0, 3)
    await publish(client, "events.detections.lobby", 0, 600)
    await publish(client, "events.alerts.lobby", 0, 2)
    await publish(client, names.picture("lobby", "1"), 0)
    await publish(client, names.usage("cv"), 0, 2)
    await publish(client, names.dead_letters("cv"), 0)
    await publish(client, names.audit("camera.add"), 0, 3)


STREAMS = (names.EVENTS, names.ALERTS, names.PICTURES, names.USAGE, names.DLQ, names.AUDIT)


@pytest.mark.slow
async def test_streams_come_back_in_order_and_once(tmp_path: Path) -> None:
    file = tmp_path / "a.tgb"
    async with running(tmp_path / "old") as client:
        await fill(client)
        await counted(client, names.ALERTS, 2)
        before = {stream: await stored(client, stream) for stream in STREAMS}
        found = await taken(client, file)
        assert found.counts["stream EVENTS"] == 602
        assert "stream ALERTS" not in found.counts
        last = {p.stream: p.seq for p in found.positions}
    for _ in range(2):
        await restored(tmp_path / "new", file)
        async with running(tmp_path / "new") as client:
            await counted(client, names.ALERTS, 2)
            assert {stream: await stored(client, stream) for stream in STREAMS} == before
            js = client.jetstream()
            assert (await js.stream_info(names.EVENTS)).state.first_seq > last[names.EVENTS]
            [media, alerts] = [(await js.stream_info(s)).state for s in (names.MEDIA, names.ALERTS)]
            assert media.messages == 0
            assert media.last_seq > last[names.MEDIA]
            assert alerts.first_seq > last[names.ALERTS]


async def counted(client: Client, stream: str, n: int) -> None:
    """Wait until the stream has n messages."""
    async with asyncio.timeout(patience_s()):
        while (await client.jetstream().stream_info(stream)).state.messages != n:
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_consumers_begin_after_restored_events_but_that_of_search(tmp_path: Path) -> None:
    file = tmp_path / "a.tgb"
    async with running(tmp_path / "old") as client:
        await fill(client)
        await taken(client, file)
    await restored(tmp_path / "new", file)
    async with running(tmp_path / "new") as client:
        js = client.jetstream()
        pending = {info.name: info.num_pending for info in await js.consumers_info(names.EVENTS)}
        assert pending.pop("search", 0)
        assert set(pending.values()) == {0}
        await publish(client, "events.alerts.lobby", 7)
        assert (await js.consumer_info(names.EVENTS, names.WEBHOOK)).num_pending == 1
        end = (await js.stream_info(names.EVENTS)).state.last_seq
        positions = await entries(js, names.ANALYTICS)
        assert positions
        assert all(f'"seq":{end}'.encode() in value for value in positions.values())


async def test_alerts_that_events_has_dropped_come_back(tmp_path: Path) -> None:
    file = tmp_path / "a.tgb"
    async with running(tmp_path / "old") as client:
        await fill(client)
        await counted(client, names.ALERTS, 2)
        await client.jetstream().purge_stream(names.EVENTS, seq=602)
        before = await stored(client, names.ALERTS)
        assert (await taken(client, file)).counts["stream ALERTS"] == 1
    await restored(tmp_path / "new", file)
    async with running(tmp_path / "new") as client:
        await counted(client, names.ALERTS, 2)
        assert await stored(client, names.ALERTS) == before


async def test_the_server_of_the_backup_gets_no_message_twice(tmp_path: Path) -> None:
    file = tmp_path / "a.tgb"
    async with running(tmp_path / "old") as client:
        await fill(client)
        await taken(client, file)
        before = {stream: await stored(client, stream) for stream in STREAMS}
    done = await restored(tmp_path / "old", file)
    assert done.messages == 0
    assert any("AUDIT is the stream that was backed up" in line for line in done.lines)
    async with running(tmp_path / "old") as client:
        assert {stream: await stored(client, stream) for stream in STREAMS} == before


async def test_a_second_run_goes_on_after_the_last_message(tmp_path: Path) -> None:
    async with running(tmp_path / "new") as client:
        messages = [message(n) for n in range(1, 400)]
        first = streams.Restorer(client, "0" * 32, [])
        for one in messages[:300]:
            await first.add(one)
        # Killed: the last window was never sent.
        assert 0 < first.count < 300
        second = streams.Restorer(client, "0" * 32, [])
        for one in messages:
            await second.add(one)
        await second.flush()
        assert first.count + second.count == 399
        assert [data for _, data, _ in await stored(client, names.USAGE)] == [b"%d" % n for n in range(1, 400)]


async def test_a_message_on_another_subject_is_left_out(tmp_path: Path) -> None:
    async with running(tmp_path / "new") as client:
        restorer = streams.Restorer(client, "0" * 32, [])
        await restorer.add(message(1, subject="jobs.cv.backfill.lobby"))
        await restorer.add(message(2, stream=names.MEDIA, subject=names.media("lobby")))
        await restorer.flush()
        assert (restorer.count, restorer.left_out) == (0, 2)


async def test_a_full_stream_is_an_error_with_its_name(tmp_path: Path) -> None:
    async with running(tmp_path / "new") as client:
        await client.jetstream().delete_stream(names.USAGE)
        restorer = streams.Restorer(client, "0" * 32, [])
        with pytest.raises(BusError, match=names.USAGE):
            await restorer.add(message(1))
            await restorer.flush()


def message(n: int, *, stream: str = names.USAGE, subject: str = "usage.cv") -> Message:
    return Message(stream=stream, seq=n, subject=subject, time=dt.datetime(2026, 12, 1, tzinfo=dt.UTC), data=b"%d" % n)
