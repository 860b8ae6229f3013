"""`python -m services.webhook`: settings, connect, post events until SIGTERM."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from services.webhook.endpoint import Endpoint
from services.webhook.sender import Sender
from services.webhook.settings import WebhookSettings
from shared.runtime.settings import from_environment
from shared.runtime.telemetry import Health
from shared.service import process


async def run(settings: WebhookSettings, client: Client, health: Health, stop: asyncio.Event) -> None:
    """Until `stop` is set. Raises TidegateError."""
    async with Endpoint(
        settings.url, credentials=settings.credentials, key=settings.key, timeout_s=settings.webhook_timeout_s
    ) as endpoint:
        await Sender(client, endpoint, settings, health).run(stop)


if __name__ == "__main__":
    settings = from_environment(WebhookSettings, "webhook", "Posts alerts to an HTTP endpoint, until SIGTERM.")
    process.main("webhook", settings, run)
