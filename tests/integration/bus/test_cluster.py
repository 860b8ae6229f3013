"""Three real nats-servers as one: acknowledged messages survive the loss of any of them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal

import pytest
from nats.aio.client import Client
from nats.js.api import StreamInfo

from shared import bus
from shared.contract import names
from shared.contract.rights import identities
from shared.contract.topology import TopologySettings, apply
from tests.support.waiting import patience_s
from tidegate.local.cluster import NatsCluster
from tidegate.local.server import NatsServer

# An election takes up to nine seconds.
pytestmark = pytest.mark.slow


async def stored(client: Client) -> StreamInfo:
    return await client.jetstream().stream_info(names.MEDIA)


async def publish(client: Client, ids: range) -> set[int]:
    """Segments that were acknowledged, by their sequence."""
    js = client.jetstream()
    return {(await bus.publish(client, js, names.media("lobby"), b"segment", {"Nats-Msg-Id": str(n)})).seq for n in ids}


def named(cluster: NatsCluster, name: str | None) -> NatsServer:
    return next(server for server in cluster.servers if server.name == name)


async def test_every_identity_connects_to_each_server(cluster: NatsCluster) -> None:
    for identity in (identities.ADMIN, *identities.every()):
        for server in cluster.servers:
            client = await bus.connect(server.settings(identity), identity)
            assert client.connected_url.netloc == server.url.removeprefix("nats://")
            await client.close()


async def test_every_stream_is_on_all_three_servers(cluster: NatsCluster) -> None:
    admin = await bus.connect(cluster.settings("admin"), "admin")
    for info in await admin.jetstream().streams_info():
        assert len(info.cluster.replicas) == 2, info.config.name
    await admin.close()


async def test_setup_without_a_replica_setting_keeps_the_number_of_replicas(cluster: NatsCluster) -> None:
    """As a Job of setup without STREAM_REPLICAS, on a cluster that was set up with it."""
    admin = await bus.connect(cluster.settings("admin"), "admin")
    js = admin.jetstream()
    await apply(js, TopologySettings(media_max_age_s=590))
    # An earlier version had no such stream.
    await js.delete_stream("ASKS")
    await apply(js, TopologySettings())
    assert {info.config.num_replicas for info in await js.streams_info()} == {3}
    await admin.close()


async def test_nothing_acknowledged_is_lost_with_the_leader(cluster: NatsCluster) -> None:
    admin = await bus.connect(cluster.settings("admin"), "admin")
    leader = named(cluster, (await stored(admin)).cluster.leader)
    publishing = asyncio.create_task(publish(admin, range(200)))
    async with asyncio.timeout(patience_s()):
        while not (await stored(admin)).state.messages:
            await asyncio.sleep(0.01)
    await leader.stop(signal.SIGKILL)
    acknowledged = await publishing
    assert acknowledged == set(range(1, 201))
    await leader.start()
    await cluster.ready()
    assert (await stored(admin)).state.messages == 200
    await admin.close()


@pytest.mark.long
async def test_a_server_without_its_store_gets_a_copy(cluster: NatsCluster) -> None:
    admin = await bus.connect(cluster.settings("admin"), "admin")
    await publish(admin, range(20))
    lost, *others = cluster.servers
    await lost.stop()
    shutil.rmtree(lost.store)
    await lost.start()
    await cluster.ready()
    # The only complete copy is no majority: the cluster needs the server that had lost its own.
    await others[0].stop(signal.SIGKILL)
    await cluster.ready()
    assert (await stored(admin)).state.messages == 20
    assert await publish(admin, range(20, 25)) == set(range(21, 26))
    await admin.close()


async def test_the_cluster_works_with_one_frozen_server(cluster: NatsCluster) -> None:
    admin = await bus.connect(cluster.settings("admin"), "admin")
    still = next(s for s in cluster.servers if s.url.removeprefix("nats://") != admin.connected_url.netloc)
    still.pause()
    assert await publish(admin, range(20)) == set(range(1, 21))
    still.resume()
    # Repeat the check: a leader reports a peer as behind whenever it has just stored a message.
    async with asyncio.timeout(patience_s()):
        while {peer.current for peer in (await stored(admin)).cluster.replicas} != {True}:
            await asyncio.sleep(0.1)
    await admin.close()


async def test_no_stranger_can_join_the_cluster(cluster: NatsCluster) -> None:
    """A route carries all accounts: its holder could read and publish everything."""
    config = (cluster.servers[0].secrets / "nats-0.conf").read_text()
    (port,) = re.findall(r"listen: 127\.0\.0\.1:(\d+)", config)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    await reader.readline()
    stranger = {"user": "routes", "pass": "guessed", "name": "stranger", "verbose": False}
    writer.write(f"CONNECT {json.dumps(stranger)}\r\nPING\r\n".encode())
    assert b"Authorization Violation" in await reader.read()
    writer.close()
