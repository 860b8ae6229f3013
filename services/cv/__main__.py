"""`python -m services.cv`: settings, connect, load the model, run the loop until SIGTERM."""

from __future__ import annotations

import asyncio
from functools import partial

from nats.aio.client import Client

from shared.contract import names
from shared.runtime.telemetry import Health
from shared.service import loading, process
from shared.worker import Worker

with process.needing("cv"):
    from services.cv.app import attach
    from services.cv.detectors import Detector, load, missing
    from services.cv.service import SCORE_FLOOR, CvService
    from services.cv.settings import CvSettings


async def run(settings: CvSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    detector = await loading.load(
        client,
        "cv",
        settings.replica,
        health,
        partial(_detector, settings),
        stop,
        missing=partial(missing, settings.cv_model),
    )
    if detector is None:
        return
    service = attach(CvService(client, detector, settings), client, settings)
    consumers, backfill = [(names.MEDIA, "cv")], names.backfilling("cv")
    worker = Worker(
        client,
        service,
        settings.worker(),
        health,
        consumers=consumers,
        backfill=backfill,
        reanalysis=service,
        extensions=service.extensions,
    )
    await worker.run(stop)


def _detector(settings: CvSettings) -> Detector:
    # Before the model: see `accelerator.device_of`.
    settings.decoding_device()
    return load(
        settings.cv_model,
        device=settings.cv_device,
        threads=settings.cv_infer_threads,
        min_score=min(settings.cv_min_score, SCORE_FLOOR),
        batch_size=settings.cv_batch_size,
        format=settings.cv_model_format,
        runtime=settings.cv_runtime,
        precision=settings.cv_precision,
    )


if __name__ == "__main__":
    settings = process.settings("cv", CvSettings)
    process.main("cv", settings, run, per_gpu=settings.num_gpus)
