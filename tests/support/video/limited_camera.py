"""Cameras that play one stream at a time, or hang with one: proxies in front of a camera server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

BUSY = "RTSP/1.0 453 Not Enough Bandwidth\r\n{}\r\n\r\n"


@contextlib.asynccontextmanager
async def limited(camera: str, *, ends: bool) -> AsyncIterator[str]:
    """URL of the camera behind the limit. ends: it ends the first stream for the second, instead of refusing that."""
    behind = urlsplit(camera)
    playing: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(behind.hostname, behind.port)
        pump = asyncio.create_task(_pump(theirs, writer))
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                if request.startswith(b"SETUP") and playing - {writer}:
                    if not ends:
                        number = next(line for line in request.decode().splitlines() if line.lower().startswith("cseq"))
                        writer.write(BUSY.format(number).encode())
                        break
                    for other in playing - {writer}:
                        other.close()
                    playing.clear()
                if request.startswith(b"SETUP"):
                    playing.add(writer)
                ours.write(request.replace(b"127.0.0.1:%d" % port, b"127.0.0.1:%d" % (behind.port or 554)))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            playing.discard(writer)
            pump.cancel()
            for end in (ours, writer):
                end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"rtsp://127.0.0.1:{port}"
    finally:
        server.close()


@contextlib.asynccontextmanager
async def hanging(camera: str, path: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """URL of the camera, and an event from which on it answers no request for `path`. Present connections go on."""
    behind, hang = urlsplit(camera), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(behind.hostname, behind.port)
        pump = asyncio.create_task(_pump(theirs, writer))
        was_before = not hang.is_set()
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                if was_before or path.encode() not in request.partition(b"\r\n")[0]:
                    ours.write(request.replace(b"127.0.0.1:%d" % port, b"127.0.0.1:%d" % (behind.port or 554)))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            pump.cancel()
            for end in (ours, writer):
                end.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"rtsp://127.0.0.1:{port}", hang
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
