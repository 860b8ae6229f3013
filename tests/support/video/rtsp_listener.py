"""A listener that asks for a password as a camera does, and cameras written past the commands."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator

from nats.aio.client import Client

from shared.contract import names

LOGIN = "operator:S3cretPass"
BASIC = base64.b64encode(LOGIN.encode()).decode()
ASKS = 'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="cameras"'


class Listener:
    """What takes RTSP connections and keeps every request. address: `127.0.0.1:port`.

    It asks for a password; a client that brings one gets `then`.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.heard: list[str] = []
        self.first, self.then = ASKS, "RTSP/1.0 404 Not Found"

    @property
    def saw_password(self) -> bool:
        """Whether a client has sent a password, in any form."""
        return any("authorization" in request.lower() or "S3cretPass" in request for request in self.heard)

    def answer(self, request: str) -> str:
        self.heard.append(request)
        number = next(line for line in request.splitlines() if line.lower().startswith("cseq"))
        return f"{self.then if 'Authorization: ' in request else self.first}\r\n{number}\r\n\r\n"


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, StopIteration):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
                writer.write(listener.answer(request).encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    listener = Listener(server.sockets[0].getsockname()[1])
    try:
        yield listener
    finally:
        # Since Python 3.12 a wait for its end would last as long as ingest stays connected.
        server.close()


async def forge(admin: Client, **entry: object) -> None:
    """Write the entry of `lobby` past the commands, as a writer of that bucket can, and touch no credentials."""
    bucket = await admin.jetstream().key_value(names.CAMERAS)
    await bucket.put("lobby", json.dumps(entry).encode())
