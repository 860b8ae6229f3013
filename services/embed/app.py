"""The worker, with the input that EMBED_CROPS chooses: segments, or the frames that cv analysed, with their objects."""

from __future__ import annotations

from nats.aio.client import Client

from services.embed.detected import Detected
from services.embed.models import Embedder
from services.embed.segments import Segments
from services.embed.service import EmbedService
from services.embed.settings import EmbedSettings
from services.embed.static_scene import StaticScenes
from services.embed.views import Views
from shared.contract import names
from shared.models.vectors import Vectors
from shared.runtime.telemetry import Health
from shared.worker import Worker


def build(client: Client, embedder: Embedder, settings: EmbedSettings, health: Health) -> Worker[Views, Vectors]:
    """Return the worker, ready to run."""
    crops = settings.embed_crops == "detections"
    source = (Detected if crops else Segments)(client.jetstream(), embedder.size, settings)
    service = EmbedService(source, embedder, batch_size=settings.embed_batch_size)
    extensions = []
    if settings.embed_static_scene_refresh_s:
        service.skip = scenes = StaticScenes(client.jetstream(), service.model, settings)
        extensions.append(scenes)
    consumers, backfill = [(names.EVENTS if crops else names.MEDIA, "embed")], names.backfilling("embed")
    return Worker(
        client, service, settings.worker(), health, consumers=consumers, backfill=backfill, extensions=extensions
    )
