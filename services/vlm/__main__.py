"""`python -m services.vlm`: settings, connect, reach the model; then process the jobs of VLM until SIGTERM.

With VLM_MODE=front: answer svc.ask and plan captions instead, without a model.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial

from nats.aio.client import Client

from shared.contract import names
from shared.contract.events import VlmResult
from shared.runtime.tasks import end, supervise, unless
from shared.runtime.telemetry import Health
from shared.service import loading, process
from shared.worker import Worker

with process.needing("vlm"):
    from services.vlm import front
    from services.vlm.model import Model, event_name
    from services.vlm.reaching import keeping, reached
    from services.vlm.service import Task, VlmService
    from services.vlm.settings import VlmSettings
    from services.vlm.vllm_server import VllmServer


async def run(settings: VlmSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    async with reached(settings) as (model, server):
        model.on_change = partial(_changed, health, server)
        beside = keeping(model, server)
        working = asyncio.create_task(_work(settings, client, health, stop, model), name="work")
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


async def _work(settings: VlmSettings, client: Client, health: Health, stop: asyncio.Event, model: Model) -> None:
    """Take jobs while the model is healthy, and none while it is not: other replicas get the jobs."""
    worker: Worker[Task, VlmResult] | None = None
    while not stop.is_set():
        async with loading.saying(client, "vlm", settings.replica), loading.beating(health, math.inf):
            await unless(stop, model.well.wait())
        if stop.is_set():
            return
        if worker is None:
            service = VlmService(client, model, settings, name=event_name(settings, model.name))
            worker = Worker(client, service, settings.worker(), health, consumers=names.VLM_WORK)
        over = asyncio.Event()
        watching = asyncio.create_task(_watch(stop, model, over))
        try:
            await worker.run(over)
        finally:
            await end(watching)


async def _watch(stop: asyncio.Event, model: Model, over: asyncio.Event) -> None:
    """Set `over` once the worker must drain: it is stopped, or its model is lost."""
    await unless(stop, model.lost.wait())
    if stop.is_set():
        model.close()
    over.set()


if __name__ == "__main__":
    settings = process.settings("vlm", VlmSettings)
    if settings.vlm_mode == "front":
        process.main("vlm-front", settings, front.run)
    else:
        process.main("vlm", settings, run, per_gpu=settings.replicas)
