"""A network to a server on loopback: cut, silent, long, or slow.

Example:
    async with NetworkProxy(server.url) as proxy:
        client = await bus.connect(replace(settings, nats_url=proxy.url), "cv")
        proxy.cut()                                 # connections end, and none is accepted until `mend`
        proxy.stall()                               # nothing gets through, and nothing ends, until `mend`
        proxy.forget()                              # drop the servers' ends of all connections; clients get no notice
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

_CHUNK = 1 << 20
# At a variable rate: a chunk is forwarded at the rate at which it was read.
_LITTLE = 1 << 16


class Reader(Protocol):
    async def read(self, n: int) -> bytes: ...


# Forwards data until its end, or until an OSError.
Carry = Callable[[Reader, asyncio.StreamWriter], Awaitable[None]]


class Pace:
    """bytes_s: maximum bytes per second, in each direction of each connection; may change at any time."""

    def __init__(self, bytes_s: int | None = None) -> None:
        self.bytes_s = bytes_s

    async def carry(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(min(_LITTLE, self.bytes_s // 8) if self.bytes_s else _LITTLE):
            writer.write(data)
            await writer.drain()
            if self.bytes_s:
                await asyncio.sleep(len(data) / self.bytes_s)


immediately = Pace().carry


def slowly(bytes_s: int) -> Carry:
    """Forward at most this many bytes per second."""
    return Pace(bytes_s).carry


def late(delay_s: float) -> Carry:
    """Delay each byte by this much. No byte waits for others, and no bandwidth is lost."""

    async def carry(reader: Reader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                deliver_at, chunk = await queue.get()
                await asyncio.sleep(max(0.0, deliver_at - clock()))
                if not chunk:
                    break
                writer.write(chunk)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while chunk := await reader.read(_CHUNK):
                queue.put_nowait((clock() + delay_s, chunk))
            queue.put_nowait((clock() + delay_s, b""))
            await delivering
        finally:
            delivering.cancel()

    return carry


class NetworkProxy:
    """See the module. to: URL of the server. there, back: how data is forwarded to it, and from it.

    secured: TLS ends here, and the server has none. most: maximum concurrent connections; others end immediately.
    `taken` counts the connections.
    """

    def __init__(
        self,
        to: str,
        *,
        there: Carry = immediately,
        back: Carry = immediately,
        secured: ssl.SSLContext | None = None,
        most: float = math.inf,
    ) -> None:
        self._to = urlsplit(to)
        self._most = most
        self._there, self._back, self._ssl = there, back, secured
        self._is_cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self.taken = 0

    async def __aenter__(self) -> NetworkProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK, ssl=self._ssl)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.url = f"{self._to.scheme}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        # Since Python 3.12 waiting for its end would last while any client stays connected.
        self._server.close()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        self._is_cut = True
        for task in self._connections:
            task.cancel()

    def stall(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._is_cut = False
        self._flows.set()

    def forget(self) -> None:
        """Drop the connections like a restarted router. New connections work."""
        for connection in self._connections.values():
            connection.forget()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        connection = _Connection(reader, writer)
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    async def _connect(self, connection: _Connection) -> None:
        try:
            if self._is_cut or len(self._connections) > self._most:
                raise ConnectionAbortedError
            await connection.open(self._to.hostname or "", self._to.port or 0)
            await connection.carry(self._there, self._back, self._flows)
        except (OSError, asyncio.CancelledError):
            connection.abort()


class _Gate:
    """A reader that returns nothing while it is shut."""

    def __init__(self, reader: asyncio.StreamReader, flows: asyncio.Event) -> None:
        self._reader, self._flows = reader, flows

    async def read(self, n: int) -> bytes:
        data = await self._reader.read(n)
        await self._flows.wait()
        return data


class _Connection:
    """A client's connection, and ours to the server for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._forgotten = False

    async def open(self, host: str, port: int) -> None:
        self._server = await asyncio.open_connection(host, port, limit=_CHUNK)

    async def carry(self, there: Carry, back: Carry, flows: asyncio.Event) -> None:
        assert self._server
        reader, writer = self._client
        inner, outer = self._server
        await asyncio.gather(
            self._one(there, _Gate(reader, flows), outer), self._one(back, _Gate(inner, flows), writer)
        )
        # After `forget` the client's data is discarded, until it hangs up.
        while await reader.read(_CHUNK):
            pass
        writer.close()

    async def _one(self, carry: Carry, reader: _Gate, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await carry(reader, writer)
        if not self._forgotten:
            writer.close()

    def forget(self) -> None:
        if self._server:
            self._forgotten = True
            self._server[1].transport.abort()

    def abort(self) -> None:
        for _, writer in filter(None, (self._client, self._server)):
            writer.transport.abort()
