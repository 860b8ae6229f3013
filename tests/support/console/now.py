"""Statuses, incidents and a steady load, as the page Now shows them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import httpx
from nats.aio.client import Client

from shared import bus
from shared.contract import events
from shared.contract.events import CameraStatus, Incident
from tests.support.processes.echo_service import publish
from tests.support.waiting import patience_s
from tests.support.worlds.webhook_world import incident

Answer = dict[str, Any]


async def say(admin: Client, event: CameraStatus | Incident, id: str) -> None:
    headers = events.headers(event, id=id, source="/tidegate/test")
    await bus.publish(admin, admin.jetstream(), events.subject(event), events.encode(event), headers)


def status(camera: str, state: str) -> CameraStatus:
    time = dt.datetime.now(dt.UTC)
    return CameraStatus(camera=camera, time=time, state=state, reason="no route", url="rtsp://x/", ingest="i")  # type: ignore[arg-type]


def begun(camera: str, n: int) -> Incident:
    return incident(Incident, n, camera)


async def _send_for_ever(admin: Client) -> None:
    n = 0
    while True:
        await publish(admin, [f"s{n}"], first=n)
        n += 1
        await asyncio.sleep(0.1)


async def poll_until(client: httpx.AsyncClient, path: str, right: Callable[[Answer], object]) -> Answer:
    """The first answer for which the condition holds. Raises TimeoutError."""
    found: Answer = {}
    try:
        async with asyncio.timeout(patience_s()):
            while True:
                answer = await client.get(path)
                assert answer.status_code == 200, answer.text
                found = answer.json()
                if right(found):
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(str(found)[:3000]) from None


def of(now: Answer, service: str) -> Answer:
    return next((s for s in now["services"] if s["name"] == service), {})
