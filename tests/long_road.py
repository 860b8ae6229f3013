"""A TCP proxy on loopback through which all that is sent takes its time, each way. It lowers no bandwidth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK = 1 << 20


@contextlib.asynccontextmanager
async def long_road(port: int, delay_s: float) -> AsyncIterator[int]:
    """The port of a way to `port` on which a byte takes `delay_s`, there and back again."""
    ways: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
        for way in (_carry(reader, back, delay_s), _carry(there, writer, delay_s)):
            task = asyncio.create_task(way)
            ways.add(task)
            task.add_done_callback(ways.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_CHUNK)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for way in list(ways):
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass on what is read, so much later. Nothing waits for what is before it."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while chunk := await reader.read(_CHUNK):
            under_way.put_nowait((clock() + delay_s, chunk))
        under_way.put_nowait((clock() + delay_s, b""))
        await delivering
    except OSError:
        pass
    finally:
        delivering.cancel()
        writer.close()
