"""The work of the two processes: jobs while the model is healthy; or the front, which needs no model."""

from __future__ import annotations

import asyncio
import math

from services.vlm.endpoints.model import Model, event_name
from services.vlm.planning.asking import Asking
from services.vlm.planning.planner import Planner
from services.vlm.service import Task, VlmService
from services.vlm.settings import VlmSettings
from shared.bus import requests
from shared.bus.client import Connection
from shared.contract import names
from shared.contract.events import VlmResult
from shared.runtime.tasks import end, unless
from shared.runtime.telemetry import Health, logger
from shared.service import loading
from shared.worker import Worker


async def work(settings: VlmSettings, client: Connection, health: Health, stop: asyncio.Event, model: Model) -> None:
    """Take jobs while the model is healthy, and none while it is not: other replicas get the jobs."""
    worker: Worker[Task, VlmResult] | None = None
    while not stop.is_set():
        async with loading.saying(client, "vlm", settings.replica, health), loading.beating(health, math.inf):
            await unless(stop, model.well.wait())
        if stop.is_set():
            return
        if worker is None:
            service = VlmService(client, model, settings, name=event_name(settings, model.name))
            worker = Worker(
                client,
                service,
                settings.worker(),
                health,
                consumers=names.VLM_WORK,
                extensions=service.extensions,
            )
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


async def run_front(settings: VlmSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Answer and plan until `stop` is set. Raises TidegateError."""
    asking = Asking(client)
    await asking.start()
    waiting: set[asyncio.Task[None]] = set()
    service = await requests.serve(
        client,
        names.micro("vlm"),
        "questions about a camera's video, answered by a vision language model",
        {"ask": (names.ASK, asking.answer)},
        waiting=waiting,
    )
    await client.flush()
    health.ready = None
    logger("vlm").info("ready for questions", captions_every_s=settings.vlm_caption_every_s)
    try:
        await Planner(client, settings, health).run(stop)
    finally:
        await service.stop()
        await end(*waiting)
