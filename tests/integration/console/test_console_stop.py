"""The stop of the console: it finishes started answers, and leaves nothing in the loop."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

from nats.aio.client import Client

from tests.support.console.people import console_on
from tests.support.waiting import patience_s
from tidegate.local.server import NatsServer

BODY = b'{"token": "guessed"}'


async def test_started_answers_are_finished(server: NatsServer, admin: Client) -> None:
    """After the stop signal it takes no new connection, and closes each existing one after its answer."""
    async with console_on(server, admin) as console:
        parts = urlsplit(console.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = ("POST /api/v1/session/link HTTP/1.1", "Host: x", f"Content-Length: {len(BODY)}", "Expect: 100-continue")
        writer.write("\r\n".join((*head, "", "")).encode())
        # The handler waits for the body.
        assert b"100" in await reader.readuntil(b"\r\n\r\n")
        console.stop.set()
        async with asyncio.timeout(patience_s()):
            while await _is_open(parts.hostname or "", parts.port or 0):
                await asyncio.sleep(0.01)
        assert not console.serving.done(), "it waits for the answer"
        writer.write(BODY)
        assert b"401" in await reader.readuntil(b"\r\n")
        writer.close()
        await console.serving


async def test_a_stopped_console_leaves_nothing_in_the_loop(server: NatsServer, admin: Client) -> None:
    """A poll of a closed descriptor would block polls of the next one with its number."""
    async with console_on(server, admin) as console:
        assert (await console.nobody().get("health")).status_code == 200
    loop = asyncio.get_running_loop()
    assert [fd for fd in range(4096) if not _is_there(fd) and loop.remove_reader(fd)] == []


async def _is_open(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _is_there(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
