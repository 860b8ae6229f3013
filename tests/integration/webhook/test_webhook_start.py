"""Where the webhook begins, over a real NATS server: the first start, restarts, older versions, and moved starts."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import pytest
from nats.aio.client import Client

from services.webhook.settings import WebhookSettings
from services.webhook.start import Beginning, Start
from shared import bus
from shared.contract import names, topology
from shared.contract.topology import TopologySettings
from shared.runtime.errors import BusError, SettingError
from shared.runtime.settings import load
from tests.support.worlds.webhook_service import all_answered, receiver, sending
from tests.support.worlds.webhook_world import Receiver, say
from tidegate.local.server import NatsServer

__all__ = ["receiver"]


async def forget(admin: Client) -> None:
    """Remove what an older version does not have."""
    await admin.jetstream().delete_key_value(names.WEBHOOK)
    await topology.apply(admin.jetstream(), TopologySettings())


async def test_a_first_start_skips_what_waits_and_later_ones_lose_nothing(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    for n in range(300):
        await say(admin, n)
    async with sending(server, receiver.url):
        await all_answered(admin)
        assert receiver.ids == []
    # The webhook has begun, without a single delivery: what comes while it is away is sent.
    away = [await say(admin, n) for n in (300, 301)]
    async with sending(server, receiver.url):
        await all_answered(admin)
        now = await say(admin, 302)
        await all_answered(admin)
    assert receiver.ids == [*away, now]


async def test_a_start_that_was_interrupted_while_it_skips_goes_on_to_skip(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    for n in range(20):
        await say(admin, n)
    client = await bus.connect(server.settings("webhook"), "webhook")
    await Beginning(client).record(None)
    pulled = await client.jetstream().pull_subscribe_bind("webhook", names.EVENTS)
    for message in await pulled.fetch(5):
        await message.ack_sync()
    await client.close()
    async with sending(server, receiver.url):
        await all_answered(admin)
    assert receiver.ids == []


async def test_the_events_that_wait_for_an_older_version_are_sent(
    server: NatsServer, admin: Client, receiver: Receiver
) -> None:
    first = await say(admin, 1)
    async with sending(server, receiver.url, webhook_since="1h"):
        await all_answered(admin)
    await forget(admin)
    waiting = await say(admin, 2)
    async with sending(server, receiver.url):
        await all_answered(admin)
    assert receiver.ids == [first, waiting]


async def test_an_older_version_that_still_pulls_has_begun(server: NatsServer, admin: Client) -> None:
    client = await bus.connect(server.settings("webhook"), "webhook")
    pulled = await client.jetstream().pull_subscribe_bind("webhook", names.EVENTS)
    pull = asyncio.create_task(pulled.fetch(1, timeout=30))
    async with asyncio.timeout(10):
        while not (await admin.jetstream().consumer_info(names.EVENTS, "webhook")).num_waiting:
            await asyncio.sleep(0.05)
    assert await Beginning(client).record(None) == Start(seq=0)
    pull.cancel()
    await client.close()


async def test_two_processes_that_start_together_begin_at_the_same_event(server: NatsServer, admin: Client) -> None:
    clients = [await bus.connect(server.settings("webhook"), "webhook") for _ in range(4)]
    await say(admin, 1)

    async def begin(client: Client, n: int) -> Start:
        await say(admin, n)
        return await Beginning(client).record(None)

    starts = await asyncio.gather(*(begin(client, n) for n, client in enumerate(clients, 2)))
    assert len(set(starts)) == 1 and 2 <= starts[0].seq <= 5
    for client in clients:
        await client.close()


async def test_a_first_start_begins_at_webhook_since(server: NatsServer, admin: Client, receiver: Receiver) -> None:
    await say(admin, 1)
    await asyncio.sleep(1.5)
    between = dt.datetime.now(dt.UTC)
    await asyncio.sleep(0.1)
    second = await say(admin, 2)
    async with sending(server, receiver.url, webhook_since=between.isoformat()):
        await all_answered(admin)
    async with sending(server, receiver.url, webhook_since="7d"):
        await all_answered(admin)
    assert receiver.ids == [second]


async def test_setup_keeps_the_start_of_a_consumer(server: NatsServer, admin: Client) -> None:
    js, limits = admin.jetstream(), TopologySettings()
    await say(admin, 1)
    await topology.renew_consumer(js, limits, names.EVENTS, "webhook", dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    assert (await js.consumer_info(names.EVENTS, "webhook")).num_pending == 1
    assert await topology.apply(js, limits) == []
    assert await topology.apply(js, TopologySettings(max_ack_pending=77)) != []
    info = await js.consumer_info(names.EVENTS, "webhook")
    assert (info.num_pending, info.config.max_ack_pending) == (1, 77)


def test_a_start_is_a_sequence_so_that_a_clock_may_be_set_back() -> None:
    start = Start(seq=10, time=1000.0)
    assert start.skips(10, 999.9) and not start.skips(10, 1000.0) and not start.skips(11, 0.0)
    assert Start(seq=10).skips(10, time.time() + 1e6) and not Start(seq=10).skips(11, 0.0)


@pytest.mark.parametrize("text", ["yesterday", "1w", "25:00", "-1h"])
def test_an_unusable_webhook_since_is_an_error(text: str) -> None:
    with pytest.raises(SettingError, match=r"WEBHOOK_SINCE .* is no time"):
        load(WebhookSettings, {"WEBHOOK_URL": "https://example.org/", "WEBHOOK_SINCE": text})


async def test_a_missing_bucket_is_an_error_with_the_remedy(server: NatsServer, admin: Client) -> None:
    await admin.jetstream().delete_key_value(names.WEBHOOK)
    with pytest.raises(BusError, match="bucket webhook is missing: run 'tidegate setup'"):
        await Beginning(admin).record(None)
