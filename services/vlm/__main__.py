"""`python -m services.vlm`: settings, connect, reach the model; then process the jobs of VLM until SIGTERM.

With VLM_MODE=front: answer svc.ask and plan captions instead, without a model.
"""

from __future__ import annotations

import asyncio
from functools import partial

from shared.bus.client import Connection
from shared.runtime.tasks import end, supervise
from shared.runtime.telemetry import Health
from shared.service import process

with process.needing("vlm"):
    from services.vlm.app import run_front, work
    from services.vlm.endpoints.connection import connect, upkeep
    from services.vlm.endpoints.vllm_server import VllmServer
    from services.vlm.settings import VlmSettings


async def run(settings: VlmSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    async with connect(settings) as (model, server):
        model.on_change = partial(_changed, health, server)
        beside = upkeep(model, server)
        working = asyncio.create_task(work(settings, client, health, stop, model), name="work")
        try:
            await supervise(working, *beside)
        finally:
            # For any cause, the jobs in flight are handed back.
            stop.set()
            await asyncio.wait({working})
            await end(*beside)


def _changed(health: Health, server: VllmServer | None, reason: str | None) -> None:
    health.ready = reason
    if server and reason is None:
        server.is_well()


if __name__ == "__main__":
    settings = process.settings("vlm", VlmSettings)
    if settings.vlm_mode == "front":
        process.main("vlm-front", settings, run_front)
    else:
        process.main("vlm", settings, run, per_gpu=settings.replicas)
