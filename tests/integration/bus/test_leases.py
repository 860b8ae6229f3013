"""Leases: two processes, a real server, and outages of it."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from shared.bus.mirror import bind
from shared.contract import names
from tests.support.waiting import until
from tests.support.worlds.lease_processes import LEASE_S, LONG_S, Start, has_taken, moving, process, two
from tidegate.local.server import NatsServer

__all__ = ["process"]


async def test_a_silent_holder_is_replaced(process: Start) -> None:
    holder, other = await two(process)
    await holder.freeze()
    await has_taken(other)
    assert not holder.leases.holds("lobby"), "it knows by its own clock"
    holder.live()
    await until(lambda: "lobby" in holder.lost)


@pytest.mark.slow
async def test_a_lease_longer_than_the_own_one_is_respected(process: Start) -> None:
    """LEASE_S changes for one replica after the other."""
    holder, other = await process("holder", lease_s=3 * LEASE_S), await process("other")
    await has_taken(holder)
    await holder.freeze()
    await has_taken(other)
    assert not holder.leases.holds("lobby")


async def test_a_claim_without_an_answer_is_repeated_immediately(admin: Client, process: Start) -> None:
    """The server stored the entry and died before its answer."""
    one = await process("one")
    await (await bind(admin.jetstream(), names.LEASES)).put("camera.lobby", f"one/{LEASE_S:g}".encode())
    await until(lambda: "camera.lobby" in one.mirror.values)
    assert one.leases.is_free("lobby") and await one.leases.claim("lobby")


async def test_a_stale_free_entry_takes_no_camera_from_its_holder(process: Start) -> None:
    holder, other = await two(process, holds_s=LONG_S, lease_s=LONG_S)
    third = await process("third")
    await holder.handover.offer(["lobby"])
    await until(lambda: third.leases.is_free("lobby"))
    await has_taken(other)
    await until(lambda: third.mirror.values["camera.lobby"].startswith(b"other"))
    assert not await third.leases.claim("lobby")
    assert "lobby" in other.leases.owned


@pytest.mark.slow
async def test_each_holder_keeps_its_cameras_after_an_outage(server: NatsServer, process: Start) -> None:
    """Regression: the first process to return took all cameras, because the server had let the leases expire."""
    holder, other = await two(process, lease_s=LONG_S)
    await holder.freeze()
    await server.stop()
    await asyncio.sleep(6)  # clock: the outage outlasts the server's leases
    assert not other.leases.is_free("lobby"), "nobody can tell while the server is away"
    before = other.mirror.revision("process.other")
    trying = asyncio.create_task(has_taken(other))
    await server.start()
    await until(lambda: other.mirror.revision("process.other") != before)
    holder.live()
    await until(lambda: holder.leases.holds("lobby") or holder.lost)
    assert not holder.lost
    trying.cancel()


async def test_a_camera_that_another_held_meanwhile_is_lost(process: Start) -> None:
    """Regression: it found no lease after the freeze, took one, and published its buffer: the same video twice."""
    holder, other = await two(process)
    await holder.freeze()
    await has_taken(other)
    await other.leases.release("lobby")
    holder.live()
    await until(lambda: holder.leases.holds("lobby") or holder.lost)
    assert set(holder.lost) == {"lobby"}


@pytest.mark.slow
@pytest.mark.long
async def test_a_released_camera_is_taken_immediately_even_by_a_thawed_process(admin: Client, process: Start) -> None:
    """Regression: it waited for a lease, as after an outage, and the camera had no holder meanwhile."""
    kv = await admin.jetstream().key_value(names.LEASES)
    await kv.create("camera.yard", b"silent/2")
    holder, other = await two(process, lease_s=LONG_S)
    await other.freeze()
    # Longer than the permitted silence.
    await asyncio.sleep(LONG_S * 0.7)
    other.live()
    await holder.leases.release("lobby")
    await has_taken(other)
    assert not other.leases.is_free("yard"), "of the silent it can't judge yet"


async def test_a_process_that_ended_before_an_outage_is_absent_after_it(
    server: NatsServer, admin: Client, process: Start
) -> None:
    """Regression: holders released cameras for it, and nobody took them."""
    await (await admin.jetstream().key_value(names.LEASES)).put("process.gone", b"gone/2")
    one = await process("one")
    await until(lambda: one.leases.presence.count() == 1)
    await server.restart()
    before = one.mirror.revision("process.one")
    counted = []
    while one.mirror.revision("process.one") == before or len(counted) < 20:
        counted.append(one.leases.presence.count())
        await asyncio.sleep(0.02)
    assert set(counted) == {1}


async def test_a_process_that_ended_before_the_start_has_no_share(admin: Client, process: Start) -> None:
    """Regression: ingests that had crashed within the hour blocked cameras for the next one for a lease."""
    await (await admin.jetstream().key_value(names.LEASES)).put("process.gone", b"gone/2")
    await asyncio.sleep(LEASE_S * 1.25)
    one = await process("one")
    await until(lambda: "process.one" in one.mirror.written)
    assert one.leases.presence.count() == 1
    two = await process("two")
    await until(lambda: "process.two" in two.mirror.written)
    assert two.leases.presence.count() == 2, "the first lives"


async def test_a_pending_renewal_does_not_outlive_a_release(admin: Client, process: Start) -> None:
    """Regression: it blocked the camera for the next holder for a lease, as after a restart of ingest."""
    holder, other = await two(process, lease_s=LONG_S)
    await holder.freeze()
    await (await admin.jetstream().key_value(names.LEASES)).put("camera.lobby", b"holder/2")
    await holder.leases.release("lobby")
    await until(lambda: "camera.lobby" not in other.mirror.values)


class Behind:
    """A bucket through a server that was cut off from its cluster: the first reads return `entry`, which is old."""

    def __init__(self, kv: KeyValue, entry: KeyValue.Entry) -> None:
        self._kv = kv
        self._entry = entry
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._kv, name)

    async def get(self, key: str) -> KeyValue.Entry:
        self.reads += 1
        return self._entry if self.reads <= 2 else await self._kv.get(key)


async def test_a_stale_server_loses_no_lease(admin: Client, process: Start) -> None:
    """Regression: it named the previous holder, and ingest dropped what it had buffered."""
    kv = await admin.jetstream().key_value(names.LEASES)
    await kv.create("camera.lobby", b"before/2")
    behind = Behind(kv, await kv.get("camera.lobby"))
    await kv.delete("camera.lobby")
    holder = await process("holder", kv=behind)
    await has_taken(holder)
    # It renews the lease by itself, and hears of nothing.
    await kv.put("process.older", b"older/60")
    await until(lambda: "process.older" in holder.mirror.values)
    holder.following.cancel()
    # Simulate a stored renewal with a lost answer.
    await kv.put("camera.lobby", b"holder/2")
    await until(lambda: behind.reads > 2)
    await until(lambda: holder.leases.holds("lobby") or holder.lost)
    assert not holder.lost


async def test_in_a_recreated_bucket_a_camera_of_another_holder_is_lost(admin: Client, process: Start) -> None:
    holder, other = await two(process)
    await holder.freeze()
    await admin.jetstream().purge_stream("KV_leases")
    config = (await admin.jetstream().stream_info("KV_leases")).config
    await admin.jetstream().delete_stream("KV_leases")
    await admin.jetstream().add_stream(config)
    await has_taken(other)
    holder.live()
    await until(lambda: holder.lost)


async def test_a_lease_that_the_server_lost_is_taken_again(admin: Client, process: Start) -> None:
    holder, _ = await two(process)
    await admin.jetstream().purge_stream("KV_leases")
    await asyncio.sleep(LEASE_S)
    await until(lambda: holder.leases.holds("lobby"))
    assert not holder.lost


async def test_the_entries_of_a_handover_have_fixed_bytes(admin: Client, process: Start) -> None:
    """Recorded: in a rolling upgrade other versions read the entries of this one."""
    kv = await bind(admin.jetstream(), names.LEASES)

    async def stored(value: bytes) -> None:
        while (await kv.get("camera.lobby")).value != value:
            await asyncio.sleep(0.02)

    holder, other = await two(process)
    await stored(b"holder/2")
    assert (await kv.get("process.holder")).value == b"holder/session/2"
    await holder.handover.offer(["lobby"])
    await stored(b"holder/offered/2")
    await has_taken(other)
    await stored(b"other/after-holder/2")
    await until(lambda: holder.handover.update() or holder.handover.leaving)
    await other.leases.release("lobby")
    await stored(b"other/offered/after-holder/2")
    await has_taken(holder)
    await stored(b"holder/again/2")
    await holder.handover.offer(["lobby"])
    await stored(b"holder/offered/again/2")
    await has_taken(other)
    assert other.handover.start("lobby", 1764250662.104)
    await stored(b"other/after-holder/since-1764250662104/2")
    await until(lambda: other.leases.holds("lobby"))
    await other.handover.offer(["lobby"])
    await stored(b"other/offered/after-holder/since-1764250662104/2")
    await other.leases.release("lobby")
    with pytest.raises(KeyNotFoundError):
        await kv.get("camera.lobby")


async def test_the_entry_of_an_exclusive_camera_is_a_plain_lease(admin: Client, process: Start) -> None:
    kv = await bind(admin.jetstream(), names.LEASES)
    _, other = await moving(process)
    other.handover.start("lobby", None)
    while (await kv.get("camera.lobby")).value != b"other/2":
        await asyncio.sleep(0.02)
