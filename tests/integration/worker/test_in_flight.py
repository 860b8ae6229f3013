"""Messages in flight, over a real server: answered once, and redelivered without an answer."""

from __future__ import annotations

import asyncio
import time

import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from shared import bus
from shared.bus.pull import Puller
from shared.client import dlq
from shared.contract import names
from shared.worker.drain import drain
from shared.worker.in_flight import Delivery, InFlight, Source
from shared.worker.tuning import Tuning
from tests.support.processes.echo_service import head
from tests.support.waiting import patience_s, until
from tidegate.local.server import NatsServer

CONSUMER = "cv"


@pytest_asyncio.fixture
async def in_flight(server: NatsServer, admin: Client) -> InFlight[Delivery]:
    return InFlight(admin, CONSUMER, Tuning(ack_tries=2, ack_timeout_s=0.3))


async def store(admin: Client, count: int) -> None:
    for n in range(count):
        await admin.jetstream().publish(names.media("lobby"), b"%d" % n, headers=head(n))


async def set_up(admin: Client, *, ack_wait_s: float) -> None:
    """Create the consumer again, with this acknowledgement wait."""
    await admin.jetstream().delete_consumer(names.MEDIA, CONSUMER)
    config = ConsumerConfig(durable_name=CONSUMER, ack_wait=ack_wait_s, max_deliver=5)
    await admin.jetstream().add_consumer(names.MEDIA, config)


async def counts(admin: Client) -> tuple[int, int]:
    """Messages delivered and not answered, and messages not delivered yet."""
    info = await admin.jetstream().consumer_info(names.MEDIA, CONSUMER)
    return info.num_ack_pending or 0, info.num_pending or 0


async def taken(in_flight: InFlight[Delivery], source: Source, puller: Puller) -> Delivery:
    return in_flight.take(Delivery(await puller.next(), source))


async def test_buffered_messages_are_returned_when_pulling_ends_and_in_flight_ones_stay(
    admin: Client, in_flight: InFlight[Delivery]
) -> None:
    await set_up(admin, ack_wait_s=300)
    await store(admin, 4)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    async with source.pull(messages=4, max_bytes=1 << 26) as puller:
        delivery = await taken(in_flight, source, puller)
        await until(lambda: len(source.arrived) == 3)
    async with source.pull(messages=8, max_bytes=1 << 26):
        await until(lambda: len(source.arrived) == 3)
        assert {m.metadata.num_delivered for m in source.arrived} == {2}
        assert await in_flight.hand_back(delivery) and not in_flight
        await until(lambda: len(source.arrived) == 4)


async def test_credit_that_is_returned_early_is_not_returned_twice(
    admin: Client, in_flight: InFlight[Delivery]
) -> None:
    await store(admin, 3)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    async with source.pull(messages=1, max_bytes=1 << 26) as puller:
        first = await taken(in_flight, source, puller)
        assert await counts(admin) == (1, 2)
        first.return_credit()
        second = await taken(in_flight, source, puller)
        await in_flight.acknowledge(first)
        in_flight.release(first)
        await asyncio.sleep(1)  # clock: a third delivery has no later marker
        assert await counts(admin) == (1, 1) and list(in_flight) == [second] and not source.arrived
        await in_flight.acknowledge(second)
        await in_flight.acknowledge(await taken(in_flight, source, puller))
    assert await counts(admin) == (0, 0)


async def test_a_message_that_cannot_be_dead_lettered_is_redelivered(
    admin: Client, in_flight: InFlight[Delivery]
) -> None:
    await set_up(admin, ack_wait_s=1)
    await store(admin, 1)
    dead_letters = (await admin.jetstream().stream_info(names.DLQ)).config
    await admin.jetstream().delete_stream(names.DLQ)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    async with source.pull(messages=1, max_bytes=1 << 26) as puller:
        assert not await in_flight.dead_letter(await taken(in_flight, source, puller), "it is broken") and not in_flight
        again = await taken(in_flight, source, puller)
        assert again.deliveries > 1
        await admin.jetstream().add_stream(dead_letters)
        beating = asyncio.create_task(beats(in_flight))
        assert await in_flight.dead_letter(again, "it is broken")
        beating.cancel()
    (letter,) = [x async for x in dlq.entries(admin)]
    assert (letter.stream_seq, letter.reason) == (1, "it is broken")
    assert await counts(admin) == (0, 0)


async def test_a_drain_returns_messages_that_it_has_no_time_to_dead_letter(
    admin: Client, in_flight: InFlight[Delivery]
) -> None:
    await set_up(admin, ack_wait_s=300)
    await store(admin, 1)
    await admin.jetstream().delete_stream(names.DLQ)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    async with source.pull(messages=1, max_bytes=1 << 26) as puller:
        attempt = await admin.subscribe("dlq.>")
        burying = asyncio.create_task(in_flight.dead_letter(await taken(in_flight, source, puller), "it is broken"))
        await attempt.next_msg(timeout=patience_s())
        assert await drain(admin, in_flight, until=0.0, working=lambda: [burying]) == 1 and not in_flight
        assert (await taken(in_flight, source, puller)).deliveries == 2


async def beats(in_flight: InFlight[Delivery]) -> None:
    while True:
        await in_flight.beat()
        await asyncio.sleep(in_flight.beat_s)


async def test_an_unconfirmed_acknowledgement_is_abandoned(admin: Client, in_flight: InFlight[Delivery]) -> None:
    await store(admin, 1)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    async with source.pull(messages=1, max_bytes=1 << 26) as puller:
        delivery = await taken(in_flight, source, puller)
        await admin.jetstream().delete_consumer(names.MEDIA, CONSUMER)
        await in_flight.acknowledge(delivery)
        assert not in_flight


async def test_busy_time_counts_while_anything_is_in_flight(admin: Client, in_flight: InFlight[Delivery]) -> None:
    await store(admin, 2)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    assert in_flight.occupied.seconds == 0
    async with source.pull(messages=2, max_bytes=1 << 26) as puller:
        first, second = await taken(in_flight, source, puller), await taken(in_flight, source, puller)
        await in_flight.acknowledge(first)
        before = in_flight.occupied.seconds
        await until(lambda: in_flight.occupied.seconds > before)
        await in_flight.acknowledge(second)
        after = in_flight.occupied.seconds
        assert in_flight.occupied.seconds == after, "each reading of the clock differs"


async def test_a_drain_ends_at_its_deadline_and_returns_the_rest(
    server: NatsServer, admin: Client, in_flight: InFlight[Delivery]
) -> None:
    await set_up(admin, ack_wait_s=300)
    await store(admin, 2)
    source = await in_flight.open(names.MEDIA, CONSUMER)
    async with source.pull(messages=2, max_bytes=1 << 26) as puller:
        quick, slow = await taken(in_flight, source, puller), await taken(in_flight, source, puller)
    never = asyncio.create_task(asyncio.Event().wait())
    acknowledging = asyncio.create_task(in_flight.acknowledge(quick))
    late = await drain(
        admin, in_flight, until=time.monotonic() + patience_s() / 100, working=lambda: [never, acknowledging]
    )
    assert late == 1 and not in_flight and never.cancelled()
    other = await bus.connect(server.settings("cv"), "cv")
    async with Puller(other, names.MEDIA, CONSUMER, messages=2, max_bytes=1 << 26) as puller:
        again = await puller.next()
        assert (again.data, again.metadata.num_delivered) == (slow.data, 2)
        await again.ack_sync()
    await other.close()
    assert await counts(admin) == (0, 0)
