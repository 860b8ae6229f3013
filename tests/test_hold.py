"""What is in hand, over a real server: answered for once, and delivered again where it was not."""

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
from shared.worker.hold import Held, Hold, Source
from shared.worker.tuning import Tuning
from tests.test_worker import head
from tests.waiting import patience_s, until
from tidegate.local.server import NatsServer

CONSUMER = "cv"


@pytest_asyncio.fixture
async def hold(server: NatsServer, admin: Client) -> Hold[Held]:
    return Hold(admin, CONSUMER, Tuning(ack_tries=2, ack_timeout_s=0.3))


async def store(admin: Client, count: int) -> None:
    for n in range(count):
        await admin.jetstream().publish(names.media("lobby"), b"%d" % n, headers=head(n))


async def set_up(admin: Client, *, ack_wait_s: float) -> None:
    """The consumer anew, so patient."""
    await admin.jetstream().delete_consumer(names.MEDIA, CONSUMER)
    config = ConsumerConfig(durable_name=CONSUMER, ack_wait=ack_wait_s, max_deliver=5)
    await admin.jetstream().add_consumer(names.MEDIA, config)


async def counts(admin: Client) -> tuple[int, int]:
    """Messages delivered and not answered, and messages not delivered yet."""
    info = await admin.jetstream().consumer_info(names.MEDIA, CONSUMER)
    return info.num_ack_pending or 0, info.num_pending or 0


async def taken(hold: Hold[Held], source: Source, puller: Puller) -> Held:
    return hold.take(Held(await puller.next(), source))


async def test_what_has_arrived_is_handed_back_where_pulling_ends_and_what_is_in_hand_is_not(
    admin: Client, hold: Hold[Held]
) -> None:
    await set_up(admin, ack_wait_s=300)
    await store(admin, 4)
    source = await hold.open(names.MEDIA, CONSUMER)
    async with hold.pull(source, messages=4, max_bytes=1 << 26) as puller:
        held = await taken(hold, source, puller)
        await until(lambda: len(source.arrived) == 3)
    async with hold.pull(source, messages=8, max_bytes=1 << 26):
        await until(lambda: len(source.arrived) == 3)
        assert {m.metadata.num_delivered for m in source.arrived} == {2}
        assert await hold.hand_back(held) and not hold
        await until(lambda: len(source.arrived) == 4)


async def test_credit_that_is_returned_early_is_not_returned_twice(admin: Client, hold: Hold[Held]) -> None:
    await store(admin, 3)
    source = await hold.open(names.MEDIA, CONSUMER)
    async with hold.pull(source, messages=1, max_bytes=1 << 26) as puller:
        first = await taken(hold, source, puller)
        assert await counts(admin) == (1, 2)
        first.return_credit()
        second = await taken(hold, source, puller)
        await hold.acknowledge(first)
        hold.release(first)
        await asyncio.sleep(1)  # clock: a third delivery has no later marker
        assert await counts(admin) == (1, 1) and list(hold) == [second] and not source.arrived
        await hold.acknowledge(second)
        await hold.acknowledge(await taken(hold, source, puller))
    assert await counts(admin) == (0, 0)


async def test_what_can_not_be_buried_is_delivered_again(admin: Client, hold: Hold[Held]) -> None:
    await set_up(admin, ack_wait_s=1)
    await store(admin, 1)
    dead_letters = (await admin.jetstream().stream_info(names.DLQ)).config
    await admin.jetstream().delete_stream(names.DLQ)
    source = await hold.open(names.MEDIA, CONSUMER)
    async with hold.pull(source, messages=1, max_bytes=1 << 26) as puller:
        assert not await hold.bury(await taken(hold, source, puller), "it is broken") and not hold
        again = await taken(hold, source, puller)
        assert again.deliveries > 1
        await admin.jetstream().add_stream(dead_letters)
        beating = asyncio.create_task(beats(hold))
        assert await hold.bury(again, "it is broken")
        beating.cancel()
    (letter,) = [x async for x in dlq.letters(admin)]
    assert (letter.stream_seq, letter.reason) == (1, "it is broken")
    assert await counts(admin) == (0, 0)


async def test_a_drain_hands_back_what_it_has_no_time_to_bury(admin: Client, hold: Hold[Held]) -> None:
    await set_up(admin, ack_wait_s=300)
    await store(admin, 1)
    await admin.jetstream().delete_stream(names.DLQ)
    source = await hold.open(names.MEDIA, CONSUMER)
    async with hold.pull(source, messages=1, max_bytes=1 << 26) as puller:
        attempt = await admin.subscribe("dlq.>")
        burying = asyncio.create_task(hold.bury(await taken(hold, source, puller), "it is broken"))
        await attempt.next_msg(timeout=patience_s())
        assert await drain(admin, hold, until=0.0, working=lambda: [burying]) == 1 and not hold
        assert (await taken(hold, source, puller)).deliveries == 2


async def beats(hold: Hold[Held]) -> None:
    while True:
        await hold.beat()
        await asyncio.sleep(hold.beat_s)


async def test_an_acknowledgement_that_nobody_confirms_is_given_up(admin: Client, hold: Hold[Held]) -> None:
    await store(admin, 1)
    source = await hold.open(names.MEDIA, CONSUMER)
    async with hold.pull(source, messages=1, max_bytes=1 << 26) as puller:
        held = await taken(hold, source, puller)
        await admin.jetstream().delete_consumer(names.MEDIA, CONSUMER)
        await hold.acknowledge(held)
        assert not hold


async def test_time_is_counted_while_anything_is_in_hand(admin: Client, hold: Hold[Held]) -> None:
    await store(admin, 2)
    source = await hold.open(names.MEDIA, CONSUMER)
    assert hold.occupied_s == 0
    async with hold.pull(source, messages=2, max_bytes=1 << 26) as puller:
        first, second = await taken(hold, source, puller), await taken(hold, source, puller)
        await hold.acknowledge(first)
        before = hold.occupied_s
        await until(lambda: hold.occupied_s > before)
        await hold.acknowledge(second)
        after = hold.occupied_s
        assert hold.occupied_s == after, "each reading of the clock differs"


async def test_a_drain_ends_its_work_at_the_deadline_and_hands_back_what_is_left(
    server: NatsServer, admin: Client, hold: Hold[Held]
) -> None:
    await set_up(admin, ack_wait_s=300)
    await store(admin, 2)
    source = await hold.open(names.MEDIA, CONSUMER)
    async with hold.pull(source, messages=2, max_bytes=1 << 26) as puller:
        quick, slow = await taken(hold, source, puller), await taken(hold, source, puller)
    never = asyncio.create_task(asyncio.Event().wait())
    acknowledging = asyncio.create_task(hold.acknowledge(quick))
    late = await drain(admin, hold, until=time.monotonic() + patience_s() / 100, working=lambda: [never, acknowledging])
    assert late == 1 and not hold and never.cancelled()
    other = await bus.connect(server.settings("cv"), "cv")
    async with Puller(other, names.MEDIA, CONSUMER, messages=2, max_bytes=1 << 26) as puller:
        again = await puller.next()
        assert (again.data, again.metadata.num_delivered) == (slow.data, 2)
        await again.ack_sync()
    await other.close()
    assert await counts(admin) == (0, 0)
