"""HTTP pages of a process, over TLS where certificates are given: a thread a client, and none keeps others waiting.

    server = PageServer("127.0.0.1", 0)
    server.start(app)                 # a WSGI application
    server.server_port

Threads, so that a stuck event loop still answers that it is stuck.
"""

from __future__ import annotations

import contextlib
import io
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from shared.runtime.tls import Renewing

# A client has this long for all of it: the handshake, to ask, and to read the answer.
REQUEST_S = 10.0
# So many have a place, as descriptors are what the process needs itself. Where all are taken the next client gets that
# of the one that came first: a question takes a moment, so whoever is still there is slow.
MOST_CLIENTS = 100
# In the environment of a request: whether the client has shown a certificate that was asked for.
KNOWN = "tidegate.known"


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        known = isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())
        return super().get_environ() | {KNOWN: known}

    def get_stderr(self) -> Any:
        """Nowhere: it is told of a client that goes while it reads. What fails on our side is logged."""
        return io.StringIO()

    def log_message(self, format: str, *args: Any) -> None:
        """Write no line for each probe: they come every few seconds."""


class PageServer(ThreadingMixIn, WSGIServer):
    """See the module. secured: its certificates; None without TLS. Raises OSError where the port can't be had."""

    daemon_threads = True
    # Python's five are less than what connects at once: the others try again after a second, as long as a probe waits.
    request_queue_size = MOST_CLIENTS

    def __init__(self, host: str, port: int, secured: Renewing | None = None) -> None:
        self._secured = secured
        # When each client came that has a place, the first one first. None in it is closed.
        self._since: dict[Any, float] = {}
        self._lock = threading.Lock()
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def start(self, app: Callable[..., Iterable[bytes]]) -> None:
        """Serve the WSGI application from daemon threads, until `shutdown`."""
        self.set_app(app)
        threading.Thread(target=self.serve_forever, name="pages", daemon=True).start()

    def server_bind(self) -> None:
        # The standard one resolves its own name, which can take seconds where there is no DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> Any:
        request, address = super().get_request()
        if self._secured:
            # The handshake waits for the client, so it is for the client's thread.
            request = self._secured.context().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return request, address

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._since) >= MOST_CLIENTS:
            self._let_go(math.inf)
        with self._lock:
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Twice a second."""
        while self._let_go(time.monotonic() - REQUEST_S):
            pass

    def _let_go(self, before: float) -> bool:
        """End the waiting of the client that came first, if it came before `before`, monotonic seconds; whether so."""
        with self._lock:
            request, since = next(iter(self._since.items()), (None, math.inf))
            if request is None or since >= before:
                return False
            del self._since[request]
            with contextlib.suppress(OSError):  # the client has gone
                # SSLSocket's own would also take from its thread what that works with.
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
        """Write nothing: a client that goes, or refuses our certificate, is none of our errors."""
