"""/healthz, /readyz and /metrics of a process, over TLS if METRICS_CERT is set.

    port = monitoring.serve(settings, health)         # in threads of their own
    monitoring.tell_prometheus(settings, "cv", port)  # if METRICS_TARGETS names a folder

A kubelet can't show a certificate, and its pages are not secret: with METRICS_CLIENT_CA only /metrics asks for one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY, Gauge, disable_created_metrics, make_wsgi_app

from shared.runtime import tls
from shared.runtime.errors import SettingError
from shared.runtime.pages.former_metrics import FormerNames
from shared.runtime.pages.server import KNOWN, PageServer
from shared.runtime.settings import BusSettings
from shared.runtime.telemetry import Health, logger

READY = Gauge("tidegate_ready", "1 while /readyz says that the process can work, else 0")
REGISTRY.register(FormerNames())

# Maximum concurrent answers of /metrics: one takes time, and continues after its client was dropped.
MOST_SCRAPES = 4
# The namespace of processes that no cluster runs.
NAMESPACE = "local"
# The retry interval on a full disk.
AGAIN_S = 2.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def serve(settings: BusSettings, health: Health) -> int:
    """Serve the three pages from daemon threads; return the port.

    Threads, so that a stuck event loop still reports that it is stuck. Raises SettingError if the port is taken, and
    for unusable certificates.
    """
    # A counter's creation time adds nothing to scrapes, and doubles the series.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    secured = _certificates(settings)
    try:
        server = PageServer(settings.metrics_host, settings.metrics_port, secured)
    except OSError as e:
        raise SettingError(
            f"METRICS_PORT={settings.metrics_port} on {settings.metrics_host} can't be used: {e.strerror}; "
            "0 takes a free one"
        ) from e
    READY.set_function(lambda: float(not _problem(health)))
    server.start(_pages(health, asks=bool(settings.metrics_client_ca)))
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
    """Return the WSGI application. asks: whether /metrics requires a client certificate."""
    metrics = make_wsgi_app()
    scrapes = threading.Semaphore(MOST_SCRAPES)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return page(environ, start)
        except Exception:
            logger("telemetry").exception("a page failed", path=environ["PATH_INFO"])
            raise

    def page(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, plain = environ["PATH_INFO"], [("Content-Type", "text/plain")]
        if path == "/metrics":
            if asks and not environ[KNOWN]:
                start("403 Forbidden", plain)
                return [b"show a certificate that METRICS_CLIENT_CA has signed\n"]
            if not scrapes.acquire(blocking=False):
                start("503 Service Unavailable", plain)
                return [b"others are asking for the same: ask again later\n"]
            try:
                return metrics(environ, start)  # type: ignore[no-any-return]
            finally:
                scrapes.release()
        if path == "/healthz":
            problem = health.stuck()
        elif path == "/readyz":
            problem = _problem(health)
        else:
            start("404 Not Found", plain)
            return [b"here are /healthz, /readyz and /metrics\n"]
        start("503 Service Unavailable" if problem else "200 OK", plain)
        return [f"{problem or 'ok'}\n".encode()]

    return app


def _problem(health: Health) -> str | None:
    return health.stuck() or health.ready


def tell_prometheus(settings: BusSettings, service: str, port: int) -> None:
    """Write `<replica>.json` into METRICS_TARGETS, by which Prometheus finds this process. Raises SettingError.

    It is a file of `file_sd_configs`. Its labels `namespace`, `component` and `pod` are those of our PodMonitors:
    dashboards and alerts select and group by them. Our parent removes it. On a full disk a thread writes it once there
    is room: the process works meanwhile.
    """
    if not settings.metrics_targets:
        return
    replica = os.environ.get("REPLICA") or service
    host = "127.0.0.1" if settings.metrics_host in ("0.0.0.0", "::") else settings.metrics_host  # noqa: S104 - compared
    labels = {"namespace": NAMESPACE, "component": service, "pod": replica, "service": service, "replica": replica}
    if settings.metrics_cert:
        labels["__scheme__"] = "https"
    entry = [{"targets": [f"{host}:{port}"], "labels": labels}]
    path = Path(settings.metrics_targets) / f"{replica}.json"
    try:
        _write(path, json.dumps(entry))
    except OSError as e:
        message = f"METRICS_TARGETS={settings.metrics_targets} can't be written: {e.strerror}"
        if e.errno not in _NO_ROOM:
            raise SettingError(message) from e
        logger("telemetry").warning(f"{message}; it is written once there is room")
        later = (path, json.dumps(entry))
        threading.Thread(target=_write_once_there_is_room, args=later, name="targets", daemon=True).start()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Prometheus reads files that end in .json, and must never see half of one.
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def _write_once_there_is_room(path: Path, text: str) -> None:
    while True:
        time.sleep(AGAIN_S)
        with contextlib.suppress(OSError):
            return _write(path, text)


def forget_targets(folder: Path, replica: str) -> None:
    """Remove the files of an ended process, and of its worker for each GPU."""
    for path in (folder / f"{replica}.json", *folder.glob(f"{replica}-[0-9]*.json")):
        path.unlink(missing_ok=True)
