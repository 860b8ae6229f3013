"""`python -m services.search`: settings, connect, open the index, fill it and answer from it until SIGTERM."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from shared.runtime.telemetry import Health
from shared.service import loading, process

with process.needing("search"):
    from services.search import metrics
    from services.search.answers import Answers
    from services.search.erasing import Eraser
    from services.search.index import Index
    from services.search.indexer import Indexer
    from services.search.settings import SearchSettings


async def run(settings: SearchSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    """Index and answer until `stop`."""
    health.ready = "opening the index"
    async with loading.beating(health):
        index = await asyncio.to_thread(Index, settings.search_index, cache_mb=settings.search_cache_mb)
    metrics.CACHED.set_function(index.tables.cached)
    indexer = Indexer(client, index, settings, health)
    answering = await Answers(client, index, settings, lambda: indexer.pending).start()
    eraser = Eraser(client, index, settings.search_index)
    await eraser.start()
    try:
        await indexer.run(stop)
    finally:
        await eraser.stop()
        await answering.stop()
        index.close()


if __name__ == "__main__":
    process.main("search", process.settings("search", SearchSettings), run)
