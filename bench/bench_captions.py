"""What fewer frames per caption save: captions per second of a worker over a filled stream, by number of frames.

    make vllm && python -m bench.bench_captions [captions a turn] [turns]

All jobs wait longer than the latency target, so that the worker shows the floor's frames; without a target it shows
all. They alternate, so that other load affects all equally; the result is the median of the turns' ratios. The saving
depends on the length of the answers, which does not change: there are short and usual ones.

vLLM has the first core to itself, as in bench_vlm. Its model has two layers and no trained weights. A frame is 64 of
its tokens, and some hundreds of a real model's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import statistics
import sys
import tempfile
from pathlib import Path

import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import record, world
from bench.bench_vlm import COLD, worker_rate
from services.vlm.settings import VlmSettings
from shared.bus.log import Log
from shared.contract import names
from shared.contract.events import Caption
from shared.contract.work import jobs
from tests.support.servers.vllm_process import SLOTS, VllmProcess, is_installed
from tests.support.worlds.jobs_world import film
from tidegate.local.server import NatsServer

CAPTIONS = 24
TURNS = 9
STRETCH_S = 30
FRAMES = 8
FLOORS = (2,)
ANSWERS = {"short": 16, "usual": 80}
TARGET_S = 0.001


class Turn(msgspec.Struct, frozen=True):
    """One turn. captions: per second. prompt, answer: mean tokens of one."""

    captions: float
    prompt: float
    answer: float


async def turn(settings: VlmSettings, count: int, server: NatsServer, admin: Client) -> Turn:
    """Caption the last seconds `count` times."""
    end = dt.datetime.now(dt.UTC)
    start, camera = end - dt.timedelta(seconds=STRETCH_S), f"at-{end.timestamp() * 1e6:.0f}"
    await film(admin, STRETCH_S, camera=camera, start=start)
    requests = [jobs.Caption(camera=camera, id=f"{n}", start=start, end=end) for n in range(count)]
    before = (await admin.jetstream().stream_info(names.EVENTS)).state.last_seq
    rate = await worker_rate(settings, requests, server, admin)
    async with Log(admin, names.EVENTS) as log:
        captions = [msgspec.json.decode(s.data, type=Caption) for s in await log.read("events.captions.>", before + 1)]
    shown = settings.vlm_frames_floor if settings.vlm_latency_target_s else settings.vlm_frames
    assert {len(caption.frames) for caption in captions} == {shown}, "the level is that of all"
    return Turn(
        rate,
        statistics.mean(caption.usage.prompt_tokens for caption in captions),
        statistics.mean(caption.usage.completion_tokens for caption in captions),
    )


async def measure(
    url: str, tokens: int, count: int, turns: int, server: NatsServer, admin: Client
) -> dict[int, list[Turn]]:
    """Return the turns of each number of frames."""
    whole = VlmSettings(
        vlm_url=url, vlm_batch_size=SLOTS, vlm_max_tokens=tokens, vlm_frames=FRAMES, vlm_static_scene_refresh_s=0
    )
    levels = {FRAMES: whole} | {
        floor: msgspec.structs.replace(whole, vlm_frames_floor=floor, vlm_latency_target_s=TARGET_S) for floor in FLOORS
    }
    found: dict[int, list[Turn]] = {frames: [] for frames in levels}
    await turn(whole, SLOTS, server, admin)  # the first requests compile vLLM's kernels
    for _ in range(turns):
        for frames, settings in levels.items():
            found[frames].append(await turn(settings, count, server, admin))
    return found


def ratios(of: dict[int, list[Turn]], frames: int) -> list[float]:
    """Return the time of a caption of `frames` frames, as a share of one of all frames, in each turn."""
    return [whole.captions / less.captions for whole, less in zip(of[FRAMES], of[frames], strict=True)]


async def main(out: Console, count: int = CAPTIONS, turns: int = TURNS) -> None:
    if not is_installed():
        out.print("vLLM is not installed here: make vllm")
        return
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(0, others)
    table = Table("answer", "frames", "tokens in, out", "captions/s", "time of one, of one of all frames", "turns")
    lower = {}
    with tempfile.TemporaryDirectory() as folder:
        vllm = VllmProcess(Path(folder) / "vllm.log", *COLD, cores=[first] if others else ())
        vllm.start()
        try:
            await asyncio.to_thread(vllm.wait)
            async with world.serving() as (server, admin, _):
                for answer, tokens in ANSWERS.items():
                    found = await measure(vllm.url, tokens, count, turns, server, admin)
                    for frames, those in found.items():
                        share = ratios(found, frames)
                        ratio = statistics.median(share)
                        lower[f"{answer} answers, {frames} frames / {FRAMES}"] = ratio
                        table.add_row(
                            answer,
                            f"{frames}",
                            f"{those[0].prompt:.0f}, {those[0].answer:.0f}",
                            f"{statistics.median(t.captions for t in those):.2f}",
                            f"{ratio:.2f}",
                            f"{min(share):.2f} to {max(share):.2f}",
                        )
        finally:
            vllm.kill()
    out.print(f"{count} captions of {STRETCH_S} s a turn, {turns} turns, {SLOTS} at once")
    out.print(table)
    record.write("captions", lower={k: v for k, v in lower.items() if v != 1.0})


if __name__ == "__main__":
    asyncio.run(main(Console(width=110), *map(int, sys.argv[1:])))
