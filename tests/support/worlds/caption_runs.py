"""Runs that caption recordings, and the page of a model that they ask."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from tests.support.processes.command_line import COMMAND
from tests.support.servers.openai_server import OpenAiServer
from tests.support.servers.openai_server import respond as stream
from tests.support.waiting import patience_s, until
from tests.support.worlds.archive_world import command, table

EVERY_S = 5
# Delays a run to some seconds.
SLOW_S = 0.3
SECOND = dt.timedelta(seconds=1)


class Model(OpenAiServer):
    """A model that replies with the number of pictures. requests: the question and the pictures of each."""

    def __init__(self) -> None:
        super().__init__(then=self._answer)
        self.requests: list[tuple[str, list[bytes]]] = []
        self.delay_s = 0.0
        self.words = ""

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        content = body["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        self.requests.append((content[-1]["text"], [b64decode(url.partition(",")[2]) for url in urls]))
        await asyncio.sleep(self.delay_s)
        return await stream(request, self.words or f"{len(urls)} pictures.")


class World:
    """A model, and commands that find it. output: where their results go."""

    def __init__(self, model: Model, store: Path, folder: Path) -> None:
        self.model, self.output = model, folder / "out"
        self.environment = {"TIDEGATE_DATA": str(folder / "data"), "VLM_URL": model.url}
        self._store = store

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NATS_", "CV_", "VLM_"))}
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment | self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *options: str, store: Path | None = None) -> list[str]:
        """A run of captions alone."""
        every = () if "--caption-every" in options else ("--caption-every", str(EVERY_S))
        where = ("--output", str(self.output))
        return command(store or self._store, *where, "--model", "none", "--caption", *every, *options)

    def resume(self) -> list[str]:
        return ["reanalyze", "--resume", str(self.output)]

    async def done(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """The output of a command."""
        process = self.begin(*arguments)
        out, err = await asyncio.to_thread(process.communicate, timeout=patience_s())
        assert process.returncode == code and "Traceback" not in err, err
        return out, err

    def captions(self) -> list[dict[str, Any]]:
        return table(self.output, "captions")


@pytest_asyncio.fixture
async def world(store: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with Model() as model:
        yield World(model, store, tmp_path)


async def until_captioned(world: World, process: subprocess.Popen[str], count: int) -> None:
    """Wait until the model has `count` requests, those of the measurement included."""
    await until(lambda: len(world.model.requests) >= count or process.poll() is not None)
    assert process.poll() is None, "it was to be killed, too"


def each_once(world: World) -> bool:
    found = world.captions()
    return len({row["id"] for row in found}) == len(found) > 70 and all(row["text"] for row in found)
