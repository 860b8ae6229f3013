"""The sequence of measurements: footage, a model, its stages, its replica, the numbers; and the output files.

Each measurement on the GPU runs in its own process, one after the other, so that each has all of its memory.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import multiprocessing
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from bench import record
from bench.gpu import backlog, machine, overlay, plan, stages
from bench.gpu.machine import Machine
from bench.gpu.report import Report, Served, Weights
from bench.gpu.stages import Decoding, Model
from services.cv.service import SCORE_FLOOR
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.ingest.cutting.piece import Piece
from shared.contract.topology import TopologySettings
from tidegate.demo import full_hd
from tidegate.models import capacity

# The base overlay's architecture, used without weights.
UNTRAINED = "rtdetr_v2_r50vd-untrained"
# On a CPU large batches take minutes and gain nothing.
CPU_BATCHES = (1, 4, 8)
# Overlays by a word in the GPU's name.
OVERLAYS = {"h100": "H100", "l40s": "L40S", "rtx-pro-4500": "RTX PRO 4500", "rtx-pro-6000": "RTX PRO 6000"}

T = TypeVar("T")
Say = Callable[[str], None]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a measurement.

    seconds: of each replica's run; each stage has a tenth. latency_s: target from a segment's arrival to its event.
    cold_start_s: of a pod. replicas: maximum. overlay: to build on; by the GPU's name if empty. cv_model: with its
    weights; untrained if empty. batches: sizes to try. others: further detectors to measure.
    """

    device: Annotated[str, Meta(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cuda"
    out: str = "dist/gpu"
    seconds: Annotated[float, Meta(gt=0)] = 20.0
    latency_s: Annotated[float, Meta(gt=0)] = 2.0
    cold_start_s: Annotated[float, Meta(ge=0)] = 60.0
    replicas: Annotated[int, Meta(ge=1)] = 8
    overlay: str = ""
    cv_model: str = ""
    embed_model: str = "ViT-B-32"
    embed_pretrained: str = "random"
    batches: tuple[int, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def stage_s(self) -> float:
        return self.seconds / 10

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.batches or (CPU_BATCHES if self.device == "cpu" else stages.BATCHES)


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """Return the function's result from its own process, whose exit frees the GPU's memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(request: Request, tests: str | None, say: Say) -> Report:
    """Run all measurements. Raises ModelError for a model that can't be loaded, TidegateError if a service fails."""
    say("segments of 1080p25")
    pieces = full_hd.segments()
    here = alone(machine.describe, request.device)
    with tempfile.TemporaryDirectory() as folder:
        spec = request.cv_model
        if not spec:
            say("an untrained detector")
            spec = alone(_untrained, Path(folder) / UNTRAINED, pieces)
        services = [_cv(request, here, spec, pieces, say), _embed(request, here, pieces, say)]
    say("decoding by the GPU")
    counts = capacity.thread_counts(min(here.host.cores, 8))
    return Report(
        time=dt.datetime.now(dt.UTC).replace(microsecond=0),
        commit=record.commit(),
        machine=here,
        segment_s=_seconds(pieces),
        megabits_s=sum(len(p.payload) for p in pieces) * 8e-6 / sum(p.segment.duration for p in pieces),
        tests=tests,
        nvdec=alone(partial(stages.hardware, fps=5), pieces, request.stage_s, counts, request.device),
        services=services,
    )


def _untrained(folder: Path, pieces: Sequence[Piece]) -> str:
    from bench.gpu import untrained

    side = (untrained.SIDE, untrained.SIDE)
    images = stages.pictures(pieces[::2], side, fps=1)
    return untrained.rt_detr(folder, images, objects=full_hd.OBJECTS, floor=SCORE_FLOOR)


def _cv(request: Request, here: Machine, spec: str, pieces: Sequence[Piece], say: Say) -> Served:
    say(f"cv: {spec}")
    models = [
        alone(stages.detector, name, pieces, request.device, request.sizes, request.stage_s)
        for name in (spec, *request.others)
    ]
    threads = capacity.thread_counts(here.host.cores)
    fps = CvSettings().cv_fps
    decoding = alone(_decoding, pieces, request.stage_s, threads, models[0].side, fps)
    images = fps * _seconds(pieces)

    def environment(batch: int, threads: int) -> dict[str, str]:
        return {
            "CV_MODEL": spec,
            "CV_DEVICE": request.device,
            "CV_BATCH_SIZE": str(batch),
            "CV_THREADS": str(threads),
            "CV_FPS": f"{fps:g}",
            # The video repeats, and each of its segments must be analysed.
            "CV_STATIC_SCENE_REFRESH_S": "0",
        }

    def hold(batch: int, threads: int) -> int:
        return CvSettings(cv_batch_size=batch, cv_threads=threads).worker().hold

    weights: Weights = "untrained" if spec.endswith("@random") else "trained" if request.cv_model else "fitted"
    return _served(request, here, "cv", weights, models, decoding, images, pieces, environment, hold, say)


def _embed(request: Request, here: Machine, pieces: Sequence[Piece], say: Say) -> Served:
    spec, pretrained = request.embed_model, request.embed_pretrained
    say(f"embed: {spec}, {pretrained}")
    model = alone(stages.embedder, spec, pretrained, pieces, request.device, request.sizes, request.stage_s)
    threads = capacity.thread_counts(here.host.cores)
    decoding = alone(_decoding, pieces, request.stage_s, threads, model.side, None)

    def environment(batch: int, threads: int) -> dict[str, str]:
        return {
            "EMBED_MODEL": spec,
            "EMBED_PRETRAINED": pretrained,
            "EMBED_DEVICE": request.device,
            "EMBED_BATCH_SIZE": str(batch),
            "EMBED_THREADS": str(threads),
            "EMBED_STATIC_SCENE_REFRESH_S": "0",
        }

    def hold(batch: int, threads: int) -> int:
        return EmbedSettings(embed_batch_size=batch, embed_threads=threads).worker().hold

    weights: Weights = "untrained" if pretrained == "random" else "trained"
    return _served(request, here, "embed", weights, [model], decoding, 1.0, pieces, environment, hold, say)


def _decoding(
    pieces: Sequence[Piece], seconds: float, threads: Sequence[int], side: tuple[int, int] | None, fps: float | None
) -> list[Decoding]:
    """Measure decoding like the service: `fps` frames a second, or only the keyframe."""
    wanted: dict[str, Any] = {"at": [0.0]} if fps is None else {"fps": fps}
    return stages.decoding(pieces, seconds, threads, size=side, **wanted)


def _served(
    request: Request,
    here: Machine,
    name: str,
    weights: Weights,
    models: list[Model],
    decoding: list[Decoding],
    images: float,
    pieces: Sequence[Piece],
    environment: Callable[[int, int], dict[str, str]],
    hold: Callable[[int, int], int],
    say: Say,
) -> Served:
    """Choose settings by the stages, run a replica with them, and derive the numbers. images: per segment."""
    batches = {b.size: b for b in models[0].batches}
    rates = {row.threads: row.segments_s for row in decoding}
    wanted = max(b.images_s for b in batches.values()) / images
    threads = capacity.choose_threads(rates, wanted)
    slowest = min(wanted, rates[threads])
    batch = capacity.choose_batch(
        {size: b.images_s for size, b in batches.items()},
        lambda size: capacity.in_time(hold(size, threads), slowest, request.latency_s),
    )
    in_flight = hold(batch, threads)
    say(f"{name}: a replica with a backlog, batch {batch}, {threads} decoding threads")
    settings = environment(batch, threads)
    run = asyncio.run(
        backlog.measure(name, settings, pieces, seconds=request.seconds, hold=in_flight, device=request.device)
    )
    copy_s = batches[batch].copy_s
    return Served(
        name=name,
        weights=weights,
        decoding=decoding,
        models=models,
        run=run,
        bound=plan.bound(
            busy=run.busy,
            cores=run.cores,
            of_cores=here.host.cores,
            utilisation=run.load.utilisation,
            copy_share=None if copy_s is None else copy_s * batches[batch].images_s / batch,
            decoding_s=rates[threads],
            segments_s=run.segments_s,
        ),
        cameras=capacity.cameras(run.segments_s, _seconds(pieces)),
        cameras_planned=capacity.cameras(run.segments_s, _seconds(pieces), capacity.LOAD),
        numbers=plan.numbers(
            name,
            rate=run.segments_s,
            cores=run.cores,
            batch=batch,
            threads=threads,
            hold=in_flight,
            latency_s=request.latency_s,
            cold_start_s=request.cold_start_s,
            replicas=request.replicas,
        ),
    )


def _seconds(pieces: Sequence[Piece]) -> float:
    """Return the mean seconds of video in a segment."""
    return round(sum(p.segment.duration for p in pieces) / len(pieces), 3)


def write(report: Report, request: Request) -> list[Path]:
    """Write report.json and a component for each form of scaling. Return their paths."""
    numbers = [served.numbers for served in report.services]
    base = request.overlay or overlay_of(report.machine.label) or "<your GPU>"
    out = Path(request.out)
    texts = {
        out / "report.json": msgspec.json.format(msgspec.json.encode(report)).decode() + "\n",
        **{
            out / folder / "kustomization.yaml": overlay.component(
                numbers,
                demand=bool(folder),
                about=report.about,
                overlay=base,
                default_ack_pending=TopologySettings().max_ack_pending,
            )
            for folder in ("", "demand")
        },
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)


def overlay_of(gpu: str) -> str | None:
    """Return the shipped overlay for a GPU of that name, as NVIDIA writes it; None if there is none."""
    words = re.sub(r"[^a-z0-9]+", " ", gpu.lower())
    return next((name for name, word in OVERLAYS.items() if word.lower() in words), None)
