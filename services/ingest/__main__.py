"""`python -m services.ingest`: publish cameras' video to JetStream, compressed as it came."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

from services.ingest import app
from services.ingest.camera import memory
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
    building = bus.answered(client, health, partial(app.build, settings, client, health))
    if ingest := await unless(stopped, building):
        await ingest.run(stopped)


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
