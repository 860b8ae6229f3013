"""An analytics process: wires the parts, runs them, and stops them in order."""

from __future__ import annotations

import asyncio
from functools import partial

from services.analytics import metrics
from services.analytics.extensions import attach
from services.analytics.loop import Analytics
from services.analytics.partitions.checkpoint import Checkpoints
from services.analytics.partitions.sharing import OwnedPartitions
from services.analytics.rules.rulebook import Rulebook
from services.analytics.settings import AnalyticsSettings
from shared import bus
from shared.bus.client import Connection
from shared.bus.leasing import leases as leasing
from shared.bus.leasing.leases import Kind, Leases
from shared.bus.log import check_version
from shared.bus.mirror import Mirror, all_read, bind, mirror
from shared.contract import names
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health
from shared.service import process

# Grace period for publishing in progress. A successor publishes the rest.
GRACE_S = 10.0


async def run(settings: AnalyticsSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises TidegateError."""
    check_version(client, names.EVENTS)
    changed = asyncio.Event()
    opening = partial(_buckets, client, changed, settings)
    buckets = await unless(stop, bus.answered(client, health, opening))
    if buckets is None:
        return
    rules, cameras, leased, leases, checkpoints = buckets
    rulebook = Rulebook(rules)

    def is_listed(camera: str) -> bool:
        return camera in cameras.values or rulebook.has(camera)

    partitions = OwnedPartitions(client, settings, rulebook, is_listed, leases, checkpoints)
    analytics = Analytics(client, rulebook, partitions, health, changed, settings.analytics_checkpoint_s)
    attach(analytics, partitions, settings)

    async def work() -> None:
        health.ready = "reading the buckets of rules, cameras and leases"
        await supervise(all_read(rules, cameras, leased), process.beat(client, health))
        for _ in rulebook.changed():
            pass
        await analytics.run(stop)

    following = [asyncio.create_task(part) for part in (rules.run(), cameras.run(), leased.run(), leases.run())]
    working = asyncio.create_task(work())
    try:
        await supervise(working, *following, stop=stop)
    finally:
        health.ready = "stopping"
        await asyncio.wait({working}, timeout=GRACE_S)
        await end(working)
        await analytics.leave()
        await end(*following)
        await leases.leave()


async def _buckets(
    client: Connection, changed: asyncio.Event, settings: AnalyticsSettings
) -> tuple[Mirror, Mirror, Mirror, Leases, Checkpoints]:
    """Return mirrors of the rules, the cameras and the leases, to be run; our leases; and the checkpoints, once
    agreed.
    """
    kind = Kind("partition", "analytics", metrics.OWNED)
    leased, leases = await leasing.open_leases(client, names.PARTITIONS, kind, settings.lease_s, changed)
    rules = await mirror(client, names.RULES, changed)
    cameras = await mirror(client, names.CAMERAS, changed)
    checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
    await checkpoints.agree(settings.analytics_partitions)
    return rules, cameras, leased, leases, checkpoints
