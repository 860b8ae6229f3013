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
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.js.api import Header
from nats.protocol.parser import AUTHORIZATION_VIOLATION, PERMISSIONS_ERR, Parser

from shared.bus.password import Password
from shared.contract import ids, names
from shared.contract.ids import Seal
from shared.contract.rights import denials
from shared.runtime import tls
from shared.runtime.errors import BusError
from shared.runtime.tasks import end
from shared.runtime.ticks import tick

# How many intervals there are between two pings, if a lost server costs little.
_SLOWER = 5
# Remembered requests: the server's denial names a subject in lower case, and not the request.
_MOST_REQUESTS = 256
_DENIAL = re.compile(rf'{PERMISSIONS_ERR} for (subscription|publish) to "([^"]*)"')


class _NotifyingParser(Parser):
    """A parser that notifies the client of every read."""

    async def parse(self, data: bytes = b"") -> None:
        self.nc.record_read()
        await super().parse(data)


class _Transport(TcpTransport):
    """A transport whose protocol knows of its TLS: else asyncio logs a warning when the server closes it.

    connected: the transport before TLS.
    """

    def __init__(self, connected: TcpTransport) -> None:
        vars(self).update(vars(connected))

    async def connect_tls(self, *args: Any, **options: Any) -> None:
        await super().connect_tls(*args, **options)
        assert self._io_writer
        transport = self._io_writer.transport
        transport.get_protocol().connection_made(transport)


def _is_address(host: str | None) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host or ""))
    return False


def _is_loopback(host: str | None) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host or "").is_loopback
    return False


def server_is_alone(client: Client) -> bool:
    """Whether the connected server belongs to no cluster."""
    return not client._server_info.get("cluster")


def _resolve(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(True)


class Refused(nats.errors.Error):
    """The server can't be used with these settings. The text continues after its address."""


class Denied(BusError):
    """The server does not permit this user a request or a subscription. The text says who may."""


class Connection(Client):
    """See the module. certificates: for TLS; None if no setting asks for it. has_leases: whether this process leases
    things, which others take once it is cut off.

    raises_denials: a request that the server does not permit raises Denied immediately, rather than time out.
    `denials_raised` raises it for all else, such as a subscription.

    `docs/upstream.md` describes each override as a change for nats-py. They are written against its 2.16.
    """

    def __init__(
        self,
        seal: Seal,
        certificates: tls.Renewing | None,
        password: Password,
        *,
        shows_certificate: bool,
        raises_denials: bool = False,
    ) -> None:
        super().__init__()
        self._raises_denials = raises_denials
        self._requests: deque[tuple[str, str]] = deque(maxlen=_MOST_REQUESTS)
        self._denied: asyncio.Queue[Denied] = asyncio.Queue()
        self._optional: dict[str, str] = {}
        self.forgone: set[str] = set()
        self._seal = seal
        self._certificates = certificates
        self._password = password
        self.shows_certificate = shows_certificate
        self._ps = _NotifyingParser(self)
        self._lost = asyncio.Event()
        self.has_leases = False

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
            # A server that hangs never takes the pending writes, and closing would wait for that.
            self._transport._io_writer.transport.abort()

        def rank(server: Any) -> int:
            """Rank another server, one that may be the same under another name, and itself."""
            same = server is self._current_server or (server.uri.hostname, server.uri.port) == peer[:2]
            return 2 if same else 0 if _is_address(server.uri.hostname) else 1

        random.shuffle(self._server_pool)
        self._server_pool.sort(key=rank)
        self.options["dont_randomize"] = True
        await super()._attempt_reconnect()

    async def _connect_to_server(self, s: Any) -> None:
        await super()._connect_to_server(s)
        if isinstance(self._transport, TcpTransport):
            self._transport = _Transport(self._transport)

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

    def record_login(self) -> None:
        """Record that the server accepted the last password."""
        self._password.record_success()

    async def _process_err(self, err_msg: str) -> None:
        # The server has reloaded its configuration, and closes the connection.
        if self.is_connected and AUTHORIZATION_VIOLATION in err_msg:
            await self._process_op_err(nats.errors.AuthorizationError())
            return
        if self._raises_denials and (match := _DENIAL.search(err_msg)):
            self._deny(match[2], subscribes=match[1] == "subscription")
            return
        await super()._process_err(err_msg)

    def forgo(self, *subjects: str) -> None:
        """Do without these subscriptions if the server denies them: then they are in `forgone`."""
        self._optional |= {subject.lower(): subject for subject in subjects}

    @contextlib.asynccontextmanager
    async def denials_raised(self) -> AsyncIterator[None]:
        """Cancel the block, and raise Denied, if the server denies anything but a pending request."""
        ours = asyncio.current_task()
        assert ours
        denied = asyncio.create_task(self._denied.get())
        denied.add_done_callback(lambda task: task.cancelled() or ours.cancel())
        try:
            yield
        finally:
            is_denied = denied.done()
            await end(denied)
            if is_denied:
                # Whatever the block made of its cancellation: it may also suppress it, as its normal end.
                ours.uncancel()
                raise denied.result() from None

    def _deny(self, lowered: str, *, subscribes: bool) -> None:
        """Raise Denied where the request was made. lowered: its subject, in lower case."""
        user = str(self.options.get("user") or "")
        if subscribes and lowered in self._optional:
            self.forgone.add(self._optional[lowered])
            return
        if subscribes:
            subjects = (sub.subject for sub in self._subs.values() if sub.subject.lower() == lowered)
            self._denied.put_nowait(Denied(denials.sentence(user, next(subjects, lowered), subscribes=True)))
            return
        requests = [r for r in self._requests if lowered in (r[0].lower(), names.imported(r[0]).lower())]
        error = Denied(denials.sentence(user, requests[0][0] if requests else lowered, subscribes=False))
        pending = [f for _, token in requests if (f := self._resp_map.get(token)) and not f.done()]
        for future in pending:
            future.set_exception(error)
        if not pending:
            self._denied.put_nowait(error)

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if headers and not isinstance(id := headers.get(ids.HEADER, ids.NONE), ids.Sealed):
            headers = headers | {ids.HEADER: self._seal(id)}
        if reply and self._raises_denials:
            self._requests.append((subject, reply.rpartition(".")[2]))
        await super().publish(subject, payload, reply, headers)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):  # it would end the reading
            found = self._parse_header_lines(headers.partition(b"\r\n")[2])
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        # Only the server's own messages have a status: a stored one's headers are its publisher's.
        if headers and reply.startswith(b"$JS.ACK."):
            headers.pop(Header.STATUS, None)
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )

    @property
    def _is_safe(self) -> bool:
        """Whether a lost server costs little, and the system reports its end: it is alone, and on this machine."""
        is_alone = server_is_alone(self) and len(self._server_pool) == 1
        return not self.has_leases and is_alone and _is_loopback(self._server_pool[0].uri.hostname)

    async def _ping_interval(self) -> None:
        while not self.is_closed:
            await tick(self.options["ping_interval"] * (_SLOWER if self._is_safe else 1))
            if not self.is_connected:
                continue
            self._pings_outstanding += 1
            if self._pings_outstanding > self.options["max_outstanding_pings"]:
                await self._process_op_err(nats.errors.StaleConnectionError())
                return
            with contextlib.suppress(RuntimeError, AttributeError):  # it is being closed
                await self._send_ping()

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        # The answer covers only what was written before the ping.
        if self._pending and self.is_connected and self._transport:
            self._transport.write(b"".join(self._pending))
            self._pending, self._pending_data_size = [], 0
        # A waiter that gave up must not break the reading of its pong.
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if future:
            pong.add_done_callback(lambda _: _resolve(future))
        await super()._send_ping(pong)

    async def close(self) -> None:
        # An attempt to reconnect may outlive its cancellation, or cancel the task that closes.
        ours = asyncio.current_task()
        if self._reconnection_task is not ours:
            await end(self._reconnection_task)
        if not self.is_connected:  # the old socket takes no more
            self._pending, self._pending_data_size = [], 0
        try:
            await super().close()
        except asyncio.CancelledError:
            if ours is None or ours.cancelling():
                raise
