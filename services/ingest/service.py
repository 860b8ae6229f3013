"""The parts of an ingest process: wires them, runs them, and stops them in order."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from services.ingest import metrics
from services.ingest.camera.connect_queue import ConnectQueue
from services.ingest.camera.runner import MB, ProcessParts
from services.ingest.camera.status import Announcer
from services.ingest.delivery import usage
from services.ingest.delivery.outbox import Outboxes
from services.ingest.delivery.publisher import Publisher
from services.ingest.settings import IngestSettings
from services.ingest.sharing.fleet import Fleet
from services.ingest.sharing.handover import Handover
from services.ingest.sharing.running import RunningCameras
from services.ingest.sharing.shutdown import Shutdown
from services.ingest.sharing.wanted import WantedCameras
from shared.bus import leases as leasing
from shared.bus.client import Connection
from shared.bus.leases import Kind, Leases
from shared.bus.mirror import Mirror, all_read, mirror
from shared.contract import names
from shared.runtime.tasks import end, supervise
from shared.runtime.telemetry import Health
from shared.service import process
from shared.service.usage import Keeper

# When the process ends, the last camera events get this long to be stored.
_GOODBYE_S = 1.0


class Buckets(NamedTuple):
    """Mirrors of the buckets of cameras, credentials and leases, and this process's leases. changed: set by each."""

    cameras: Mirror
    credentials: Mirror
    leased: Mirror
    leases: Leases
    changed: asyncio.Event


async def open_buckets(client: Connection, lease_s: float) -> Buckets:
    """Open the mirrors, which the caller runs. Raises as `bind` does."""
    changed = asyncio.Event()
    cameras, credentials = [await mirror(client, bucket, changed) for bucket in (names.CAMERAS, names.CREDENTIALS)]
    kind = Kind("camera", "process", metrics.OWNED)
    leased, leases = await leasing.open_leases(client, names.LEASES, kind, lease_s, changed)
    return Buckets(cameras, credentials, leased, leases, changed)


class Ingest:
    """One process: `run` until it is stopped."""

    def __init__(self, settings: IngestSettings, client: Connection, buckets: Buckets, health: Health) -> None:
        js = client.jetstream()
        meter = usage.Meter()
        leases, changed = buckets.leases, buckets.changed
        self._settings = settings
        self._client = client
        self._buckets = buckets
        self._health = health
        self._keeper = Keeper(client, "ingest", meter.take, every_s=usage.EVERY_S)
        self._publisher = Publisher(client, js, meter.record)
        self._announcer = Announcer(client, js, leases.process)
        self._handover = Handover(leases)
        outboxes = Outboxes(int(settings.ingest_buffer_total_mb * MB))
        parts = ProcessParts(settings, client.max_payload, self._publisher, outboxes, ConnectQueue(), self._announcer)
        self._cameras = RunningCameras(leases, self._handover, changed, parts)
        wanted = WantedCameras(buckets.cameras, buckets.credentials)
        self._fleet = Fleet(wanted, leases, self._handover, self._cameras, changed, health, settings.ingest_max_cameras)

    async def run(self, stopped: asyncio.Event) -> None:
        """Ingest until `stopped`. Raises TidegateError."""
        leases = self._buckets.leases
        mirrors = self._buckets.cameras, self._buckets.credentials, self._buckets.leased
        parts = (*(m.run() for m in mirrors), leases.run(), metrics.tidy(), self._keeper.run())
        tasks = [asyncio.create_task(part) for part in parts]
        announcing = asyncio.create_task(self._announcer.run())
        self._health.ready = "reading the buckets of cameras and leases"
        try:
            await supervise(self._reconcile(mirrors), *tasks, announcing, stop=stopped)
        finally:
            self._health.ready = "stopping"
            grace_s, lease_s = self._settings.ingest_grace_s, self._settings.lease_s
            await Shutdown(self._cameras, leases, self._handover, grace_s, lease_s).run()
            await end(*tasks)
            await self._handover.stop()
            await leases.leave()
            await asyncio.gather(self._announcer.flush(_GOODBYE_S), self._keeper.close())
            await end(announcing)

    async def _reconcile(self, mirrors: tuple[Mirror, ...]) -> None:
        """Run the fleet once every bucket has been read: before that, cameras would look removed."""
        await supervise(all_read(*mirrors), process.beat(self._client, self._health))
        await supervise(self._fleet.run(), self._report_waiting())

    async def _report_waiting(self) -> None:
        while True:
            self._health.ready = self._publisher.waiting()
            await asyncio.sleep(process.BEAT_S)
