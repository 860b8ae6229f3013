"""A real camera server: aio-rtsp-toolkit's serves a folder's MP4 files by RTP over TCP, without encoding them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.waiting import PATIENCE_S
from tidegate.local.server import free_port


@contextlib.contextmanager
def serving(folder: Path, log: Path) -> Iterator[str]:
    """URL of the files in `folder`. One more part, `?play_count=0`, plays a file without an end."""
    port = free_port(0)
    program = str(Path(sys.executable).parent / "rtsp-server")
    command = [program, "-d", str(folder), "-H", "127.0.0.1", "-p", str(port), "-cp", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        while True:
            assert process.poll() is None, log.read_text(errors="replace")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"rtsp://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextlib.asynccontextmanager
async def secured(url: str, certify: Callable[[ssl.SSLContext], None]) -> AsyncIterator[int]:
    """Port at which TLS ends before the camera server at `url`. certify: gives it its certificate."""
    camera = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certify(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(camera.hostname, camera.port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        # Since Python 3.12 a wait for its end would last as long as ingest stays connected.
        server.close()
