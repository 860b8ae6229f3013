"""A temporarily full disk, or a server without file descriptors, costs seconds: it needs no restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client
from prometheus_client import REGISTRY

from services.ingest.__main__ import run
from services.ingest.settings import IngestSettings
from shared import bus
from shared.client import registry
from shared.contract.cameras import Camera
from shared.contract.segment import Segment, from_headers
from tests.support.processes.service import serving
from tests.support.processes.service_process import ServiceProcess
from tests.support.video import footage
from tests.support.waiting import patience_s, until
from tidegate.chaos.disk import Disk, few_files, small_disk
from tidegate.commands import doctor
from tidegate.local import healing
from tidegate.local.healing import FULL_S, Healing
from tidegate.local.running import Running
from tidegate.local.server import NatsServer
from tidegate.local.stack import Stack


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", mb=64) as found:
        if found is None:
            pytest.skip("no file system may be mounted here: run the tests as root")
        yield found


@contextlib.asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Client]:
    client = await bus.connect(server.settings("admin"), "admin")
    yield client
    await client.close()


async def stored(client: Client, subject: str, payload: bytes) -> int | None:
    """Its sequence; None if JetStream does not acknowledge it."""
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        return (await client.jetstream().publish(subject, payload, timeout=5)).seq
    return None


async def until_stored(client: Client, subject: str) -> int:
    async with asyncio.timeout(patience_s()):
        while (seq := await stored(client, subject, b"after")) is None:
            await asyncio.sleep(0.1)
    return seq


async def until_silent(client: Client, subject: str) -> None:
    """Publish until JetStream stops acknowledging. Raises its other errors."""
    async with asyncio.timeout(patience_s()):
        with contextlib.suppress(nats.errors.TimeoutError):
            while True:
                await client.jetstream().publish(subject, os.urandom(50_000), timeout=1)  # clock: silence is the event


@pytest.mark.slow
async def test_streams_store_again_once_a_full_disk_has_room(disk: Disk) -> None:
    async with Stack(disk.path / "data", {}, port=0) as stack:
        js = stack.admin.jetstream()
        before = {seq: os.urandom(100_000) for seq in range(1, 6)}
        for payload in before.values():
            await js.publish("media.lobby", payload)
        disk.fill()
        for subject in ("media.lobby", "events.cameras.lobby", "jobs.vlm.verify.lobby", "$KV.rules.lobby"):
            await until_silent(stack.admin, subject)
        disk.free()
        for subject in ("media.lobby", "events.cameras.lobby", "jobs.vlm.verify.lobby", "$KV.rules.lobby"):
            await until_stored(stack.admin, subject)
        for seq, payload in before.items():
            assert (await js.get_msg("MEDIA", seq)).data == payload


@pytest.mark.slow
async def test_streams_store_again_once_the_server_has_file_descriptors(tmp_path: Path) -> None:
    async with Stack(tmp_path, {}, port=0) as stack:
        pid = stack.server.pid
        with few_files(stack.server):
            await until_silent(stack.admin, "jobs.vlm.verify.lobby")
        await until_stored(stack.admin, "jobs.vlm.verify.lobby")
        assert stack.server.pid != pid


@pytest.mark.slow
@pytest.mark.long
async def test_video_sent_during_a_full_disk_is_stored(disk: Disk, tmp_path: Path) -> None:
    film = footage.make(tmp_path / "film.mp4", frames=10 * 25)
    async with Stack(disk.path / "data", {}, port=0) as stack:
        js = stack.admin.jetstream()

        async def stored() -> list[Segment]:
            state = (await js.stream_info("MEDIA")).state
            return [from_headers((await js.get_msg("MEDIA", n)).headers) for n in range(1, state.last_seq + 1)]

        async def until_more(than: int) -> None:
            async with asyncio.timeout(patience_s()):
                while len(await stored()) <= than:
                    await asyncio.sleep(0.1)

        await registry.put(js, "lobby", Camera(url=film.as_uri(), realtime=True, loop=True), None)
        await until_more(2)
        disk.fill()
        await until(lambda: "MEDIA" in stack.healing.trouble)
        before = len(await stored())
        await asyncio.sleep(6)  # clock: the outage outlasts a lease, and none is renewed
        assert len(await stored()) == before
        disk.free()
        await until(lambda: not stack.healing.trouble)
        await until_more(before + 5)
        got = await stored()
        assert [s.n for s in got] == list(range(len(got))) and len({s.epoch for s in got}) == 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.slow
async def test_a_disk_filled_by_streams_empties_as_they_expire(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fix restarts the server, seldom. A stopped stream expires nothing until then."""
    monkeypatch.setenv("MEDIA_MAX_AGE_S", "3")
    clock = Clock()
    async with NatsServer(disk.path / "nats") as server, connected(server) as admin:
        await server.set_up(admin)
        healing = Healing(server, clock)
        for _ in range(10):
            await admin.jetstream().publish("media.lobby", os.urandom(2_000_000))
        disk.fill()
        await until_silent(admin, "media.lobby")
        first = server.pid
        for clock.now in (1.0, 2.0, 60.0, FULL_S):
            await healing.look(admin)
            assert "free 16 MB" in healing.trouble and server.pid == first
        async with asyncio.timeout(patience_s()):
            while await stored(admin, "media.lobby", b"after") is None:
                clock.now += FULL_S
                await healing.look(admin)
        assert server.pid != first
        await healing.look(admin)
        assert not healing.trouble


async def test_a_server_that_dies_on_a_full_disk_restarts_with_all_data(disk: Disk) -> None:
    async with NatsServer(disk.path / "nats") as server, connected(server) as admin:
        await server.set_up(admin)
        payload = os.urandom(100_000)
        await admin.jetstream().publish("media.lobby", payload)
        disk.fill()
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.has_died)
        await Healing(server).look(admin)
        await until(lambda: admin.is_connected)
        assert (await admin.jetstream().get_msg("MEDIA", 1)).data == payload
        disk.free()
        await until_stored(admin, "media.lobby")


@pytest.mark.slow
@pytest.mark.long
async def test_ingest_is_not_ready_while_nothing_is_stored(disk: Disk, tmp_path: Path) -> None:
    film = footage.make(tmp_path / "film.mp4", frames=10 * 25)

    def waiting_s() -> float | None:
        return REGISTRY.get_sample_value("tidegate_ingest_waiting_seconds")

    async with NatsServer(disk.path / "nats") as server, connected(server) as admin:
        await server.set_up(admin)
        lobby = Camera(url=film.as_uri(), realtime=True, loop=True)
        await registry.put(admin.jetstream(), "lobby", lobby, None)
        async with serving(server, "ingest", run, IngestSettings()) as health:
            disk.fill()
            await until(lambda: health.ready)
            assert re.match(r"a segment has waited for \d+ s to be stored: .*disk", str(health.ready))
            assert waiting_s()
            disk.free()
            await server.restart()
            await until(lambda: health.ready is None and waiting_s() == 0)


async def test_doctor_names_the_stopped_streams(disk: Disk) -> None:
    async with NatsServer(disk.path) as server, connected(server) as admin:
        await server.set_up(admin)
        (disk.path / "run.json").write_bytes(msgspec.json.encode(Running(server.url, os.getpid())))
        disk.fill()
        await until_silent(admin, "media.lobby")
        (bad,) = [f for f in await doctor.streams(disk.path) if f.level == "bad"]
        assert "MEDIA" in bad.found and "no space left on device" in bad.found
        disk.free()
        await server.restart()
        assert "bad" not in {f.level for f in await doctor.streams(disk.path)}


@pytest.mark.slow
async def test_a_replica_that_starts_on_a_full_disk_works_once_there_is_room(
    server: NatsServer, admin: Client, disk: Disk, tmp_path: Path
) -> None:
    metrics, index = disk.path / "metrics", disk.path / "index"
    disk.fill()
    search = ServiceProcess(
        "search", server.environment("search"), tmp_path, METRICS_TARGETS=str(metrics), SEARCH_INDEX=str(index)
    )
    await search.until_it_says("/readyz", f"^the index in {index} can't be written: .*No space left on device")
    assert f"METRICS_TARGETS={metrics} can't be written: No space left on device" in search.log
    disk.free()
    await search.until_it_says("/readyz", "^ok$")
    await until(lambda: (metrics / "search.json").exists())
    assert await search.end() == 0


async def test_only_admin_sees_whether_streams_store(server: NatsServer, admin: Client) -> None:
    assert await healing.stopped_streams(admin) == {}
    for identity in ("scaler", "viewer"):
        client = await bus.connect(server.settings(identity), identity)
        assert await healing.stopped_streams(client) is None
        await client.close()
