"""`tidegate workers`: the pools of one machine, until Ctrl-C. It prints log lines, also for the journal."""

from __future__ import annotations

import os
from collections.abc import Sequence

from shared.contract import catalog
from shared.contract.catalog import Service
from shared.runtime import systemd, telemetry
from shared.runtime.errors import SettingError
from shared.runtime.pages import monitoring
from shared.runtime.settings import BusSettings, load
from shared.runtime.tasks import unless
from tidegate.local.scaling import scaled_objects
from tidegate.local.scaling.division import MOST
from tidegate.local.workers import Machine, PoolSpec, Workers
from tidegate.view.up import check_extras, fitted, until_signalled

log = telemetry.logger("workers")


async def run(
    machine: Machine, services: Sequence[str], *, most: int | None, scaled_object: str | None, speed: float
) -> None:
    """Run until SIGINT or SIGTERM; a second one ends it and the workers immediately. Raises TidegateError."""
    if scaled_object and len(services) > 1:
        raise SettingError("--scaled-object is for one service: run a command for each")
    records = [_find(name) for name in services]
    check_extras(records, f"tidegate workers {' '.join(services)}")
    pools = {record.name: _pool(record, most, scaled_object) for record in records}
    stop = until_signalled()
    settings = load(BusSettings)
    telemetry.configure(settings, "workers")
    workers = Workers(machine, pools, speed=speed)
    port = monitoring.serve(settings, workers.health)
    monitoring.tell_prometheus(settings, "workers", port)
    # The server may be away: Ctrl-C must not wait for it.
    if not await unless(stop, workers.start()):
        return
    try:
        log.info("ready", machine=machine.name, most={name: pool.most for name, pool in pools.items()})
        systemd.notify("READY=1")
        await unless(stop, workers.failed())
    finally:
        systemd.notify("STOPPING=1")
        log.info("stopping: workers finish what they hold")
        await workers.close()


def _find(name: str) -> Service:
    record = catalog.find(name)
    if not record.scaled_object:
        scaled = ", ".join(s.name for s in catalog.services() if s.scaled_object)
        raise SettingError(f"{name} is not scaled: run 'python -m {record.module}', or take {scaled}")
    return record


def _pool(record: Service, most: int | None, own: str | None) -> PoolSpec:
    """Return the pool of a service. Only a file of the user limits all machines together."""
    scaled = fitted(record, own)
    on_gpu = bool(record.device) and os.environ.get(record.device, "cpu") != "cpu"
    default = 1 if on_gpu else min(scaled.spec.max_replica_count, os.cpu_count() or 1)
    env = scaled_objects.environment(record.name, scaled)
    return PoolSpec(scaled=scaled if own else scaled.with_maximum(MOST), most=most or default, env=env)
