"""/healthz, /readyz and /metrics of a process, over TLS where METRICS_CERT says so.

    port = monitoring.serve(settings, health)         # in threads of their own
    monitoring.tell_prometheus(settings, "cv", port)  # where METRICS_TARGETS names a folder

A kubelet can show no certificate, and what it may ask tells nothing: with METRICS_CLIENT_CA only /metrics asks for one.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import disable_created_metrics, make_wsgi_app

from shared.runtime import tls
from shared.runtime.errors import SettingError
from shared.runtime.settings import BusSettings
from shared.runtime.telemetry import Health, logger

# A client that says nothing is let go after this, and while so many are being answered no other is: neither may keep a
# probe waiting, nor take the descriptors that the process needs.
SILENCE_S = 5.0
MOST_CLIENTS = 100
# Whether the client has shown a certificate of METRICS_CLIENT_CA.
KNOWN = "tidegate.known"


class _Handler(WSGIRequestHandler):
    timeout = SILENCE_S

    def get_environ(self) -> dict[str, Any]:
        known = isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())
        return super().get_environ() | {KNOWN: known}

    def log_message(self, format: str, *args: Any) -> None:
        """Write no line for each probe: they come every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a client, so that one that is silent keeps no other waiting. tls: None without."""

    daemon_threads = True
    # Python's five are less than what connects at once: the others try again after a second, as long as a probe waits.
    request_queue_size = MOST_CLIENTS
    tls: tls.Renewing | None = None

    def __init__(self, *args: Any) -> None:
        self._free = threading.Semaphore(MOST_CLIENTS)
        super().__init__(*args)

    def server_bind(self) -> None:
        # The standard one resolves its own name, which can take seconds where there is no DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if not self.tls:
            super().finish_request(request, client_address)
            return
        request.settimeout(SILENCE_S)
        with self.tls.context().wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write nothing: a client that goes, or refuses our certificate, is none of our errors."""


def serve(settings: BusSettings, health: Health) -> int:
    """Serve the three pages from daemon threads; return the port.

    Threads, so that a stuck event loop still answers that it is stuck. Raises SettingError if the port is taken, and
    for certificates that can't be used.
    """
    # When a counter was made says nothing that a scrape has not seen, and doubles the series.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    secured = _certificates(settings)
    try:
        server = _Server((settings.metrics_host, settings.metrics_port), _Handler)
    except OSError as e:
        raise SettingError(
            f"METRICS_PORT={settings.metrics_port} on {settings.metrics_host} can't be used: {e.strerror}; "
            "0 takes a free one"
        ) from e
    server.tls = secured
    server.set_app(_pages(health, asks=bool(settings.metrics_client_ca)))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    scheme = "https" if secured else "http"
    logger("telemetry").info("metrics served", url=f"{scheme}://{settings.metrics_host}:{server.server_port}/metrics")
    return server.server_port


def _certificates(settings: BusSettings) -> tls.Renewing | None:
    cert = tls.File("METRICS_CERT", settings.metrics_cert)
    key = tls.File("METRICS_KEY", settings.metrics_key)
    client_ca = tls.File("METRICS_CLIENT_CA", settings.metrics_client_ca)
    tls.check_pair(cert, key)
    if not cert:
        if client_ca:
            raise SettingError("METRICS_CLIENT_CA is set and METRICS_CERT is not: set METRICS_CERT and METRICS_KEY too")
        return None
    return tls.Renewing(lambda: tls.server_context(cert, key, client_ca), cert, key, client_ca)


def _pages(health: Health, *, asks: bool) -> Callable[..., Iterable[bytes]]:
    """The WSGI application. asks: whether /metrics is only for clients that are known."""
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, plain = environ["PATH_INFO"], [("Content-Type", "text/plain")]
        if path == "/metrics":
            if not asks or environ[KNOWN]:
                return metrics(environ, start)  # type: ignore[no-any-return]
            start("403 Forbidden", plain)
            return [b"show a certificate that METRICS_CLIENT_CA has signed\n"]
        if path == "/healthz":
            problem = health.stuck()
        elif path == "/readyz":
            problem = health.stuck() or health.ready
        else:
            start("404 Not Found", plain)
            return [b"here are /healthz, /readyz and /metrics\n"]
        start("503 Service Unavailable" if problem else "200 OK", plain)
        return [f"{problem or 'ok'}\n".encode()]

    return app


def tell_prometheus(settings: BusSettings, service: str, port: int) -> None:
    """Write `<replica>.json` into METRICS_TARGETS, by which Prometheus finds this process. Raises SettingError.

    It is a file of `file_sd_configs`, with the labels `service` and `replica`. Whoever started us removes it.
    """
    if not settings.metrics_targets:
        return
    replica = os.environ.get("REPLICA") or service
    host = "127.0.0.1" if settings.metrics_host in ("0.0.0.0", "::") else settings.metrics_host  # noqa: S104 - compared
    labels = {"service": service, "replica": replica}
    if settings.metrics_cert:
        labels["__scheme__"] = "https"
    entry = [{"targets": [f"{host}:{port}"], "labels": labels}]
    path = Path(settings.metrics_targets) / f"{replica}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Prometheus reads what ends in .json, and never half of it.
        path.with_suffix(".new").write_text(json.dumps(entry))
        path.with_suffix(".new").replace(path)
    except OSError as e:
        raise SettingError(f"METRICS_TARGETS={settings.metrics_targets} can't be written: {e.strerror}") from e


def forget_targets(folder: Path, replica: str) -> None:
    """Remove what a process that is gone has written there, and its workers a GPU."""
    for path in (folder / f"{replica}.json", *folder.glob(f"{replica}-[0-9]*.json")):
        path.unlink(missing_ok=True)
