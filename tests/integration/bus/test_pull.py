"""The messages that a puller takes from its consumer, over a real server that hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from shared import bus
from shared.bus import pull_request
from shared.bus.pull import Puller
from shared.bus.pull_request import SILENCE_S
from shared.contract import names
from tests.support.waiting import until
from tidegate.local.server import MAX_CONTROL_LINE, NatsServer

HELD = 8
# Long enough for several requests, if one followed each silence.
STALL_S = 5 * SILENCE_S


async def in_flight(client: Client) -> int:
    return (await client.jetstream().consumer_info(names.MEDIA, "cv")).num_ack_pending or 0


@pytest.mark.slow
@pytest.mark.long
async def test_a_hung_server_delivers_no_more_than_the_free_room(server: NatsServer, admin: Client) -> None:
    """Requests to a hung server wait in its socket, and it serves all of them when it goes on."""
    # The ack wait is so long that a message delivered to nobody would be missed.
    await admin.jetstream().delete_consumer(names.MEDIA, "cv")
    await admin.jetstream().add_consumer(names.MEDIA, ConsumerConfig(durable_name="cv", ack_wait=600))
    for n in range(100):
        await admin.jetstream().publish(names.media("lobby"), b"%d" % n)
    # It stays connected: messages to an abandoned connection would be redelivered after the ack wait.
    client = await bus.connect(replace(server.settings("cv"), lease_s=60.0), "cv")
    assert server.pid
    async with Puller(client, names.MEDIA, "cv", messages=HELD, max_bytes=1 << 26) as puller:
        await until(lambda: len(puller.waiting) == HELD)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for _ in range(HELD):
                message = await puller.next()
                await message.ack()
                puller.release(message)
            await asyncio.sleep(STALL_S)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await until(lambda: len(puller.waiting) >= HELD)
        await asyncio.sleep(1)  # clock: a surplus delivery has no later marker
        assert len(puller.waiting) == HELD == await in_flight(admin)
        for n in range(HELD, 100):
            message = await puller.next()
            assert (message.data, message.metadata.num_delivered) == (b"%d" % n, 1)
            await message.ack_sync()
            puller.release(message)
    await client.close()


async def test_a_stalled_replica_keeps_its_connection_at_any_credit(server: NatsServer, admin: Client) -> None:
    """The server closes a connection with more unread bytes than `max_pending`."""
    for n in range(24):
        await admin.jetstream().publish(names.media("lobby"), bytes([n]) * (2 << 20))
    client = await bus.connect(server.settings("cv"), "cv")
    cid = client.client_id
    async with Puller(client, names.MEDIA, "cv", messages=24, max_bytes=1 << 26) as puller:
        for n in range(24):
            await until(lambda n=n: len(puller.waiting) > n)
            time.sleep(0.2)  # the whole process reads nothing meanwhile
        assert [message.data[0] for message in puller.waiting] == list(range(24))
        assert {message.metadata.num_delivered for message in puller.waiting} == {1}
    assert client.client_id == cid and "Slow Consumer" not in server.log.read_text()
    await client.close()


async def test_a_restarted_server_is_asked_again(
    server: NatsServer, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has forgotten the open request, and would send no heartbeats that stop."""
    monkeypatch.setattr(pull_request, "LONE_EXPIRES_S", 3600.0)
    client = await bus.connect(server.settings("cv"), "cv")
    async with Puller(client, names.MEDIA, "cv", messages=HELD, max_bytes=1 << 26) as puller:
        await until(lambda: puller._request.expected)
        await server.restart()
        await until(lambda: admin.is_connected and client.stats["reconnects"])
        await admin.jetstream().publish(names.media("lobby"), b"first")
        await until(lambda: puller.waiting)
    await client.close()


@pytest.mark.parametrize(
    "stream, subject, consumer", [("MEDIA", "media.", "cv"), ("EVENTS", "events.detections.", "search")]
)
async def test_the_largest_message_on_the_longest_subject_is_delivered(
    server: NatsServer, admin: Client, stream: str, subject: str, consumer: str
) -> None:
    """Otherwise it would stay the first until it expires, and any publisher could stop a service."""
    longest = subject + "x" * (MAX_CONTROL_LINE - 32 - len(subject))
    await admin.publish(longest, bytes(admin.max_payload))
    await admin.flush()
    await admin.jetstream().publish(f"{subject}lobby", b"next")
    client = await bus.connect(server.settings(consumer), consumer)
    async with Puller(client, stream, consumer, messages=HELD, max_bytes=1 << 26) as puller:
        await until(lambda: len(puller.waiting) == 2)
    await client.close()
