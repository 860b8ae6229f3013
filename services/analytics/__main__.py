"""`python -m services.analytics`: from detections to what operators act on.

It reads events.detections.* in order, follows objects, and publishes tracks, incidents, alerts and counts by each
camera's rules. It needs a CPU alone. Several processes share the cameras by leases.
"""

from __future__ import annotations

import asyncio
from functools import partial

from nats.aio.client import Client
from nats.js.kv import KeyValue

from shared import bus
from shared.bus.client import Connection
from shared.bus.leases import TIMEOUT, Kind, Leases, process_id
from shared.bus.mirror import Mirror, all_read, bind, mirror
from shared.contract import names
from shared.runtime.errors import BusError
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health
from shared.service import process

with process.needing("analytics"):
    from services.analytics import metrics
    from services.analytics.checkpoint import Checkpoints
    from services.analytics.rulebook import Rulebook
    from services.analytics.service import Analytics
    from services.analytics.settings import AnalyticsSettings
    from services.analytics.sharing import OwnedPartitions

# What is being published gets this long. What is not published by then, a successor publishes.
GRACE_S = 10.0


async def run(settings: AnalyticsSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Until `stop` is set. Raises TidegateError."""
    version = client.connected_server_version
    if (version.major, version.minor) < (2, 11):
        raise BusError(
            f"nats-server is {version.major}.{version.minor}: 2.11 or later is needed to read EVENTS as a log"
        )
    changed = asyncio.Event()
    opening = partial(_buckets, client, changed, settings)
    buckets = await unless(stop, bus.answered(client, health, opening))
    if buckets is None:
        return
    rules, leased, lease_kv, checkpoints = buckets
    leases = Leases(
        client, lease_kv, leased, process_id(), Kind("partition", "analytics", metrics.OWNED), settings.lease_s
    )
    rulebook = Rulebook(rules)
    partitions = OwnedPartitions(client, settings, rulebook, leases, checkpoints)
    analytics = Analytics(
        client, rulebook, partitions, health, settings.analytics_checkpoint_s, settings.analytics_settle_s
    )

    async def work() -> None:
        health.ready = "reading the buckets of rules and leases"
        await supervise(all_read(rules, leased), process.beat(client, health))
        for _ in rulebook.changed():
            pass
        await analytics.run(stop)

    following = [asyncio.create_task(part) for part in (rules.run(), leased.run(), leases.run())]
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
    client: Client, changed: asyncio.Event, settings: AnalyticsSettings
) -> tuple[Mirror, Mirror, KeyValue, Checkpoints]:
    """Rules and leases: copies to be run, and of the leases the bucket itself; and the checkpoints, agreed on."""
    rules, leased = [await mirror(client, bucket, changed) for bucket in (names.RULES, names.PARTITIONS)]
    lease_kv = await bind(client.jetstream(timeout=TIMEOUT * settings.lease_s), names.PARTITIONS)
    checkpoints = Checkpoints(client, await bind(client.jetstream(), names.ANALYTICS))
    await checkpoints.agree(settings.analytics_partitions)
    return rules, leased, lease_kv, checkpoints


if __name__ == "__main__":
    process.main("analytics", process.settings("analytics", AnalyticsSettings), run)
