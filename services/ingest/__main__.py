"""Publishes cameras' video to JetStream, compressed as it came.

Ingest reads RTSP cameras and files, cuts them into segments at keyframes, and publishes these on `media.<camera>`.
The bucket `cameras` lists the cameras, which may be added and removed while it runs. Several processes share the
cameras by leases.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from nats.aio.client import Client

from services.ingest import memory, metrics, usage
from services.ingest.announcer import Announcer
from services.ingest.connect_queue import ConnectQueue
from services.ingest.fleet import Fleet
from services.ingest.handover import Handover
from services.ingest.outbox import Outboxes
from services.ingest.publisher import Publisher
from services.ingest.runner import Runner
from services.ingest.segmenter import Piece
from services.ingest.settings import IngestSettings
from services.ingest.wanted import WantedCameras
from shared import bus
from shared.bus import leases as leasing
from shared.bus.client import Connection
from shared.bus.leases import Kind, Leases
from shared.bus.mirror import Mirror, all_read, mirror
from shared.contract import names
from shared.contract.cameras import Camera
from shared.contract.credentials import Login
from shared.contract.memory import MB
from shared.runtime.errors import SettingError
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health
from shared.service import process
from shared.service.usage import Keeper

# When the process ends, the last camera events get this long to be stored.
_GOODBYE_S = 1.0


async def run(settings: IngestSettings, client: Connection, health: Health, stopped: asyncio.Event) -> None:
    """Ingest until `stopped`. Raises TidegateError."""
    _check(settings)
    js = client.jetstream()
    changed = asyncio.Event()
    buckets = await unless(stopped, bus.answered(client, health, partial(_buckets, client, changed, settings.lease_s)))
    if buckets is None:
        return
    wanted, credentials, leased, leases = buckets
    handover = Handover(leases)
    meter = usage.Meter()
    keeper = Keeper(client, "ingest", meter.take, every_s=usage.EVERY_S)
    publisher = Publisher(client, js, meter.record)
    outboxes: Outboxes[Piece] = Outboxes(int(settings.ingest_buffer_total_mb * MB))
    connect_queue = ConnectQueue()
    announcer = Announcer(client, js, leases.process)

    def runner_for(name: str, camera: Camera, login: Login) -> Runner:
        return Runner(
            name,
            camera,
            login,
            settings,
            client.max_payload,
            publisher,
            outboxes,
            connect_queue,
            announcer,
            lambda: leases.holds(name),
            lambda at: handover.start(name, at),
        )

    fleet = Fleet(WantedCameras(wanted, credentials), leases, handover, changed, runner_for, health, settings)
    parts = [wanted.run(), credentials.run(), leased.run(), leases.run(), metrics.tidy(), keeper.run(), announcer.run()]
    tasks = [asyncio.create_task(part) for part in parts]
    health.ready = "reading the buckets of cameras and leases"
    try:
        reconciling = _reconcile(fleet, publisher, (wanted, credentials, leased), client, health)
        await supervise(reconciling, *tasks, stop=stopped)
    finally:
        health.ready = "stopping"
        await fleet.stop()
        await end(*tasks[:-1])
        await handover.stop()
        await leases.leave()
        await asyncio.gather(announcer.flush(_GOODBYE_S), keeper.close())
        await end(tasks[-1])


async def _buckets(client: Connection, changed: asyncio.Event, lease_s: float) -> tuple[Mirror, Mirror, Mirror, Leases]:
    """Open the mirrors of cameras, credentials and leases, which the caller runs, and this process's leases."""
    wanted, credentials = [await mirror(client, bucket, changed) for bucket in (names.CAMERAS, names.CREDENTIALS)]
    kind = Kind("camera", "process", metrics.OWNED)
    return wanted, credentials, *await leasing.open_leases(client, names.LEASES, kind, lease_s, changed)


def _check(settings: IngestSettings) -> None:
    try:
        ssl.create_default_context(cafile=settings.ingest_ca or None)
    except OSError as e:
        raise SettingError(
            f"INGEST_CA={settings.ingest_ca} can't be used ({e}): give a file of certificates in PEM format"
        ) from e


async def _reconcile(
    fleet: Fleet, publisher: Publisher, mirrors: tuple[Mirror, ...], client: Client, health: Health
) -> None:
    """Run the fleet once every bucket has been read: before that, cameras would look removed."""
    await supervise(all_read(*mirrors), process.beat(client, health))
    await supervise(fleet.run(), _report_waiting(publisher, health))


async def _report_waiting(publisher: Publisher, health: Health) -> None:
    while True:
        health.ready = publisher.waiting()
        await asyncio.sleep(process.BEAT_S)


if __name__ == "__main__":
    memory.bound()
    process.main("ingest", process.settings("ingest", IngestSettings), run)
