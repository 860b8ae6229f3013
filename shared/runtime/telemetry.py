"""Logs, metrics, health and traces of a process.

    health = Health()
    telemetry.configure(settings, "cv")            # once, first
    port = telemetry.serve(settings, health)       # /healthz /readyz /metrics in a thread of its own
    telemetry.tell_prometheus(settings, "cv", port)  # where METRICS_TARGETS names a folder
    log = telemetry.logger("cv")
    log.info("camera online", camera="lobby")      # one line an event; credentials in values are redacted

Metrics are `prometheus_client` objects beside the code that moves them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import disable_created_metrics, make_wsgi_app

from shared.runtime.errors import SettingError
from shared.runtime.redact import redact
from shared.runtime.settings import BusSettings

_propagator = TraceContextTextMapPropagator()

# LATENCY_BUCKETS: from a warm GPU's milliseconds to a cold start's minutes.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)


class Health:
    """Whether the process's loop moves, and whether it can do its work.

    The loop calls `beat()` at least every few seconds; `/healthz` fails once the last beat is older than `limit_s`.
    `ready` is None when it can work, else a sentence that says what is missing; `/readyz` says it.
    """

    def __init__(self, limit_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self.ready: str | None = "starting"
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        self._last = self._clock()

    def stuck(self) -> str | None:
        """None, or since when the loop has not moved."""
        age = self._clock() - self._last
        return None if age <= self.limit_s else f"the loop has not moved for {age:.0f} s"


def logger(name: str) -> Any:
    """A structlog logger that names its part of the program."""
    return structlog.get_logger(part=name)


def configure(settings: BusSettings, service: str) -> None:
    """Logs to standard error as LOG_FORMAT says; spans exported if OTEL_EXPORTER_OTLP_ENDPOINT is set."""
    level = getattr(logging, settings.log_level.upper())
    as_json = settings.log_format == "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _redact_values,
            structlog.processors.JSONRenderer()
            if as_json
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, pid=os.getpid())
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"tidegate-{service}", "host.name": socket.gethostname()})
    )
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as e:
            raise SettingError(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the exporter is not installed: pip install 'tidegate[otel]'"
            ) from e
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def log_aside() -> None:
    """Send log lines to standard error: a command's standard output is what it was asked for."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(_Stderr()))  # type: ignore[arg-type]


class _Stderr:
    """Standard error as it is at the time. A log whose disk is full must not end the process that writes it."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def flush(timeout_s: float = 2.0) -> None:
    """Export pending spans, for at most `timeout_s`: a collector that is away must not hold a process up."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(timeout_s)


def _redact_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {k: redact(v) if isinstance(v, str) else v for k, v in event.items()}


def tracer() -> trace.Tracer:
    return trace.get_tracer("tidegate")


def context_of(traceparent: str | None) -> Context:
    """The trace context that a `traceparent` header carries; an empty one for None or nonsense."""
    return _propagator.extract({"traceparent": traceparent} if traceparent else {}, context=Context())


def traceparent_of(span: trace.Span) -> str | None:
    """The W3C `traceparent` header that makes `span` the parent of what follows."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span))
    return carrier.get("traceparent")


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Write no line for each probe: they come every few seconds."""


class _Server(WSGIServer):
    def server_bind(self) -> None:
        # The standard one resolves its own name, which can take seconds where there is no DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def serve(settings: BusSettings, health: Health) -> int:
    """Serve /healthz, /readyz and /metrics from a daemon thread; return the port.

    A thread, so that a stuck event loop still answers that it is stuck. Raises SettingError if the port is taken.
    """
    # When a counter was made says nothing that a scrape has not seen, and doubles the series.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start)  # type: ignore[no-any-return]
        if path == "/healthz":
            problem = health.stuck()
        elif path == "/readyz":
            problem = health.stuck() or health.ready
        else:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"here are /healthz, /readyz and /metrics\n"]
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        return [f"{problem or 'ok'}\n".encode()]

    try:
        server = make_server(
            settings.metrics_host, settings.metrics_port, app, server_class=_Server, handler_class=_Quiet
        )
    except OSError as e:
        raise SettingError(
            f"METRICS_PORT={settings.metrics_port} on {settings.metrics_host} can't be used: {e.strerror}; "
            "0 takes a free one"
        ) from e
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    logger("telemetry").info("metrics served", url=f"http://{settings.metrics_host}:{server.server_port}/metrics")
    return server.server_port


def tell_prometheus(settings: BusSettings, service: str, port: int) -> None:
    """Write `<replica>.json` into METRICS_TARGETS, by which Prometheus finds this process. Raises SettingError.

    It is a file of `file_sd_configs`, with the labels `service` and `replica`. Whoever started us removes it.
    """
    if not settings.metrics_targets:
        return
    replica = os.environ.get("REPLICA") or service
    host = "127.0.0.1" if settings.metrics_host in ("0.0.0.0", "::") else settings.metrics_host  # noqa: S104 - compared
    entry = [{"targets": [f"{host}:{port}"], "labels": {"service": service, "replica": replica}}]
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
