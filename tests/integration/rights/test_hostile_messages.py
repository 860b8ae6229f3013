"""Subjects and headers that no client of ours would send, and that the server passes on: no reader stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from shared import bus
from shared.bus.log import Log
from shared.contract import names
from tests.support.servers import raw_messages as raw
from tidegate.local.server import NatsServer

LAST = b"NATS/1.0\r\nLast: yes\r\n\r\n"
NAMES = (b"\xff\xfe", b"\xc3\xb6", b"\x01\x1b[2J")


# How to send one.
Put = Callable[[Client, bytes, bytes, bytes], Awaitable[None]]


async def hostile(client: Client, prefix: bytes = b"events.tracks.", put: Put = raw.store) -> int:
    """Send all of them, and a final message that shows their end; return their number."""
    for headers in raw.BLOCKS:
        await put(client, prefix + b"lobby", headers, b"x")
    for name in NAMES:
        await put(client, prefix + name, raw.block([b"A: b"]), b"x")
    await put(client, prefix + b"lobby", LAST, b"last")
    return len(raw.BLOCKS) + len(NAMES) + 1


@pytest_asyncio.fixture
async def analytics(server: NatsServer) -> AsyncIterator[Client]:
    """A client that may write tracks. The server rewrites the headers of messages that cross accounts."""
    client = await bus.connect(server.settings("analytics"), "analytics")
    yield client
    await client.close()


async def test_a_consumer_reads_on_after_any_message(admin: Client, analytics: Client) -> None:
    count = await hostile(analytics)
    heard = await admin.jetstream().subscribe("events.tracks.>", stream=names.EVENTS)
    await check_heard(heard, count)


async def test_a_subscriber_reads_on_after_any_message(server: NatsServer, admin: Client) -> None:
    """Within one account the server passes on every byte."""
    reader = await bus.connect(server.settings("admin"), "admin")
    try:
        heard = await reader.subscribe("of.no.stream.>")
        await reader.flush()
        await check_heard(heard, await hostile(admin, b"of.no.stream.", raw.send))
    finally:
        await reader.close()


async def check_heard(heard: Subscription, count: int) -> None:
    found = [await heard.next_msg(timeout=30) for _ in range(count)]
    assert found[-1].data == b"last" and (found[-1].headers or {})["Last"] == "yes"
    # The server makes a block that is shorter than a line part of the payload, if it writes headers of its own.
    assert [m.data for m in found[:-1] if not m.data.endswith(b"x")] == []


async def test_a_log_reads_on_after_any_message(admin: Client, analytics: Client) -> None:
    count = await hostile(analytics)
    async with Log(admin, names.EVENTS) as log:
        found = await log.read("events.tracks.>", 1)
    assert [s.seq for s in found] == list(range(1, count + 1)) and found[-1].data == b"last"
    assert found[0].subject == "events.tracks.lobby"


@pytest.mark.parametrize("description", [b"Idle Heartbeat", b"FlowControl Request"])
@pytest.mark.parametrize("line", [True, False], ids=["in the first line", "as headers"])
async def test_no_message_makes_a_watcher_publish(
    server: NatsServer, admin: Client, description: bytes, line: bool
) -> None:
    """Regression: a writer of events could purge a stream by way of an operator who watches events."""
    js = admin.jetstream()
    await js.publish("events.captions.lobby", b"{}")
    status = b" 100 %s\r\n" % description if line else b"\r\nStatus: 100\r\nDescription: %s\r\n" % description
    order = b"Nats-Consumer-Stalled: $JS.API.STREAM.PURGE.EVENTS\r\n\r\n"
    heard = await js.subscribe("events.>", stream=names.EVENTS, ordered_consumer=True)
    ingest = await bus.connect(server.settings("ingest"), "ingest")
    try:
        await raw.store(ingest, b"events.cameras.lobby", b"NATS/1.0" + status + order)
        await js.publish("events.captions.lobby", b"after")
        while (await heard.next_msg(timeout=30)).data != b"after":
            pass
    finally:
        await ingest.close()
    assert (await js.stream_info(names.EVENTS)).state.messages == 3
