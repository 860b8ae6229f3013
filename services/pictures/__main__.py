"""`python -m services.pictures`: settings, connect, store pictures until SIGTERM."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

from services.pictures.keeper import Keeper
from services.pictures.settings import PicturesSettings
from shared.bus.client import Connection
from shared.runtime.telemetry import Health
from shared.service import process

with process.needing("pictures"):
    # Its decoding process imports it. Here it would only take memory.
    if find_spec("numpy") is None:
        raise ModuleNotFoundError(name="numpy")


async def run(settings: PicturesSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises TidegateError."""
    await Keeper(client, settings, health).run(stop)


if __name__ == "__main__":
    process.main("pictures", process.settings("pictures", PicturesSettings), run)
