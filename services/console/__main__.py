"""`python -m services.console`: settings, connect, serve pages and API until SIGTERM."""

from __future__ import annotations

import asyncio

from shared.bus.client import Connection
from shared.runtime.telemetry import Health
from shared.service import process

with process.needing("console"):
    from services.console.server.process import serve
    from services.console.settings import ConsoleSettings


async def run(settings: ConsoleSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Run the console until `stop` is set. Raises TidegateError."""
    await serve(settings, client, health, stop)


if __name__ == "__main__":
    process.main("console", process.settings("console", ConsoleSettings), run)
