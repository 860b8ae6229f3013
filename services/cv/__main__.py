"""`python -m services.cv`: settings, connect, load the models, run the loop until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial

from nats.aio.client import Client

from shared.contract import names
from shared.runtime.errors import ModelError
from shared.runtime.telemetry import Health
from shared.service import loading, process
from shared.worker import Worker

with process.needing("cv"):
    from services.cv.app import attach
    from services.cv.detectors import Detector, load, missing
    from services.cv.models import Models
    from services.cv.service import SCORE_FLOOR, CvService
    from services.cv.settings import CvSettings


async def run(settings: CvSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    models = await loading.load(
        client,
        "cv",
        settings.replica,
        health,
        partial(_models, settings),
        stop,
        missing=partial(_missing, settings),
    )
    if models is None:
        return
    service = attach(CvService(client, models, settings), client, settings)
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


def _models(settings: CvSettings) -> Models:
    """Load all models, each of them once. Raises ModelError."""
    # Before the models: see `accelerator.device_of`.
    settings.decoding_device()
    default = _detector(settings, settings.cv_model, settings.cv_model_format)
    loaded = {settings.cv_model: default}
    for name, spec in settings.models().items():
        with _naming(name):
            loaded[spec] = loaded.get(spec) or _detector(settings, spec)
    return Models(default, {name: loaded[spec] for name, spec in settings.models().items()})


def _detector(settings: CvSettings, spec: str, format: str = "") -> Detector:
    return load(
        spec,
        device=settings.cv_device,
        threads=settings.cv_infer_threads,
        min_score=min(settings.cv_min_score, SCORE_FLOOR),
        batch_size=settings.cv_batch_size,
        format=format,
        runtime=settings.cv_runtime,
        precision=settings.cv_precision,
    )


def _missing(settings: CvSettings) -> str | None:
    """Return why the models can't be loaded yet, None if they can: a server may be away. Raises ModelError."""
    reason = missing(settings.cv_model)
    for name, spec in settings.models().items():
        with _naming(name):
            reason = reason or missing(spec)
    return reason


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the model in the block's ModelError."""
    try:
        yield
    except ModelError as e:
        raise ModelError(f"CV_MODELS: {name}: {e}") from e


if __name__ == "__main__":
    settings = process.settings("cv", CvSettings)
    process.main("cv", settings, run, per_gpu=settings.num_gpus)
