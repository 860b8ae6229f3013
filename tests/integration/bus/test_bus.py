"""The connection: its end, and the errors for messages that JetStream refuses."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from nats.aio.client import Client

from shared import bus
from shared.bus.pull import Puller
from shared.contract import names
from shared.runtime.errors import BusError, Full, Unstorable
from shared.runtime.ports import free_port
from tests.support.processes.service import counted
from tests.support.waiting import until
from tidegate.local.server import NatsServer


async def publish(client: Client, subject: str, payload: bytes = b"{}", **headers: str) -> None:
    await bus.publish(client, client.jetstream(), subject, payload, {"Nats-Msg-Id": "1", **headers}, patience_s=0.0)


async def test_a_client_closed_while_it_reconnects_has_ended(server: NatsServer) -> None:
    """Close it at every turn of the loop, with one present server and one absent one."""
    found = server.settings("admin")
    both = msgspec.structs.replace(found, nats_url=f"{found.nats_url},nats://127.0.0.1:{free_port(0)}")
    before = asyncio.all_tasks()
    for turns in [n for n in range(20) for _ in range(4)]:
        client = await bus.connect(both, "admin")
        await client.force_reconnect()
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.close()
        await until(lambda: asyncio.all_tasks() == before)


async def test_a_request_to_an_absent_server_does_not_block_closing(server: NatsServer, admin: Client) -> None:
    await server.stop()
    await until(lambda: not admin.is_connected)
    await admin.publish("media.lobby", b"video")
    await admin.close()
    assert admin.is_closed


async def test_a_flush_covers_all_earlier_requests(server: NatsServer, admin: Client) -> None:
    """Regression: its ping overtook an unwritten subscription, and the first message was lost."""
    reader = await bus.connect(server.settings("admin"), "admin")
    try:
        for n in range(200):
            heard = await reader.subscribe(f"of.no.stream.{n}")
            await reader.flush()
            await admin.publish(f"of.no.stream.{n}", b"x")
            await admin.flush()
            assert (await heard.next_msg(timeout=30)).data == b"x"
    finally:
        await reader.close()


async def test_a_client_reads_on_after_an_abandoned_flush(admin: Client) -> None:
    for turns in range(6):
        flush = asyncio.create_task(admin.flush())
        for _ in range(turns):
            await asyncio.sleep(0)
        flush.cancel()
        await asyncio.wait({flush})
        assert (await admin.jetstream().stream_info(names.VLM)).state.messages == 0


@pytest.mark.parametrize("limit", ["max_msgs", "max_bytes"])
async def test_a_stream_without_room_is_full(admin: Client, limit: str) -> None:
    js = admin.jetstream()
    config = (await js.stream_info(names.VLM)).config
    setattr(config, limit, 1)
    await js.update_stream(config)
    await js.publish("jobs.vlm.verify.other", b"") if limit == "max_msgs" else None
    with pytest.raises(Full, match=r"jobs\.vlm\.verify\.lobby was not stored"):
        await publish(admin, "jobs.vlm.verify.lobby")


async def test_a_message_that_no_server_accepts_is_unstorable(admin: Client) -> None:
    for payload, headers in ((bytes(admin.max_payload + 1), {}), (b"", {"traceparent": "x" * 66_000})):
        with pytest.raises(Unstorable, match=r"events\.tracks\.lobby"):
            await publish(admin, "events.tracks.lobby", payload, **headers)
    await publish(admin, "events.tracks.lobby")


async def test_a_subject_without_a_stream_is_another_error(admin: Client) -> None:
    with pytest.raises(BusError, match="nobody was not acknowledged") as refused:
        await publish(admin, "nobody")
    assert not isinstance(refused.value, Full | Unstorable)


async def test_nothing_is_delivered_to_a_puller_that_pauses(server: NatsServer, admin: Client) -> None:
    """The server may serve a request that was just withdrawn, unless it checks for interest."""
    js = admin.jetstream()
    client = await bus.connect(server.settings("cv"), "cv")
    try:
        async with Puller(client, names.MEDIA, "cv", messages=8, max_bytes=1 << 26) as puller:
            for _ in range(100):
                await js.publish(names.media("lobby"), b"first")
                first = await puller.next()
                await puller.pause()
                await js.publish(names.media("lobby"), b"second")
                assert await counted(admin, 2) == (1, 1)
                await puller.resume()
                for message in (first, await puller.next()):
                    await message.ack_sync()
                    puller.release(message)
    finally:
        await client.close()
