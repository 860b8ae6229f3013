"""The order of things: footage, a model, its stages, its replica, the numbers; and the files that are left.

What uses the GPU runs in processes of its own, one after the other, so that each has all of it and leaves nothing.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import multiprocessing
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from bench import record
from bench.gpu import backlog, footage, machine, overlay, plan, stages
from bench.gpu.machine import Machine
from bench.gpu.report import Report, Served, Weights
from bench.gpu.stages import Decoding, Model
from services.cv.service import SCORE_FLOOR
from services.cv.settings import CvSettings
from services.embed.settings import EmbedSettings
from services.ingest.segmenter import Piece
from shared.contract.topology import TopologySettings

# The architecture that the base names, where no weights are given.
UNTRAINED = "rtdetr_v2_r50vd-untrained"
# On a CPU large batches take minutes and gain nothing.
CPU_BATCHES = (1, 4, 8)
# Overlays by a word in the GPU's name.
OVERLAYS = {"h100": "H100", "l40s": "L40S", "rtx-pro-4500": "RTX PRO 4500", "rtx-pro-6000": "RTX PRO 6000"}

T = TypeVar("T")
Say = Callable[[str], None]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """seconds: of each replica's run; each stage has a tenth. latency_s: from a segment's arrival to its event.
    cold_start_s: of a pod. replicas: at most. overlay: to build on; by the GPU's name where empty. cv_model: with its
    weights; untrained ones where empty. batches: sizes to try. others: detectors to measure besides.
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


def alone(function: Callable[..., T], *given: Any) -> T:
    """What it gives, in a process of its own that ends with it: the GPU's memory is free again."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def measure(asked: Asked, tests: str | None, say: Say) -> Report:
    """Raises ModelError for what can't be loaded, and TidegateError where a service fails."""
    say("segments of 1080p25")
    pieces = footage.segments()
    here = alone(machine.look, asked.device)
    with tempfile.TemporaryDirectory() as folder:
        spec = asked.cv_model
        if not spec:
            say("an untrained detector")
            spec = alone(_untrained, Path(folder) / UNTRAINED, pieces)
        services = [_cv(asked, here, spec, pieces, say), _embed(asked, here, pieces, say)]
    say("decoding by the GPU")
    counts = stages.thread_counts(min(here.host.cores, 8))
    return Report(
        time=dt.datetime.now(dt.UTC).replace(microsecond=0),
        commit=record.commit(),
        machine=here,
        segment_s=_seconds(pieces),
        megabits_s=sum(len(p.payload) for p in pieces) * 8e-6 / sum(p.segment.duration for p in pieces),
        tests=tests,
        nvdec=alone(stages.hardware, pieces, asked.stage_s, counts, asked.device),
        services=services,
    )


def _untrained(folder: Path, pieces: Sequence[Piece]) -> str:
    from bench.gpu import untrained

    side = (untrained.SIDE, untrained.SIDE)
    images = stages.pictures(pieces[::2], side, fps=1)
    return untrained.rt_detr(folder, images, objects=footage.OBJECTS, floor=SCORE_FLOOR)


def _cv(asked: Asked, here: Machine, spec: str, pieces: Sequence[Piece], say: Say) -> Served:
    say(f"cv: {spec}")
    models = [
        alone(stages.detector, name, pieces, asked.device, asked.sizes, asked.stage_s) for name in (spec, *asked.others)
    ]
    threads = stages.thread_counts(here.host.cores)
    fps = CvSettings().cv_fps
    decoding = alone(_decoding, pieces, asked.stage_s, threads, models[0].side, fps)
    images = fps * _seconds(pieces)

    def environment(batch: int, threads: int) -> dict[str, str]:
        return {
            "CV_MODEL": spec,
            "CV_DEVICE": asked.device,
            "CV_BATCH_SIZE": str(batch),
            "CV_THREADS": str(threads),
            "CV_FPS": f"{fps:g}",
            # The same video comes again and again, and each of its segments is to be looked at.
            "CV_STATIC_SCENE_REFRESH_S": "0",
        }

    def hold(batch: int, threads: int) -> int:
        return CvSettings(cv_batch_size=batch, cv_threads=threads).worker().hold

    weights: Weights = "untrained" if spec.endswith("@random") else "trained" if asked.cv_model else "fitted"
    return _served(asked, here, "cv", weights, models, decoding, images, pieces, environment, hold, say)


def _embed(asked: Asked, here: Machine, pieces: Sequence[Piece], say: Say) -> Served:
    spec, pretrained = asked.embed_model, asked.embed_pretrained
    say(f"embed: {spec}, {pretrained}")
    model = alone(stages.embedder, spec, pretrained, pieces, asked.device, asked.sizes, asked.stage_s)
    threads = stages.thread_counts(here.host.cores)
    decoding = alone(_decoding, pieces, asked.stage_s, threads, model.side, None)

    def environment(batch: int, threads: int) -> dict[str, str]:
        return {
            "EMBED_MODEL": spec,
            "EMBED_PRETRAINED": pretrained,
            "EMBED_DEVICE": asked.device,
            "EMBED_BATCH_SIZE": str(batch),
            "EMBED_THREADS": str(threads),
        }

    def hold(batch: int, threads: int) -> int:
        return EmbedSettings(embed_batch_size=batch, embed_threads=threads).worker().hold

    weights: Weights = "untrained" if pretrained == "random" else "trained"
    return _served(asked, here, "embed", weights, [model], decoding, 1.0, pieces, environment, hold, say)


def _decoding(
    pieces: Sequence[Piece], seconds: float, threads: Sequence[int], side: tuple[int, int] | None, fps: float | None
) -> list[Decoding]:
    """As the service does: so many frames a second, or the keyframe alone."""
    wanted: dict[str, Any] = {"at": [0.0]} if fps is None else {"fps": fps}
    return stages.decoding(pieces, seconds, threads, size=side, **wanted)


def _served(
    asked: Asked,
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
    """Settings by the stages, a replica with these, and what follows. images: a segment."""
    batches = {b.size: b for b in models[0].batches}
    rates = {row.threads: row.segments_s for row in decoding}
    wanted = max(b.images_s for b in batches.values()) / images
    threads = plan.choose_threads(rates, wanted)
    slowest = min(wanted, rates[threads])
    batch = plan.choose_batch(
        {size: b.images_s for size, b in batches.items()},
        lambda size: plan.in_time(hold(size, threads), slowest, asked.latency_s),
    )
    held = hold(batch, threads)
    say(f"{name}: a replica with a backlog, batch {batch}, {threads} decoding threads")
    given = environment(batch, threads)
    run = asyncio.run(backlog.measure(name, given, pieces, seconds=asked.seconds, hold=held, device=asked.device))
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
        cameras=plan.cameras(run.segments_s, _seconds(pieces)),
        cameras_planned=plan.cameras(run.segments_s, _seconds(pieces), plan.LOAD),
        numbers=plan.numbers(
            name,
            rate=run.segments_s,
            cores=run.cores,
            batch=batch,
            threads=threads,
            hold=held,
            latency_s=asked.latency_s,
            cold_start_s=asked.cold_start_s,
            replicas=asked.replicas,
        ),
    )


def _seconds(pieces: Sequence[Piece]) -> float:
    """Of video, in a segment."""
    return round(sum(p.segment.duration for p in pieces) / len(pieces), 3)


def write(report: Report, asked: Asked) -> list[Path]:
    """report.json, and a component for each form of scaling."""
    numbers = [served.numbers for served in report.services]
    base = asked.overlay or overlay_of(report.machine.label) or "<your GPU>"
    out = Path(asked.out)
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
    """The shipped overlay for a GPU of that name, as NVIDIA writes it; None where there is none."""
    words = re.sub(r"[^a-z0-9]+", " ", gpu.lower())
    return next((name for name, word in OVERLAYS.items() if word.lower() in words), None)
