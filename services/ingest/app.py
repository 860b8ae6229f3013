"""An ingest process: wires the parts, runs them, and stops them in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.ingest import metrics
from services.ingest.camera.connect_queue import ConnectQueue
from services.ingest.camera.status import Announcer
from services.ingest.camera.stream_runner import ProcessParts
from services.ingest.delivery import usage
from services.ingest.delivery.outbox import Outboxes
from services.ingest.delivery.publisher import Publisher
from services.ingest.settings import IngestSettings
from services.ingest.sharing.fleet import Fleet
from services.ingest.sharing.handover import Handover
from services.ingest.sharing.running import RunningCameras
from services.ingest.sharing.shutdown import Shutdown
from services.ingest.sharing.wanted import WantedCameras
from shared.bus.client import Connection
from shared.bus.leasing import leases as leasing
from shared.bus.leasing.leases import Kind
from shared.bus.mirror import Mirror, all_read, mirror
from shared.contract import names
from shared.contract.memory import MB
from shared.runtime.tasks import end, supervise
from shared.runtime.telemetry import Health
from shared.runtime.ticks import tick
from shared.service import process
from shared.service.usage import Keeper

# When the process ends, the last camera events get this long to be stored.
_GOODBYE_S = 1.0


async def build(settings: IngestSettings, client: Connection, health: Health) -> Ingest:
    """Return the parts, once the buckets are open. Raises as `bind` does."""
    changed = asyncio.Event()
    listed, entries = [await mirror(client, bucket, changed) for bucket in (names.CAMERAS, names.CREDENTIALS)]
    kind = Kind("camera", "process", metrics.OWNED)
    leased, leases = await leasing.open_leases(client, names.LEASES, kind, settings.lease_s, changed)
    js = client.jetstream()
    meter = usage.Meter()
    publisher = Publisher(client, js, meter.record)
    announcer = Announcer(client, js, leases.process)
    outboxes = Outboxes(int(settings.ingest_buffer_total_mb * MB))
    parts = ProcessParts(settings, client.max_payload, publisher, outboxes, ConnectQueue(), announcer)
    cameras = RunningCameras(leases, Handover(leases), changed, parts)
    return Ingest(
        client,
        health,
        [listed, entries, leased],
        cameras,
        Fleet(WantedCameras(listed, entries), cameras, changed, health),
        Keeper(client, "ingest", meter.take, every_s=usage.EVERY_S),
    )


@dataclass
class Ingest:
    """One process: `run` until it is stopped. mirrors: of the buckets of cameras, credentials and leases."""

    client: Connection
    health: Health
    mirrors: list[Mirror]
    cameras: RunningCameras
    fleet: Fleet
    keeper: Keeper

    async def run(self, stopped: asyncio.Event) -> None:
        """Ingest until `stopped`. Raises TidegateError."""
        leases, announcer = self.cameras.leases, self.cameras.parts.announcer
        parts = (*(m.run() for m in self.mirrors), leases.run(), metrics.tidy(), self.keeper.run())
        tasks = [asyncio.create_task(part) for part in parts]
        announcing = asyncio.create_task(announcer.run())
        self.health.ready = "reading the buckets of cameras and leases"
        try:
            await supervise(self._reconcile(), *tasks, announcing, stop=stopped)
        finally:
            self.health.ready = "stopping"
            await Shutdown(self.cameras).run()
            await end(*tasks)
            await self.cameras.handover.stop()
            await leases.leave()
            await asyncio.gather(announcer.flush(_GOODBYE_S), self.keeper.close())
            await end(announcing)

    async def _reconcile(self) -> None:
        """Run the fleet once every bucket has been read: before that, cameras would look removed."""
        await supervise(all_read(*self.mirrors), process.beat(self.client, self.health))
        await supervise(self.fleet.run(), self._report_waiting())

    async def _report_waiting(self) -> None:
        while True:
            self.health.ready = self.cameras.parts.publisher.waiting()
            await tick(process.BEAT_S)
