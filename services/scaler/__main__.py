"""`python -m services.scaler`: settings, connect, answer KEDA by HTTP and gRPC until SIGTERM."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from shared.bus.client import Connection
from shared.runtime.errors import connection_closed
from shared.runtime.telemetry import Health, logger
from shared.service import process

with process.needing("scaler"):
    from services.scaler.cost import HeardAccounts
    from services.scaler.external_scaler import ScalerService, serving
    from services.scaler.live.explainer import explaining
    from services.scaler.live.live_metrics import LiveMetrics
    from services.scaler.page import serving_page
    from services.scaler.settings import ScalerSettings

BEAT_S = 1.0


async def run(settings: ScalerSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    async with (
        LiveMetrics(client, has_history=True, pages=settings.pages) as live_metrics,
        explaining(client, live_metrics, "scaler"),
        serving(ScalerService(live_metrics), settings) as port,
        serving_page(live_metrics, settings) as url,
    ):
        logger("scaler").info("ready", url=url, address=f"{settings.scaler_host}:{port}")
        # While NATS is away, every call returns an error; the service itself is ready.
        health.ready = None
        accounts = HeardAccounts(live_metrics.heartbeats)
        while not stop.is_set() and not client.is_closed:
            health.beat()
            accounts.charge_heard()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await stop.wait()
    if not stop.is_set():
        raise connection_closed()


if __name__ == "__main__":
    process.main("scaler", process.settings("scaler", ScalerSettings), run)
