"""A console next to a vlm front and a worker, over cameras with recent video."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from nats.aio.client import Client

from tests.support.console.people import Running, add_camera, console_on
from tests.support.servers.openai_server import OpenAiServer, text
from tests.support.worlds.jobs_world import film, fronting, worker
from tidegate.local.server import NatsServer

MAN = text('{"answer":"A man with a bag.","frames":[1]}')


@contextlib.asynccontextmanager
async def world(server: NatsServer, admin: Client) -> AsyncIterator[tuple[Running, OpenAiServer]]:
    """A console with a front and a worker; lobby, street and vault have video of the last seconds."""
    for camera in ("lobby", "street", "vault"):
        await add_camera(admin, camera)
        await film(admin, 3, camera=camera)
    async with (
        OpenAiServer(then=MAN) as openai,
        fronting(server),
        worker(server, openai.url),
        console_on(server, admin) as console,
    ):
        yield console, openai
