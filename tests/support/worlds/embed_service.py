"""The embedding worker: a model that is loaded once, its videos, its processes and its dead letters."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import os
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from PIL import Image as Pillow

import services.embed.__main__ as embed
from shared.client import dlq
from tests.support.waiting import patience_s
from tidegate.demo import footage
from tidegate.local.server import NatsServer

MODEL, DIMENSION = "efficientnet_lite3", 1280
START = dt.datetime(2026, 11, 24, 13, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def videos() -> list[Path]:
    return footage.embedded(footage.cache() / f"footage-{footage.VERSION}")


_load = cache(embed.load)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of one process share the model: no test changes it, and compiling it costs a second of CPU."""
    monkeypatch.setattr(embed, "load", _load)


async def letters(client: Client) -> list[dlq.DeadLetter]:
    return [x async for x in dlq.entries(client)]


def jpeg(pixels: Any) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "JPEG", quality=92)
    return out.getvalue()


@contextlib.asynccontextmanager
async def process(server: NatsServer, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.embed", env=os.environ | server.environment("embed") | env
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def answered(client: Client, subject: str, data: bytes) -> Msg:
    """The first answer, however long the process takes to come up."""
    async with asyncio.timeout(patience_s()):
        while True:
            with contextlib.suppress(Exception):
                return await client.request(subject, data, timeout=5)
            await asyncio.sleep(0.1)
