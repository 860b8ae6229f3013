"""`python -m services.embed`: settings, connect, load the model; then answer queries and run the loop until SIGTERM."""

from __future__ import annotations

import asyncio
from functools import partial

from nats.aio.client import Client

from shared.runtime.tasks import supervise, unless
from shared.runtime.telemetry import Health, logger
from shared.service import loading, process

with process.needing("embed"):
    from services.embed import queries
    from services.embed.app import build
    from services.embed.models import InTurns, load
    from services.embed.settings import EmbedSettings


async def run(settings: EmbedSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    embedder = await loading.load(client, "embed", settings.replica, health, partial(_worker_embedder, settings), stop)
    if embedder is None:
        return
    worker = build(client, embedder, settings, health)
    tasks = [asyncio.create_task(work) for work in (queries.answer(client, embedder, stop), worker.run(stop))]
    try:
        await asyncio.gather(*tasks)
    finally:
        # If either fails, the other stops as at SIGTERM: the query and the messages in flight are not lost.
        stop.set()
        await asyncio.wait(tasks)


async def run_queries(settings: EmbedSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    """Answer only queries. There is no worker and no heartbeat: this process is not a replica."""
    health.ready = "loading the model"
    async with loading.beating(health):
        embedder = await unless(stop, asyncio.to_thread(_embedder, settings))
    if embedder is None:
        return
    health.ready = None
    logger("embed").info("ready for queries", model=embedder.name)
    await supervise(process.beat(client, health), queries.answer(client, embedder, stop))


def _worker_embedder(settings: EmbedSettings) -> InTurns:
    # Before the model: see `accelerator.device_of`.
    settings.decoding_device()
    return _embedder(settings)


def _embedder(settings: EmbedSettings) -> InTurns:
    return load(
        settings.embed_model,
        pretrained=settings.embed_pretrained,
        device=settings.embed_device,
        threads=settings.embed_infer_threads,
        batch_size=settings.embed_batch_size,
    )


if __name__ == "__main__":
    settings = process.settings("embed", EmbedSettings)
    if settings.embed_mode == "queries":
        process.main("embed-queries", settings, run_queries)
    else:
        process.main("embed", settings, run, per_gpu=settings.num_gpus)
