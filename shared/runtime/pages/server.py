"""HTTP pages of a process, over TLS if there are certificates: a thread per client, and none blocks others.

    server = PageServer("127.0.0.1", 0)
    server.start(app)                 # a WSGI application
    server.server_port

Threads, so that a stuck event loop still reports that it is stuck.
"""

from __future__ import annotations

import contextlib
import io
import math
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from shared.runtime.tls import Renewing

# The total time of a client: for the handshake, the request, and reading the answer.
REQUEST_S = 10.0
# The interval between two searches for clients whose time is over.
SWEEP_S = 0.5
# Maximum clients, as the process needs the descriptors itself. If all are taken, the next client replaces the oldest
# one: a request takes a moment, so an old client is slow.
MOST_CLIENTS = 100
# A request's environment key: whether the client showed a certificate that was requested.
KNOWN = "tidegate.known"


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        has_certificate = isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())
        return super().get_environ() | {KNOWN: has_certificate}

    def get_stderr(self) -> Any:
        """Return a sink: it only reports clients that leave while reading. Our own failures are logged."""
        return io.StringIO()

    def log_message(self, format: str, *args: Any) -> None:
        """Log no probes: they come every few seconds."""


class PageServer(ThreadingMixIn, WSGIServer):
    """See the module. secured: its certificates; None without TLS. Raises OSError if the port is unavailable."""

    daemon_threads = True
    # Python's default of five is too small: other clients retry after a second, the timeout of a probe.
    request_queue_size = MOST_CLIENTS

    def __init__(self, host: str, port: int, secured: Renewing | None = None) -> None:
        self._secured = secured
        # The arrival time of each served client, the oldest first. All of these sockets are open.
        self._since: dict[Any, float] = {}
        self._lock = threading.Lock()
        self._serving = threading.Thread(target=self._accept, name="pages", daemon=True)
        # The second is readable once the first is closed.
        self._stop, self._stopped = socket.socketpair()
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def start(self, app: Callable[..., Iterable[bytes]]) -> None:
        """Serve the WSGI application from daemon threads, until `shutdown`."""
        self.set_app(app)
        self._serving.start()

    def shutdown(self) -> None:
        """Stop accepting clients."""
        self._stop.close()
        self._serving.join()
        self._stopped.close()

    def _accept(self) -> None:
        """Accept clients. `serve_forever` would wake twice a second also without any."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while self._stopped not in (ready := {key.fileobj for key, _ in selector.select(self._pause_s)}):
                if self in ready:
                    self._handle_request_noblock()  # type: ignore[attr-defined]
                while self._let_go(time.monotonic() - REQUEST_S):
                    pass

    @property
    def _pause_s(self) -> float | None:
        """The time to the next search for expired clients."""
        return SWEEP_S if self._since else None

    def server_bind(self) -> None:
        # The standard method resolves its own name, which can take seconds without DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> Any:
        request, address = super().get_request()
        if self._secured:
            # The handshake waits for the client, so it runs in the client's thread.
            request = self._secured.context().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return request, address

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._since) >= MOST_CLIENTS:
            self._let_go(math.inf)
        with self._lock:
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def _let_go(self, before: float) -> bool:
        """Drop the oldest client if it arrived before `before`, monotonic seconds; return whether it did."""
        with self._lock:
            request, since = next(iter(self._since.items()), (None, math.inf))
            if request is None or since >= before:
                return False
            del self._since[request]
            with contextlib.suppress(OSError):  # the client has gone
                # SSLSocket's own shutdown would also take the object that its thread works with.
                socket.socket.shutdown(request, socket.SHUT_RDWR)
            return True

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write nothing: a client that leaves, or refuses our certificate, is not our error."""
