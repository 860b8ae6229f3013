"""The cost of the bus: one cv worker over a filled stream, next to the same decoding and inference without NATS.

Both sides decode in one thread while the detector computes in another, in batches of the same size. They alternate,
and the medians are compared. A detector on the CPU shares the cores with decoding, the loop and nats-server: on two
cores the ratio has the price of their computing, too. One on a device that needs no core has that of waiting alone.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from bench import exported, record, world
from services.cv.app import attach
from services.cv.detectors import Detection, Detector, load
from services.cv.models import Models
from services.cv.service import SCORE_FLOOR, CvService
from services.cv.settings import CvSettings
from services.ingest.cutting.piece import Piece
from shared import bus
from shared.contract import names
from shared.runtime.telemetry import Health
from shared.video.decode import Image, decode
from shared.worker import Worker
from tidegate.local.server import NatsServer

ROUNDS = 5
# By detector, the embedded one, an exported file, a device: the target, and segments for some seven seconds of work.
TARGETS = {"": 0.95, ", own file": 0.97, ", a device of its own": 0.97}
SEGMENTS = {"": 60, ", own file": 120, ", a device of its own": 240}


class Apart:
    """A detector whose device takes 5 ms an image, and no core."""

    name = "apart"
    labels = ("person",)
    size = within = (300, 300)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        time.sleep(0.005 * len(images))
        return [[] for _ in images]


def without_bus(pieces: list[Piece], detector: Detector, settings: CvSettings) -> float:
    """Return segments/s with decoding ahead in a thread, and inference here."""

    def pictures(piece: Piece) -> list:  # type: ignore[type-arg]
        return [
            p.pixels
            for p in decode(piece.payload, fps=settings.cv_fps, size=detector.size, within=detector.within).pictures
        ]

    started = time.perf_counter()
    with ThreadPoolExecutor(1) as ahead:
        coming = [ahead.submit(pictures, p) for p in pieces[:3]]
        batch = []
        for n in range(len(pieces)):
            batch += coming[n].result()
            if n + 3 < len(pieces):
                coming.append(ahead.submit(pictures, pieces[n + 3]))
            while len(batch) >= settings.cv_batch_size:
                detector.detect(batch[: settings.cv_batch_size])
                batch = batch[settings.cv_batch_size :]
        if batch:
            detector.detect(batch)
    return len(pieces) / (time.perf_counter() - started)


async def with_bus(
    pieces: list[Piece], detector: Detector, settings: CvSettings, server: NatsServer, admin: Client, epoch: str
) -> float:
    """Return segments/s of a worker, from its first pull to its last acknowledgement."""
    js = admin.jetstream()
    await world.fill(js, pieces, epoch)
    client = await bus.connect(server.settings("cv"), "cv")
    service = attach(CvService(client, Models(detector), settings), client, settings)
    consumers = [(names.MEDIA, "cv")]
    worker = Worker(client, service, settings.worker(), Health(), consumers=consumers, extensions=service.extensions)
    seconds = await world.seconds_at_work(worker.run, js, names.MEDIA, "cv")
    await client.close()
    return len(pieces) / seconds


async def main(out: Console) -> bool:
    # The video repeats, and each of its segments must be analysed.
    settings = CvSettings(cv_static_scene_refresh_s=0)
    footage = world.pieces()
    detectors: dict[str, Detector]
    table = Table("one cv worker", "decode and infer in one process, segments/s", "over JetStream", "ratio", "target")
    ratios, speeds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        detectors = {
            "": _loaded(settings.cv_model, settings),
            ", own file": _loaded(exported.write(Path(folder)), settings),
            ", a device of its own": Apart(),
        }
    async with world.serving() as (server, admin, _):
        for what, detector in detectors.items():
            pieces = list(islice(cycle(footage), SEGMENTS[what]))
            a, b = await _compare(pieces, detector, settings, server, admin)
            ratios[f"worker / bare{what}"], speeds[f"worker, segments/s{what}"] = b / a, b
            table.add_row(detector.name, f"{a:.2f}", f"{b:.2f}", f"{b / a:.3f}", f">= {TARGETS[what]}")
        start_s = await _seconds_to_first_event(server, admin, footage[0])
    out.print(f"seven seconds a turn, {ROUNDS} turns each, CV_FPS={settings.cv_fps:g}, 1 inference thread")
    out.print(table)
    out.print(f"a worker's start to its first event: {start_s:.2f} s")
    record.write("bus", higher=ratios, figures={**speeds, "start to first event, s": start_s})
    return all(ratios[f"worker / bare{what}"] >= target for what, target in TARGETS.items())


def _loaded(model: str, settings: CvSettings) -> Detector:
    return load(
        model,
        device="cpu",
        threads=settings.cv_infer_threads,
        min_score=SCORE_FLOOR,
        batch_size=settings.cv_batch_size,
    )


async def _compare(
    pieces: list[Piece], detector: Detector, settings: CvSettings, server: NatsServer, admin: Client
) -> tuple[float, float]:
    """Return segments/s without and with the bus."""
    without_bus(pieces[:5], detector, settings)
    bare, over_bus = [], []
    for turn in range(ROUNDS):
        bare.append(without_bus(pieces, detector, settings))
        over_bus.append(await with_bus(pieces, detector, settings, server, admin, f"{detector.name}{turn}"))
    return statistics.median(bare), statistics.median(over_bus)


async def _seconds_to_first_event(server: NatsServer, admin: Client, piece: Piece) -> float:
    """Return the seconds from exec of `python -m services.cv` to its first stored event, with one segment waiting."""
    js = admin.jetstream()
    before = (await js.stream_info(names.EVENTS)).state.last_seq
    await world.publish(js, piece, epoch="start", n=0)
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "services.cv"], env=server.environment("cv"), stderr=subprocess.DEVNULL
    ) as process:
        while (await js.stream_info(names.EVENTS)).state.last_seq == before:
            await asyncio.sleep(0.01)
        spent = time.perf_counter() - started
        process.terminate()
    return spent


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(Console(width=110))) else 1)
