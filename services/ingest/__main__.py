"""Publishes cameras' video to JetStream, compressed as it came.

Ingest reads RTSP cameras and files, cuts them into segments at keyframes, and publishes these on `media.<camera>`.
The bucket `cameras` lists the cameras, which may be added and removed while it runs. Several processes share the
cameras by leases.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from services.ingest.camera import memory
from services.ingest.service import Ingest, open_buckets
from services.ingest.settings import IngestSettings
from shared import bus
from shared.bus.client import Connection
from shared.runtime.errors import SettingError
from shared.runtime.tasks import unless
from shared.runtime.telemetry import Health
from shared.service import process


async def run(settings: IngestSettings, client: Connection, health: Health, stopped: asyncio.Event) -> None:
    """Ingest until `stopped`. Raises TidegateError."""
    _check(settings)
    opening = bus.answered(client, health, partial(open_buckets, client, settings.lease_s))
    if buckets := await unless(stopped, opening):
        await Ingest(settings, client, buckets, health).run(stopped)


def _check(settings: IngestSettings) -> None:
    try:
        ssl.create_default_context(cafile=settings.ingest_ca or None)
    except OSError as e:
        raise SettingError(
            f"INGEST_CA={settings.ingest_ca} can't be used ({e}): give a file of certificates in PEM format"
        ) from e


if __name__ == "__main__":
    memory.bound()
    process.main("ingest", process.settings("ingest", IngestSettings), run)
