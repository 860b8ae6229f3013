"""The service cv in this process, with its few rights and a detector that finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from services.cv.detectors import Detection
from services.cv.service import CvService
from services.cv.settings import CvSettings
from shared import bus
from shared.contract import names
from shared.runtime.telemetry import Health
from shared.video.decode import Image
from shared.worker import Worker
from tidegate.local.server import NatsServer


class Nothing:
    """A detector that finds nothing in any picture."""

    name = "nothing"
    labels = ("person",)
    size = (32, 32)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [[] for _ in images]


@contextlib.asynccontextmanager
async def detecting(
    server: NatsServer, service: type[CvService] = CvService, *, gigapixels: float = 10.0
) -> AsyncIterator[CvService]:
    """It works until the end of the block. gigapixels: its budget."""
    settings = CvSettings(decode_max_gigapixels=gigapixels)
    client = await bus.connect(server.settings("cv"), "cv")
    cv = service(client.jetstream(), Nothing(), settings)
    worker = Worker(client, cv, settings.worker(), Health(), consumers=[(names.MEDIA, "cv")])
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield cv
    finally:
        stop.set()
        try:
            await task
        finally:
            await client.close()
