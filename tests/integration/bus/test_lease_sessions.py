"""Sessions: a process renews one key for all that it has, and another ends its session before it takes any of it."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.kv import KeyValue
from prometheus_client import CollectorRegistry, Gauge

from shared import bus
from shared.bus.leasing.leases import Kind, Leases
from shared.bus.mirror import bind, mirror
from shared.contract import names
from shared.runtime.tasks import end
from tests.support.waiting import until
from tests.support.worlds.lease_processes import LEASE_S, Process, Start, has_taken, process, two
from tidegate.local.server import NatsServer

__all__ = ["process"]


@pytest.fixture
async def kv(admin: Client) -> KeyValue:
    return await bind(admin.jetstream(), names.LEASES)


async def test_a_lease_lasts_without_writes_of_its_own(process: Start) -> None:
    holder, other = await two(process)
    before = holder.mirror.revision("camera.lobby")
    await asyncio.sleep(2 * LEASE_S)  # clock: an unrenewed lease would be over
    assert holder.leases.holds("lobby") and not other.leases.is_free("lobby")
    assert holder.mirror.revision("camera.lobby") == before


async def test_a_holder_that_hears_no_change_learns_of_its_loss(process: Start) -> None:
    """It renews a session that another has ended."""
    holder, other = await two(process)
    await holder.freeze()
    holder.following.cancel()
    await has_taken(other)
    holder.live()
    await until(lambda: "lobby" in holder.lost)
    assert not holder.leases.holds("lobby") and other.leases.holds("lobby")


async def test_what_nobody_has_taken_continues_in_a_new_session(kv: KeyValue, process: Start) -> None:
    holder, other = await two(process)
    before = holder.mirror.revision("camera.lobby") or 0
    await kv.put("process.holder", b"/ended/2")
    await until(lambda: (other.mirror.revision("camera.lobby") or 0) > before)
    assert holder.leases.holds("lobby") and not holder.lost


async def test_no_session_is_ended_that_was_renewed_unheard(process: Start) -> None:
    """Changes may be dropped: a process that hears none thinks that all others are silent."""
    holder, other = await two(process)
    other.following.cancel()
    await until(lambda: other.leases.is_free("lobby"))
    assert not await other.leases.claim("lobby")
    assert holder.leases.holds("lobby") and "lobby" not in other.leases.owned


async def test_each_lease_is_renewed_while_a_process_of_an_older_version_is_there(kv: KeyValue, process: Start) -> None:
    """It takes what is not renewed, and knows no sessions."""
    holder, _ = await two(process)
    before = holder.mirror.revision("camera.lobby") or 0
    await kv.put("process.older", b"older/60")
    await until(lambda: (holder.mirror.revision("camera.lobby") or 0) > before)
    before = holder.mirror.revision("camera.lobby") or 0
    await until(lambda: (holder.mirror.revision("camera.lobby") or 0) > before)
    await kv.delete("process.older")
    await until(lambda: "process.older" not in holder.mirror.values)
    assert holder.leases.holds("lobby")


async def test_an_older_holder_is_replaced_without_an_end_of_its_session(kv: KeyValue, process: Start) -> None:
    other = await process("other")
    await kv.put("process.older", b"older/60")
    await kv.put("camera.lobby", b"older/2")
    await until(lambda: "camera.lobby" in other.mirror.values)
    await has_taken(other)
    assert (await kv.get("process.older")).value == b"older/60"


async def test_an_entry_that_its_process_does_not_know_is_removed(kv: KeyValue, process: Start) -> None:
    """Of a claim or a release without an answer: as long as the session lasts, nobody else would take it."""
    holder, other = await two(process)
    await kv.put("camera.yard", b"holder/2")
    await until(lambda: "camera.yard" in other.mirror.values)
    await until(lambda: other.leases.is_free("yard"))
    assert await other.leases.claim("yard")
    assert holder.leases.holds("lobby")


async def test_an_entry_that_somebody_writes_over_ends_the_lease(kv: KeyValue, process: Start) -> None:
    holder, _ = await two(process)
    await kv.put("camera.lobby", b"other/2")
    await until(lambda: "lobby" in holder.lost)
    assert not holder.leases.holds("lobby")


async def test_a_process_that_withdraws_keeps_its_leases(process: Start) -> None:
    """It hands cameras over for as long as INGEST_GRACE_S."""
    holder, other = await two(process)
    await holder.leases.withdraw()
    await until(lambda: other.leases.presence.count() == 1)
    await asyncio.sleep(2 * LEASE_S)  # clock: an unrenewed lease would be over
    assert holder.leases.holds("lobby") and not other.leases.is_free("lobby")
    await holder.leases.leave()
    await until(lambda: other.leases.is_free("lobby"))
    assert "process.holder" not in other.mirror.values


async def test_a_holder_without_connection_loses_what_an_older_one_takes(
    server: NatsServer, admin: Client, kv: KeyValue
) -> None:
    """It renews its session at the reconnect, before it has read again what it missed."""
    is_open = True
    pipes: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not is_open:
            writer.close()
            return
        behind, to = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        pipes.update({writer, to})

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
            target.close()

        await asyncio.gather(pump(reader, to), pump(behind, writer))

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    client = await bus.connect(msgspec.structs.replace(server.settings("ingest"), nats_url=url), "ingest")
    copy = await mirror(client, names.LEASES, asyncio.Event())
    following = asyncio.create_task(copy.run())
    await copy.ready.wait()
    bucket = await bind(client.jetstream(timeout=LEASE_S / 3), names.LEASES)
    owned = Gauge("owned", "Cameras.", registry=CollectorRegistry())
    holder = Process(Leases(client, bucket, copy, "holder", Kind("camera", "process", owned), LEASE_S), copy, following)
    holder.live()
    await has_taken(holder)
    await kv.put("process.older", b"older/2")
    await until(lambda: "process.older" in copy.values)
    is_open = False
    for pipe in pipes:
        pipe.close()
    await until(lambda: not client.is_connected)
    await asyncio.sleep(1.2 * LEASE_S)  # clock: the lease is over
    await kv.put("process.older", b"older/2")
    last = (await kv.get("camera.lobby")).revision
    await kv.update("camera.lobby", b"older/2", last=last)
    is_open = True
    seen = 0
    while "lobby" not in holder.lost:
        seen += holder.leases.holds("lobby")
        await asyncio.sleep(0.005)
    await holder.freeze()
    await end(following)
    await client.close()
    proxy.close()
    assert not seen


@pytest.mark.slow
async def test_an_entry_that_the_bucket_has_lost_is_written_again(admin: Client, process: Start) -> None:
    """Such as by a purge, which no message announces."""
    holder, _ = await two(process)
    await admin.jetstream().purge_stream(f"KV_{names.LEASES}", subject=f"$KV.{names.LEASES}.camera.lobby")
    await until(lambda: "camera.lobby" not in holder.mirror.values, 40)
    await asyncio.sleep(2 * LEASE_S)  # clock: each lease was renewed in that time
    late = await process("late")
    seen = 0
    for _ in range(300):
        if late.leases.is_free("lobby"):
            await late.leases.claim("lobby")
        seen += late.leases.holds("lobby") and holder.leases.holds("lobby")
        await asyncio.sleep(0.01)
    assert not seen
