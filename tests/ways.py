"""Ways to a server on loopback, by which tests have a network: one that can be cut, that is long, or that is slow.

async with Way(server.url) as way:
    client = await bus.connect(replace(settings, nats_url=way.url), "cv")
    way.cut()                                   # connections end, and none is taken until `mend`
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

_CHUNK = 1 << 20

# Passes on what is read until its end.
Carry = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


def slowly(bytes_s: int) -> Carry:
    """So many bytes a second at most."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(bytes_s // 8):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / bytes_s)
        writer.close()

    return carry


def late(delay_s: float) -> Carry:
    """Each byte so much later. Nothing waits for what is before it, and no bandwidth is lost."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    return carry


class Way:
    """See the module. to: URL of the server. there, back: how what is sent gets to it, and what it sends.

    secured: TLS ends here, and the server has none.
    """

    def __init__(
        self, to: str, *, there: Carry = at_once, back: Carry = at_once, secured: ssl.SSLContext | None = None
    ) -> None:
        self._to = urlsplit(to)
        self._there, self._back, self._ssl = there, back, secured
        self._is_cut = False
        self._carrying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Way:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK, ssl=self._ssl)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.url = f"{self._to.scheme}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        # Since Python 3.12 a wait for its end would last as long as a client stays connected.
        self._server.close()
        self.cut()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def cut(self) -> None:
        self._is_cut = True
        for task in self._carrying:
            task.cancel()

    def mend(self) -> None:
        self._is_cut = False

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            if self._is_cut:
                raise ConnectionAbortedError
            inner, outer = await asyncio.open_connection(self._to.hostname, self._to.port, limit=_CHUNK)
            ends.append(outer)
            await asyncio.gather(self._there(reader, outer), self._back(inner, writer))
        except (OSError, asyncio.CancelledError):
            for end in ends:
                end.transport.abort()
