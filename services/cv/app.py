"""The service with its optional part: unchanged segments of static scenes skip the detector."""

from __future__ import annotations

from nats.aio.client import Client

from services.cv.service import CvService
from services.cv.settings import CvSettings
from services.cv.static_scene.video import StaticScenes


def attach(service: CvService, client: Client, settings: CvSettings) -> CvService:
    """Attach what the settings turn on; return the service."""
    if settings.cv_static_scene_refresh_s:
        service.skip = StaticScenes(
            client,
            service.segments,
            model=service.model,
            watch_s=settings.cv_static_scene_refresh_s,
            check_s=settings.cv_static_scene_check_s,
        )
    return service
