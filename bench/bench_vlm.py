"""The worker's overhead with vLLM: verify jobs per second over a filled stream, next to the bare requests.

    make vllm && python -m bench.bench_vlm [--shared] [jobs a turn] [turns]

The bare side has the bodies of the same requests ready before its clock starts, and sends them with the worker's
concurrency. It parses the answers like the worker and does nothing else. The worker's side pulls, reads segments,
decodes, sends requests, publishes and acknowledges. They alternate, so that other load affects both equally; the result
is the median of the turns' ratios. vLLM, with a model of two layers and no trained weights, caches nothing between
requests, so no turn profits from another.

vLLM has the first core to itself and all else has the others, as on a machine with a GPU. With `--shared` all share all
cores: vLLM's threads then spin on the cores that the worker needs to decode.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

import services.vlm.__main__ as vlm
from bench import record, world
from services.vlm.endpoints import prompt
from services.vlm.endpoints.openai import ModelEndpoint
from services.vlm.endpoints.prompt import Prompt
from services.vlm.frames.footage import Footage
from services.vlm.kinds.verify import PROMPT, VerdictAnswer
from services.vlm.settings import VlmSettings
from shared import bus
from shared.contract import names
from shared.contract.work import jobs
from shared.contract.work.jobs import Job
from shared.runtime.telemetry import Health
from tests.support.servers.vllm_process import SLOTS, VllmProcess, is_installed
from tidegate.local.server import NatsServer

JOBS = 60
TURNS = 5
TARGET = 0.9
QUESTION = "A person is on a bicycle."
# Disable caches between requests.
COLD = ("--no-enable-prefix-caching", "--mm-processor-cache-gb=0")


async def bodies(client: Client, seqs: list[int], settings: VlmSettings) -> list[dict[str, Any]]:
    """Return the requests of the jobs of these segments."""
    reader = Footage(client, side=settings.vlm_size, threads=2)
    requests = []
    for seq in seqs:
        batch = Prompt(
            text=PROMPT.format(prompt=QUESTION),
            frames=await reader.of("bench", [seq], settings.vlm_frames),
            answer=VerdictAnswer,
            max_tokens=settings.vlm_max_tokens,
        )
        requests.append(prompt.request(batch, media=settings.vlm_media, temperature=settings.vlm_temperature))
    return requests


async def bare(settings: VlmSettings, requests: list[dict[str, Any]], model: str) -> float:
    """Return requests per second of a bare client."""
    waiting = iter(requests)
    async with ModelEndpoint(settings.vlm_url, key=lambda: "", timeout_s=300) as endpoint:

        async def slot() -> None:
            for body in waiting:
                await endpoint.complete({"model": model, **body})

        started = time.perf_counter()
        # The worker's concurrency: its slots, and one reserved for verify.
        await asyncio.gather(*(slot() for _ in range(settings.vlm_batch_size + 1)))
        return len(requests) / (time.perf_counter() - started)


async def worker_rate(settings: VlmSettings, batch: Sequence[Job], server: NatsServer, admin: Client) -> float:
    """Return jobs per second of a worker, from its readiness to its last acknowledgement."""
    for job in batch:
        await bus.publish_job(admin, job)
    client = await bus.connect(server.settings("vlm"), "vlm")
    stop, health = asyncio.Event(), Health()
    running = asyncio.create_task(vlm.run(settings, client, health, stop))
    while health.ready:
        await asyncio.sleep(0.005)
    started = time.perf_counter()
    for stream, consumer in names.VLM_WORK:
        await world.acknowledged(admin.jetstream(), stream, consumer)
    rate = len(batch) / (time.perf_counter() - started)
    stop.set()
    await running
    await client.close()
    return rate


async def main(out: Console, count: int = JOBS, turns: int = TURNS, *, shared: bool = False) -> bool:
    if not is_installed():
        out.print("vLLM is not installed here: make vllm")
        return False
    first, *others = sorted(os.sched_getaffinity(0))
    apart = bool(others) and not shared
    if apart:
        os.sched_setaffinity(0, others)
    with tempfile.TemporaryDirectory() as folder:
        vllm = VllmProcess(Path(folder) / "vllm.log", *COLD, cores=[first] if apart else ())
        vllm.start()
        await asyncio.to_thread(vllm.wait)
        settings = VlmSettings(vlm_url=vllm.url, vlm_batch_size=SLOTS, vlm_max_tokens=1024, vlm_frames=4)
        ratios, alone, over_the_bus = [], [], []
        try:
            async with world.serving() as (server, admin, _):
                seqs = await world.fill(admin.jetstream(), islice(cycle(world.pieces()), count), "e")
                requests = await bodies(admin, seqs, settings)
                # vLLM's first requests compile its grammars and kernels.
                await bare(settings, requests[:SLOTS], vllm.model)
                for turn in range(turns):
                    alone.append(await bare(settings, requests, vllm.model))
                    batch = [
                        jobs.Verify(camera="bench", incident=f"{turn}-{n}", prompt=QUESTION, segments=[seq])
                        for n, seq in enumerate(seqs)
                    ]
                    over_the_bus.append(await worker_rate(settings, batch, server, admin))
                    ratios.append(over_the_bus[-1] / alone[-1])
        finally:
            vllm.kill()
    table = Table("", "jobs/s", "ratio", "target")
    table.add_row("the same requests, sent bare", f"{statistics.median(alone):.2f}", "", "")
    ratio = statistics.median(ratios)
    table.add_row("the worker", f"{statistics.median(over_the_bus):.2f}", f"{ratio:.3f}", f">= {TARGET}")
    where = "vLLM on a core of its own" if apart else "vLLM and the worker on the same cores"
    out.print(f"{count} verify jobs a turn, {turns} turns, {settings.vlm_frames} frames each, {SLOTS} at once; {where}")
    out.print(table)
    out.print("ratios of the turns: " + ", ".join(f"{r:.3f}" for r in ratios))
    key = "worker / bare, vLLM on a core of its own" if apart else "worker / bare, on the same cores"
    record.write("vlm", higher={key: ratio}, figures={"worker, jobs/s": statistics.median(over_the_bus)})
    return ratio >= TARGET


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:] if a != "--shared"]
    sys.exit(0 if asyncio.run(main(Console(width=110), *numbers, shared="--shared" in sys.argv)) else 1)
