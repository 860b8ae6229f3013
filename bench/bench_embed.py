"""The overhead of the worker: images per second of embed over a filled stream, next to the bare model in a loop.

    python -m bench.bench_embed [segments a turn] [turns]

The bare side has the same images decoded before its clock starts, in batches of the same size; the worker's side pulls,
decodes, embeds, publishes and acknowledges. They alternate, so that other load affects both equally; the result is the
median of the turns' ratios. ViT-B-32 with random weights is measured if open_clip is installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import sys
import time
from itertools import cycle, islice

from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import record, world
from services.embed.models import Embedder, load
from services.embed.segments import Segments
from services.embed.service import EmbedService
from services.embed.settings import EmbedSettings
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import names
from shared.runtime.telemetry import Health
from shared.video.decode import Image, decode
from shared.worker import Worker
from tidegate.local.server import NatsServer

SEGMENTS = 120
TURNS = 5
TARGET = 0.9


def bare(images: list[Image], embedder: Embedder, batch: int) -> float:
    """Return images/s of the model alone."""
    started = time.perf_counter()
    for i in range(0, len(images), batch):
        embedder.embed(images[i : i + batch])
    return len(images) / (time.perf_counter() - started)


async def worker_rate(
    pieces: list[Piece], embedder: Embedder, settings: EmbedSettings, server: NatsServer, admin: Client, turn: str
) -> float:
    """Return images/s of a worker, from its first pull to its last acknowledgement. A segment has one image."""
    js = admin.jetstream()
    await world.fill(js, pieces, turn)
    client = await bus.connect(server.settings("embed"), "embed")
    source = Segments(client.jetstream(), embedder.size, settings)
    service = EmbedService(source, embedder, batch_size=settings.embed_batch_size)
    worker = Worker(client, service, settings.worker(), Health(), consumers=[(names.MEDIA, "embed")])
    seconds = await world.seconds_at_work(worker.run, js, names.MEDIA, "embed")
    await client.close()
    return len(pieces) / seconds


async def measure(settings: EmbedSettings, segments: int, turns: int) -> tuple[float, float, float]:
    """Return medians over the turns: images/s of the bare model, images/s of the worker, and their ratio."""
    pieces = list(islice(cycle(world.pieces()), segments))
    embedder = load(
        settings.embed_model,
        pretrained=settings.embed_pretrained,
        threads=settings.embed_infer_threads,
        batch_size=settings.embed_batch_size,
    )
    images = [decode(p.payload, at=[0.0], size=embedder.size).pictures[0].pixels for p in pieces]
    alone, over_the_bus = [], []
    async with world.serving() as (server, admin, _):
        for turn in range(turns):
            alone.append(await asyncio.to_thread(bare, images, embedder, settings.embed_batch_size))
            over_the_bus.append(await worker_rate(pieces, embedder, settings, server, admin, f"turn{turn}"))
    ratio = statistics.median(b / a for a, b in zip(alone, over_the_bus, strict=True))
    return statistics.median(alone), statistics.median(over_the_bus), ratio


async def main(out: Console, segments: int = SEGMENTS, turns: int = TURNS) -> bool:
    chosen = [EmbedSettings(embed_static_scene_refresh_s=0)]
    if importlib.util.find_spec("open_clip"):
        chosen.append(EmbedSettings(embed_model="ViT-B-32", embed_pretrained="random", embed_static_scene_refresh_s=0))
    table = Table("model", "bare, images/s", "the worker, images/s", "ratio", "target")
    reached = True
    ratios: dict[str, float] = {}
    speeds: dict[str, float] = {}
    for settings in chosen:
        a, b, ratio = await measure(settings, segments, turns)
        table.add_row(settings.embed_model, f"{a:.1f}", f"{b:.1f}", f"{ratio:.3f}", f">= {TARGET}")
        ratios[f"worker / bare, {settings.embed_model}"] = ratio
        speeds[f"worker, images/s, {settings.embed_model}"] = b
        reached = reached and ratio >= TARGET
    out.print(f"{segments} segments a turn, {turns} turns each, one image a segment, 1 inference thread on a CPU")
    out.print(table)
    record.write("embed", higher=ratios, figures=speeds)
    return reached


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(Console(width=110), *map(int, sys.argv[1:]))) else 1)
