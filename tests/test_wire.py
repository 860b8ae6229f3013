"""Subjects and headers that no client of ours would send, and that the server passes on: nobody stops reading."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from shared import bus
from shared.bus.log import Log
from shared.contract import names
from tests import raw
from tidegate.local.server import NatsServer

LAST = b"NATS/1.0\r\nLast: yes\r\n\r\n"
BLOCKS = (
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 404 \xff\xff\r\n\r\n",
    b"NATS/1.0 404 No\r\nA: b\r\n\r\n",
    b"NATS/1.0 503 \xff\r\nA: \xff\r\n\r\n",
    b"NATS/1.0",
    b"NATS/1.0 ",
    b"N",
    b"NATS/1.0\r\n\xff\xfe: x\r\n: \r\n:\r\n \r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: one\r\nNats-Subject: x\r\nNats-Time-Stamp: x\r\nStatus: 404\r\n\r\n",
)
SUBJECTS = (b"events.tracks.\xff\xfe", b"events.tracks.\xc3\xb6", b"events.tracks.\x01\x1b[2J")


async def hostile(client: Client) -> int:
    """Send all of them, and what shows that they have been read; how many they are."""
    for headers in BLOCKS:
        await raw.send(client, b"events.tracks.lobby", headers, b"x")
    for subject in SUBJECTS:
        await raw.send(client, subject, raw.block([b"A: b"]), b"x")
    await raw.send(client, b"events.tracks.lobby", LAST, b"last")
    return len(BLOCKS) + len(SUBJECTS) + 1


@pytest.mark.parametrize("stored", [True, False], ids=["of a consumer", "as it comes"])
async def test_a_subscriber_reads_on_whatever_a_message_holds(server: NatsServer, admin: Client, stored: bool) -> None:
    reader = await bus.connect(server.settings("admin"), "admin")
    try:
        if not stored:
            heard = await reader.subscribe("events.tracks.>")
            await reader.flush()
        count = await hostile(admin)
        if stored:
            heard = await reader.jetstream().subscribe("events.tracks.>", stream=names.EVENTS)
        found = [await heard.next_msg(timeout=30) for _ in range(count)]
        assert found[-1].data == b"last" and (found[-1].headers or {})["Last"] == "yes"
        assert [m.data for m in found[:-1]] == [b"x"] * (count - 1)
    finally:
        await reader.close()


async def test_a_log_reads_on_whatever_a_message_holds(admin: Client) -> None:
    count = await hostile(admin)
    async with Log(admin, names.EVENTS) as log:
        found = await log.read("events.tracks.>", 1)
    assert [s.seq for s in found] == list(range(1, count + 1)) and found[-1].data == b"last"
    assert found[0].subject == "events.tracks.lobby"


@pytest.mark.parametrize("description", [b"Idle Heartbeat", b"FlowControl Request"])
@pytest.mark.parametrize("line", [True, False], ids=["in the first line", "as headers"])
async def test_no_message_has_a_watcher_publish(
    server: NatsServer, admin: Client, description: bytes, line: bool
) -> None:
    """Whoever may write an event could have purged a stream by the hand of the operator who watches events."""
    js = admin.jetstream()
    await js.publish("events.captions.lobby", b"{}")
    status = b" 100 %s\r\n" % description if line else b"\r\nStatus: 100\r\nDescription: %s\r\n" % description
    order = b"Nats-Consumer-Stalled: $JS.API.STREAM.PURGE.EVENTS\r\n\r\n"
    heard = await js.subscribe("events.>", stream=names.EVENTS, ordered_consumer=True)
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    try:
        await raw.send(ingest, b"events.cameras.lobby", b"NATS/1.0" + status + order)
        await js.publish("events.captions.lobby", b"after")
        while (await heard.next_msg(timeout=30)).data != b"after":
            pass
    finally:
        await ingest.close()
    assert (await js.stream_info(names.EVENTS)).state.messages == 3
