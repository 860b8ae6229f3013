"""The webhook service in a test: its requests, signatures, acknowledgements and dead letters."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from nats.aio.client import Client
from prometheus_client import REGISTRY

import services.webhook.__main__ as webhook
from services.webhook.settings import WebhookSettings
from shared.client import dlq
from shared.contract import names
from shared.runtime.telemetry import Health
from tests.support.processes.service import serving
from tests.support.waiting import patience_s
from tests.support.worlds.webhook_world import Posted, Receiver
from tidegate.local.server import NatsServer

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    endpoint = Receiver()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


def sending(server: NatsServer, url: str, **changes: Any) -> contextlib.AbstractAsyncContextManager[Health]:
    settings = WebhookSettings(webhook_url=url, **{"webhook_secret": SECRET} | changes)
    return serving(server, "webhook", webhook.run, settings)


async def all_answered(client: Client) -> None:
    """Wait until the consumer has processed the whole stream. Just after a publish it may lag behind."""
    js = client.jetstream()
    last = (await js.stream_info(names.EVENTS)).state.last_seq
    async with asyncio.timeout(patience_s()):
        while (await js.consumer_info(names.EVENTS, "webhook")).ack_floor.stream_seq < last:
            await asyncio.sleep(0.05)


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def is_signed(posted: Posted, key: bytes = KEY) -> bool:
    """Verify the signature as a receiver does, without any code of ours."""
    content = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(f"v1,{expected}", posted.headers["webhook-signature"])


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value("tidegate_webhook_requests_total", {"outcome": outcome}) or 0.0
