"""Captions of recordings per second, next to the same requests sent directly to the same vLLM.

    make vllm && python -m bench.bench_recaption [captions a turn] [turns]

A run reads frames from the store, decodes them, sends requests and writes answers; the bare loop has all requests
ready. They alternate, so that other load affects both equally; the result is the median of the turns' ratios.

vLLM has the first core to itself, as in bench_vlm. Its model has two layers and no trained weights: a real one takes
far longer for an answer, and the rest takes the same time.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import record
from bench.bench_vlm import COLD, bare
from services.vlm.endpoints import prompt
from services.vlm.endpoints.prompt import Prompt
from services.vlm.kinds.caption import PROMPT
from services.vlm.planning.stretches import CaptionPlan
from services.vlm.settings import VlmSettings
from shared.recordings import opening
from tests.support.servers.vllm_process import SLOTS, VllmProcess, is_installed
from tests.support.worlds.archive_world import planned, recorded
from tidegate.archive.captions.captioner import Captioner
from tidegate.archive.captions.chapters import Chapter, chapters, files_by_camera
from tidegate.archive.captions.footage import Footage
from tidegate.archive.job import NONE, Job, Piece
from tidegate.archive.planning import CaptionRequest

CAPTIONS = 64
TURNS = 7
STRETCH_S = 10
FRAMES = 8
TARGET = 0.9


async def requests(job: Job, pieces: list[Piece], todo: list[Chapter], settings: VlmSettings) -> list[dict[str, Any]]:
    """Return the requests that a run sends."""
    store = opening.open_recordings(job.store, "--store", "")
    footage = Footage(store, files_by_camera(pieces), settings)
    bodies = []
    for chapter in todo:
        for start, end in chapter.stretches:
            shown = await footage.between(chapter.camera, start, end, FRAMES)
            question = Prompt(text=PROMPT, frames=shown, max_tokens=settings.vlm_max_tokens)
            bodies.append(prompt.request(question, media=settings.vlm_media, temperature=settings.vlm_temperature))
    await store.close()
    return bodies


def run(job: Job, pieces: list[Piece], todo: list[Chapter], settings: VlmSettings) -> float:
    """Return captions per second of a run, from the first read to the last write."""
    with Captioner(job, pieces, settings) as captioner:
        started = time.perf_counter()
        captioner.caption(todo, lambda: None)
        return sum(len(chapter.stretches) for chapter in todo) / (time.perf_counter() - started)


def main(out: Console, count: int = CAPTIONS, turns: int = TURNS) -> bool:
    if not is_installed():
        out.print("vLLM is not installed here: make vllm")
        return False
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(0, others)
    alone, ratios, rates = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "recordings"
        recorded(store, ("alley", "crossing"), -(-count * STRETCH_S // 60), seconds=30)
        describe = CaptionRequest(frames=FRAMES, size=640, usual=CaptionPlan(every_s=STRETCH_S))
        job, pieces = planned(store, Path(folder) / "out", model=NONE, describe=describe)
        todo = chapters(job, pieces)
        vllm = VllmProcess(Path(folder) / "vllm.log", *COLD, cores=[first] if others else ())
        vllm.start()
        vllm.wait()
        settings = VlmSettings(vlm_url=vllm.url, vlm_batch_size=SLOTS, vlm_max_tokens=80, vlm_frames=FRAMES)
        try:
            bodies = asyncio.run(requests(job, pieces, todo, settings))
            asyncio.run(bare(settings, bodies[:SLOTS], vllm.model))
            for _ in range(turns):
                alone.append(asyncio.run(bare(settings, bodies, vllm.model)))
                rates.append(run(job, pieces, todo, settings))
                ratios.append(rates[-1] / alone[-1])
        finally:
            vllm.kill()
    ratio = statistics.median(ratios)
    table = Table("", "captions/s", "ratio", "target")
    table.add_row("the same requests, sent bare", f"{statistics.median(alone):.2f}", "", "")
    table.add_row("a run over recordings", f"{statistics.median(rates):.2f}", f"{ratio:.3f}", f">= {TARGET}")
    out.print(f"{len(bodies)} captions a turn, {turns} turns, {FRAMES} frames each, {SLOTS} at once")
    out.print(table)
    out.print("ratios of the turns: " + ", ".join(f"{r:.3f}" for r in ratios))
    record.write("recaption", higher={"run / bare": ratio}, figures={"run, captions/s": statistics.median(rates)})
    return ratio >= TARGET


if __name__ == "__main__":
    sys.exit(0 if main(Console(width=110), *map(int, sys.argv[1:])) else 1)
