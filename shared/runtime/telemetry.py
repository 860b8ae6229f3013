"""Logs, health and traces of a process; `monitoring` serves health and metrics.

    health = Health()
    telemetry.configure(settings, "cv")            # once, first
    log = telemetry.logger("cv")
    log.info("camera online", camera="lobby")      # one line an event; credentials in values are redacted

Metrics are `prometheus_client` objects next to the code that updates them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from functools import cache
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.runtime import install
from shared.runtime.errors import SettingError
from shared.runtime.plain import inert
from shared.runtime.redact import redact
from shared.runtime.settings import BusSettings

_propagator = TraceContextTextMapPropagator()

# LATENCY_BUCKETS: from a warm GPU's milliseconds to a cold start's minutes.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)


class Health:
    """Tracks whether the process's loop runs, and whether it can work.

    The loop calls `beat()` at least every few seconds; `/healthz` fails once the last beat is older than `limit_s`.
    `ready` is None if it can work, else a sentence that names the missing part, for `/readyz`.
    """

    def __init__(self, limit_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = limit_s
        self.ready: str | None = "starting"
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        self._last = self._clock()

    def stuck(self) -> str | None:
        """Return None, or how long the loop has not moved."""
        age = self._clock() - self._last
        return None if age <= self.limit_s else f"the loop has not moved for {age:.0f} s"


def logger(name: str) -> Any:
    """Return a structlog logger with the name of its part of the program."""
    return structlog.get_logger(part=name)


def configure(settings: BusSettings, service: str) -> None:
    """Log to standard error in LOG_FORMAT; export spans if OTEL_EXPORTER_OTLP_ENDPOINT is set."""
    level = getattr(logging, settings.log_level.upper())
    _log(level, as_json=settings.log_format == "json", cache=True)
    structlog.contextvars.bind_contextvars(service=service, pid=os.getpid())
    _take_over()
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"tidegate-{service}", "host.name": socket.gethostname()})
    )
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as e:
            raise SettingError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but the exporter is not installed: {install.command('otel')}"
            ) from e
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def log_aside() -> None:
    """Log to standard error: a command's standard output is only its result."""
    _log(logging.INFO, as_json=False, cache=False)


def _log(level: int, *, as_json: bool, cache: bool) -> None:
    """cache: used loggers stay as they are, whatever is configured later."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _redact_values,
            *(
                [structlog.processors.JSONRenderer()]
                if as_json
                # JSON escapes characters that a terminal would execute.
                else [_inert_values, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)]
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=cache,
    )


def _take_over() -> None:
    """Log libraries' warnings and threads' errors like our own: Python would print passwords in URLs."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Library) for handler in root.handlers):
        root.addHandler(_Library(logging.WARNING))
    threading.excepthook = _thread_failed


class _Library(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell = logger(record.name).error if record.levelno >= logging.ERROR else logger(record.name).warning
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # mismatched arguments
            text = str(record.msg)
        tell(text, exc_info=record.exc_info)


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit and args.exc_value:
        name = args.thread.name if args.thread else ""
        logger("threads").error("a thread failed", thread=name, exc_info=args.exc_value)


class _Stderr:
    """The current standard error. A full disk of the log must not end the process."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def flush(timeout_s: float = 2.0) -> None:
    """Export pending spans, for at most `timeout_s`: an unreachable collector must not delay the exit."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(timeout_s)


def _redact_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {k: redact(v) if isinstance(v, str) else v for k, v in event.items()}


def _inert_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {k: inert(v) if isinstance(v, str) else v for k, v in event.items()}


@cache
def tracer() -> trace.Tracer:
    """Return the process's tracer. OpenTelemetry makes a new one at each request, which costs as much as a span."""
    return trace.get_tracer("tidegate")


def context_of(traceparent: str | None) -> Context:
    """Return the trace context of a `traceparent` header; an empty one for None or an invalid value."""
    return _propagator.extract({"traceparent": traceparent} if traceparent else {}, context=Context())


def traceparent_of(span: trace.Span) -> str | None:
    """Return the W3C `traceparent` header that makes `span` the parent of what follows."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span))
    return carrier.get("traceparent")
