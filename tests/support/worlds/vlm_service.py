"""Jobs for vlm, an endpoint, and the dead letters of both."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from nats.aio.client import Client

from shared.client import dlq
from shared.contract import names
from shared.contract.work import jobs
from tests.support.servers.openai_server import OpenAiServer
from tests.support.waiting import patience_s
from tests.support.worlds.jobs_world import waiting


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def until_requested(admin: Client) -> None:
    """Wait until a question waits for a worker."""
    async with asyncio.timeout(patience_s()):
        while not await waiting(admin, names.ASKS):
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAiServer]:
    async with OpenAiServer() as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[TestServer]:
    """Answer each request with it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def verify(n: int, seqs: list[int], **changes: Any) -> jobs.Verify:
    return jobs.Verify(camera="lobby", incident=f"i-{n}", prompt="A tram is there.", segments=seqs, **changes)
