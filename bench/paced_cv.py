"""`services.cv` with a detector that takes at least PACE_S for a picture: it detects, then sleeps for the rest.

Two workers on two cores slow each other down, and other load slows both. A paced device stands for a device of the
replica's own, as in a cluster; the rest of the worker is unchanged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from nats.aio.client import Client

from services.cv.app import attach
from services.cv.detectors import Detection, Detector, Image, load
from services.cv.models import Models
from services.cv.service import SCORE_FLOOR, CvService
from services.cv.settings import CvSettings
from shared.contract import names
from shared.runtime.settings import from_environment
from shared.runtime.telemetry import Health
from shared.service import loading, process
from shared.worker import Worker


class PacedSettings(CvSettings, frozen=True, kw_only=True):
    # The video repeats, and each segment must cost the same.
    cv_static_scene_refresh_s: Annotated[float, Meta(ge=0, description="as CV_STATIC_SCENE_REFRESH_S")] = 0.0
    pace_s: Annotated[float, Meta(ge=0, description="least seconds for a picture")] = 0.15
    start_s: Annotated[float, Meta(ge=0, description="seconds that its start is stretched by")] = 0.0


class Paced:
    """A detector that takes at least `pace_s` for a picture."""

    def __init__(self, detector: Detector, pace_s: float) -> None:
        self.name, self.labels = detector.name, detector.labels
        self.size, self.within = detector.size, detector.within
        self._detector = detector
        self._pace_s = pace_s

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        deadline = time.monotonic() + self._pace_s * len(images)
        found = self._detector.detect(images)
        time.sleep(max(0.0, deadline - time.monotonic()))
        return found


async def run(settings: PacedSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    def loader() -> Detector:
        time.sleep(settings.start_s)
        detector = load(settings.cv_model, min_score=SCORE_FLOOR, batch_size=settings.cv_batch_size)
        return Paced(detector, settings.pace_s)

    detector = await loading.load(client, "cv", settings.replica, health, loader, stop)
    if detector is not None:
        service = attach(CvService(client, Models(detector), settings), client, settings)
        consumers, backfill = [(names.MEDIA, "cv")], names.backfilling("cv")
        worker = Worker(
            client,
            service,
            settings.worker(),
            health,
            consumers=consumers,
            backfill=backfill,
            extensions=service.extensions,
        )
        await worker.run(stop)


if __name__ == "__main__":
    process.main("cv", from_environment(PacedSettings, "bench.paced_cv", "cv at a steady pace."), run)
