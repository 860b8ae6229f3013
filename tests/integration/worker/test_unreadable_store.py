"""A server that can't open its files reports all its messages as missing: no client believes it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import nats.errors
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from services.analytics.limits import Limits
from services.analytics.partitions.checkpoint import Checkpoints
from services.analytics.partitions.partition import Partition
from shared.bus import mirror as mirrors
from shared.bus.mirror import Mirror, bind, mirror
from shared.client import registry
from shared.contract import names
from shared.contract.cameras import Camera, CameraDirectory
from shared.contract.rules import Rules
from shared.contract.segment import Segment, to_headers
from shared.runtime.tasks import end
from shared.video import gop
from tests.support.processes.service import connected
from tests.support.waiting import until
from tidegate.chaos.disk import few_files
from tidegate.local.server import NatsServer

YARD, LOBBY = Camera(url="rtsp://10.0.0.1/", fps=5.0), Camera(url="rtsp://10.0.0.2/", fps=1.0)
# The server caches read data for this long.
FORGOTTEN_S = 11.0


@contextlib.asynccontextmanager
async def copied(client: Client, bucket: str) -> AsyncIterator[Mirror]:
    built = await mirror(client, bucket, asyncio.Event())
    running = asyncio.create_task(built.run())
    try:
        yield built
    finally:
        await end(running)


@contextlib.asynccontextmanager
async def on_disk_alone(server: NatsServer, identity: str) -> AsyncIterator[Client]:
    """A connection to the server, which has read nothing of its store yet."""
    async with connected(server, "admin") as admin:
        for camera, entry in (("yard", YARD), ("lobby", LOBBY)):
            await registry.put(admin.jetstream(), camera, entry, None)
    await server.restart()
    async with connected(server, identity) as client:
        yield client


@pytest.mark.slow
async def test_cameras_stay_if_the_bucket_is_unreadable(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "_RESYNC_S", FORGOTTEN_S)
    async with on_disk_alone(server, "ingest") as client, copied(client, names.CAMERAS) as cameras:
        directory = CameraDirectory(client.jetstream(), ttl_s=0.0)
        assert await directory.get("yard") == YARD
        await cameras.ready.wait()
        with few_files(server):
            for _ in range(int(2 * FORGOTTEN_S / 0.1)):
                await asyncio.sleep(0.1)  # clock: a resync may drop them at any time
                assert set(cameras.values) == {"yard", "lobby"}
            assert await directory.get("yard") == YARD


async def test_no_reader_starts_with_seemingly_removed_cameras(server: NatsServer) -> None:
    async with on_disk_alone(server, "ingest") as client:
        with few_files(server):
            async with copied(client, names.CAMERAS) as cameras:
                await asyncio.sleep(2.0)  # clock: cameras that can't be read leave no marker
                # A server that has just started may have them in memory.
                assert not cameras.ready.is_set() or set(cameras.values) == {"yard", "lobby"}
        async with copied(client, names.CAMERAS) as cameras:
            await cameras.ready.wait()
            assert set(cameras.values) == {"yard", "lobby"}


async def test_a_purged_camera_disappears(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a marker, as after an operator's purge of a subject."""
    monkeypatch.setattr(mirrors, "_RESYNC_S", 0.1)
    async with on_disk_alone(server, "admin") as admin, copied(admin, names.CAMERAS) as cameras:
        await cameras.ready.wait()
        await admin.jetstream().purge_stream(f"KV_{names.CAMERAS}", subject=f"$KV.{names.CAMERAS}.yard")
        await until(lambda: set(cameras.values) == {"lobby"})
        await admin.jetstream().purge_stream(f"KV_{names.CAMERAS}")
        await until(lambda: not cameras.values)


async def test_analytics_continues_only_from_its_own_checkpoint(server: NatsServer) -> None:
    def partition() -> Partition:
        return Partition(3, Limits(), lambda camera: Rules())

    async with on_disk_alone(server, "analytics") as client:
        checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
        assert not await checkpoints.load(partition())
        written = partition()
        written.position = 7
        await checkpoints.save(written)
    await server.restart()
    async with connected(server, "analytics") as client:
        checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
        with few_files(server), contextlib.suppress(nats.errors.Error):
            assert await checkpoints.load(partition())
        found = partition()
        assert await checkpoints.load(found) and found.position == 7


async def test_the_start_of_a_gop_has_not_expired(server: NatsServer) -> None:
    head = {"camera": "yard", "epoch": "e1", "codec": "h264", "width": 320, "height": 240, "frames": 25}
    start = Segment(n=0, start=dt.datetime.now(dt.UTC), duration=1.0, **head)
    async with connected(server, "ingest") as client:
        for segment in (start, replace(start, n=1, key_seq=1)):
            await client.jetstream().publish(names.media("yard"), b"video", headers=to_headers(segment))
    await server.restart()
    async with connected(server, "cv") as client:
        with few_files(server), contextlib.suppress(nats.errors.Error):
            assert await gop.earlier(client.jetstream(), replace(start, n=1, key_seq=1)) == [b"video"]
