"""A worker in this process, until it is drained: cv, with its few rights and a detector that finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from nats.aio.client import Client

from services.cv.app import attach
from services.cv.detectors import Detection, Detector
from services.cv.models import Models
from services.cv.service import CvService
from services.cv.settings import CvSettings
from shared import bus
from shared.contract import names
from shared.contract.segment import Segment
from shared.runtime.telemetry import Health
from shared.video.decode import Image
from shared.worker import Worker
from tidegate.local.server import NatsServer


class Nothing:
    """A detector that finds nothing in any picture."""

    name = "nothing"
    labels = ("person",)
    size = (32, 32)
    within = None

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        return [[] for _ in images]


@contextlib.asynccontextmanager
async def until_drained(client: Client, worker: Worker[Any, Any]) -> AsyncIterator[asyncio.Event]:
    """Run `worker`, drain it at the end, and close its connection."""
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        try:
            await task
        finally:
            await client.close()


def segment_head(
    n: int,
    *,
    camera: str = "lobby",
    size: tuple[int, int] = (64, 64),
    frames: int = 5,
    key_seq: int | None = None,
) -> Segment:
    """A segment of a second that begins now, as ingest describes it."""
    return Segment(
        camera=camera,
        epoch="e1",
        n=n,
        start=dt.datetime.now(dt.UTC),
        duration=1.0,
        codec="h264",
        width=size[0],
        height=size[1],
        frames=frames,
        key_seq=key_seq,
    )


@contextlib.asynccontextmanager
async def detecting(
    server: NatsServer,
    service: type[CvService] = CvService,
    *,
    gigapixels: float = 10.0,
    detector: Detector | None = None,
    named: Mapping[str, Detector] | None = None,
    **settings_of: Any,
) -> AsyncIterator[CvService]:
    """It works until the end of the block. gigapixels: its budget. detector: by default one that finds nothing. named:
    of CV_MODELS. settings_of: cv's other settings.
    """
    settings = CvSettings(decode_max_gigapixels=gigapixels, **settings_of)
    client = await bus.connect(server.settings("cv"), "cv")
    cv = attach(service(client, Models(detector or Nothing(), named), settings), client, settings)
    consumers, backfill = [(names.MEDIA, "cv")], names.backfilling("cv")
    worker = Worker(
        client, cv, settings.worker(), Health(), consumers=consumers, backfill=backfill, extensions=cv.extensions
    )
    async with until_drained(client, worker):
        yield cv
