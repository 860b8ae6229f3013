"""A real camera server: aio-rtsp-toolkit's serves a folder's MP4 files by RTP over TCP, without encoding them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from shared.runtime.ports import free_port
from tests.support.waiting import patience_s
from tidegate.chaos.network_proxy import NetworkProxy


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
        process.wait(patience_s())


@contextlib.asynccontextmanager
async def secured(url: str, certify: Callable[[ssl.SSLContext], None]) -> AsyncIterator[int]:
    """Port at which TLS ends before the camera server at `url`. certify: gives it its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certify(context)
    async with NetworkProxy(url, secured=context) as way:
        yield way.port
