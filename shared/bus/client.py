"""nats-py's client, with sealed message ids and with workarounds for its faults.

Reading continues whatever a message holds, and after a flush timeout. No stored message passes for a protocol message.
The client leaves a server that hangs. `close` ends it. If the settings ask for TLS, no password goes to a server
without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import ssl
from collections.abc import Coroutine
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AUTHORIZATION_VIOLATION, Parser

from shared.bus.password import Password
from shared.contract import ids
from shared.contract.ids import Seal
from shared.runtime import tls
from shared.runtime.tasks import end


class _NotifyingParser(Parser):
    """A parser that notifies the client of every read."""

    async def parse(self, data: bytes = b"") -> None:
        self.nc.record_read()
        await super().parse(data)


def _is_address(host: str | None) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host or ""))
    return False


class Refused(nats.errors.Error):
    """The server can't be used with these settings. The text continues after its address."""


class Connection(Client):
    """See the module. certificates: for TLS; None if no setting asks for it.

    Messages: the server forwards any bytes as subject and headers. nats-py stops reading forever if they are not UTF-8
    or too short, but still counts as connected: one message would end every subscriber.

    Stored messages: one with the status 100 and no payload would pass for the heartbeat of a push consumer, whose
    headers make the client publish to any subject.

    Reading: a late answer to the ping of a timed-out flush has no waiter. It makes nats-py stop reading forever, while
    it still counts as connected.

    Flushing: nats-py writes the ping of a flush ahead of its pending writes, so the answer does not cover those: a
    subscriber that has flushed may miss a message.

    Passwords: if a server stops accepting a password, nats-py closes for good. This client reconnects, as the file may
    have the new one.

    Leaving: nats-py judges a server by its pongs only, which may wait behind a large message on a slow network. This
    client counts any received bytes as a sign of life. When a server hangs, nats-py waits until it has taken all
    pending writes, before it tries another one. This client drops those writes, as they may be lost anyway. Then
    nats-py may try the same server first, which accepts the connection and stays silent. This client tries it last.

    Closing: nats-py cancels its reconnection attempts once. Before Python 3.12 `asyncio.wait_for`, inside them, may
    swallow that. Then they continue and keep the process alive, whose loop waits for all of its tasks. Or they wait for
    the end of the old socket, as `close` does, and their cancellation cancels `close`. Pending writes for a server that
    is away go to the old socket: from Python 3.12 on a closed one raises a TypeError.

    TLS: whatever the URL says, nats-py uses TLS only if the server requires it, and else sends the password in plain
    text. A man in the middle would claim that it does not.
    """

    def __init__(
        self, seal: Seal, certificates: tls.Renewing | None, password: Password, *, shows_certificate: bool
    ) -> None:
        super().__init__()
        self._seal = seal
        self._certificates = certificates
        self._password = password
        self.shows_certificate = shows_certificate
        self._ps = _NotifyingParser(self)
        self._lost = asyncio.Event()

    def record_read(self) -> None:
        """Record that bytes have come from the server."""
        self._pings_outstanding = 0

    async def until_lost(self, timeout_s: float) -> None:
        """Wait until the server is lost, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._lost.wait()

    async def _attempt_reconnect(self) -> None:
        # Waiters proceed, and the next wait is for the next loss.
        self._lost.set()
        self._lost.clear()
        peer: tuple[Any, ...] = ()
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer:
            peer = self._transport._io_writer.get_extra_info("peername") or ()
            self._transport._io_writer.transport.abort()

        def rank(server: Any) -> int:
            """Rank another server, one that may be the same under another name, and itself."""
            same = server is self._current_server or (server.uri.hostname, server.uri.port) == peer[:2]
            return 2 if same else 0 if _is_address(server.uri.hostname) else 1

        random.shuffle(self._server_pool)
        self._server_pool.sort(key=rank)
        self.options["dont_randomize"] = True
        await super()._attempt_reconnect()

    @property
    def ssl_context(self) -> ssl.SSLContext:
        if self._certificates:
            return self._certificates.context()
        context: ssl.SSLContext = super().ssl_context
        return context

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Over a WebSocket the URL's scheme decides, and TLS is established before this is read.
        upgrades = self._current_server is not None and self._current_server.uri.scheme not in ("ws", "wss")
        if initial_connection and self._certificates and upgrades:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise Refused("offers no TLS, and NATS_URL, NATS_CA or NATS_CERT asks for it: switch it on there")
            if info.get("tls_verify") and not self.shows_certificate:
                raise Refused("asks for a client certificate: set NATS_CERT and NATS_KEY")
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    def password(self) -> str:
        """Return the password for the server that is tried now."""
        return self._password.next(self._current_server.uri.netloc if self._current_server else "")

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        self._password.record_success()

    async def _process_err(self, err_msg: str) -> None:
        # The server has reloaded its configuration, and closes the connection.
        if self.is_connected and AUTHORIZATION_VIOLATION in err_msg:
            await self._process_op_err(nats.errors.AuthorizationError())
            return
        await super()._process_err(err_msg)

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if headers and not isinstance(id := headers.get(ids.HEADER, ids.NONE), ids.Sealed):
            headers = headers | {ids.HEADER: self._seal(id)}
        await super().publish(subject, payload, reply, headers)

    def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> Coroutine[Any, Any, None]:
        # Messages are read one after the other.
        self._reads_stored = reply.startswith(b"$JS.ACK.")
        return super()._process_msg(sid, subject, reply, data, headers)

    def _is_control_message(self, data: bytes, header: dict[str, str]) -> str | None:
        return None if self._reads_stored else super()._is_control_message(data, header)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            found = self._parse_header_lines(headers.partition(b"\r\n")[2])
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        if self._pending and self.is_connected and self._transport:
            self._transport.write(b"".join(self._pending))
            self._pending, self._pending_data_size = [], 0
        await super()._send_ping(future)

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def close(self) -> None:
        ours = asyncio.current_task()
        if self._reconnection_task is not ours:
            await end(self._reconnection_task)
        if not self.is_connected:
            self._pending, self._pending_data_size = [], 0
        try:
            await super().close()
        except asyncio.CancelledError:
            if ours is None or ours.cancelling():
                raise
