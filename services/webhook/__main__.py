"""`python -m services.webhook`: settings, connect, post events until SIGTERM."""

from __future__ import annotations

import asyncio

from shared.bus.client import Connection
from shared.runtime.telemetry import Health
from shared.service import process

with process.needing("webhook"):
    from services.webhook.sender import Sender
    from services.webhook.settings import WebhookSettings


async def run(settings: WebhookSettings, client: Connection, health: Health, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises TidegateError."""
    await Sender(client, settings, health).run(stop)


if __name__ == "__main__":
    process.main("webhook", process.settings("webhook", WebhookSettings), run)
