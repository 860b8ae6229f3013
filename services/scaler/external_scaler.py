"""The external scaler: it answers KEDA's gRPC requests from live metrics.

    service = ScalerService(live_metrics)
    async with serving(service, settings) as port:
        ...

An error is a gRPC code and a sentence: UNAVAILABLE if JetStream is not reachable, NOT_FOUND for a missing stream or
consumer, INVALID_ARGUMENT for metadata. KEDA's `fallback` of the ScaledObject applies to each alike.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio

from services.scaler import metrics
from services.scaler.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    MetricSpec,
    MetricValue,
    ScaledObjectRef,
)
from services.scaler.live import metadata
from services.scaler.live.answers import LiveMetric
from services.scaler.live.live_metrics import LiveMetrics
from services.scaler.settings import ScalerSettings, credentials
from shared.bus.infos import Missing
from shared.runtime.errors import SettingError, TidegateError
from shared.runtime.redact import redact
from shared.runtime.telemetry import logger

NAME = "externalscaler.ExternalScaler"
# The metric is a replica count: 2.4 with a target of 1 is 3 replicas.
TARGET = 1
GRACE_S = 2.0

OPTIONS = [
    # A port in use is an error. Otherwise both processes would get a share of the calls.
    ("grpc.so_reuseport", 0),
    # KEDA's streams idle for hours. A peer that vanished is noticed within two minutes.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # A starting KEDA opens all its streams together; by default gRPC cancels calls beyond a thousand pending ones.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
]

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Response = TypeVar("Response")

log = logger("scaler")


class ScalerService:
    """The five methods. The stream of an unreadable consumer stays open, and continues once it can be read."""

    def __init__(self, live_metrics: LiveMetrics) -> None:
        self._live_metrics = live_metrics
        self._closing = False
        self._streams: set[asyncio.Event] = set()

    def handlers(self) -> grpc.GenericRpcHandler:
        ref, metrics_of = ScaledObjectRef.FromString, GetMetricsRequest.FromString
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "IsActive": _unary("IsActive", self._is_active, ref),
                "GetMetricSpec": _unary("GetMetricSpec", self._metric_spec, ref),
                "GetMetrics": _unary("GetMetrics", self._metrics, metrics_of),
                "StreamIsActive": _stream("StreamIsActive", self._stream_is_active, ref),
                "StreamMetricSpec": _stream("StreamMetricSpec", self._stream_metric_spec, ref),
            },
        )

    def close(self) -> None:
        """End the streams without an error: KEDA reopens them sooner than after one."""
        self._closing = True
        for stream in self._streams:
            stream.set()

    def _live(self, ref: ScaledObjectRef) -> LiveMetric:
        return self._live_metrics.get(metadata.parse(ref.scalerMetadata))

    async def _is_active(self, ref: ScaledObjectRef) -> IsActiveResponse:
        return IsActiveResponse(result=(await self._live(ref).answer()).active)

    async def _metrics(self, request: GetMetricsRequest) -> GetMetricsResponse:
        live = self._live(request.scaledObjectRef)
        if request.metricName not in ("", live.metric):
            raise SettingError(f"metric {request.metricName!r} is not known: GetMetricSpec names {live.metric!r}")
        value = (await live.answer()).value
        return GetMetricsResponse(
            metricValues=[MetricValue(metricName=live.metric, metricValue=math.ceil(value), metricValueFloat=value)]
        )

    async def _metric_spec(self, ref: ScaledObjectRef) -> GetMetricSpecResponse:
        """Answer without JetStream, so that an HPA can be created while that is away."""
        spec = MetricSpec(metricName=self._live(ref).metric, targetSize=TARGET, targetSizeFloat=float(TARGET))
        return GetMetricSpecResponse(metricSpecs=[spec])

    async def _stream_metric_spec(self, ref: ScaledObjectRef) -> AsyncGenerator[GetMetricSpecResponse, None]:
        yield await self._metric_spec(ref)
        changed = asyncio.Event()
        self._streams.add(changed)
        try:
            while not self._closing:
                await changed.wait()
        finally:
            self._streams.discard(changed)

    async def _stream_is_active(self, ref: ScaledObjectRef) -> AsyncGenerator[IsActiveResponse, None]:
        live = self._live(ref)
        changed = asyncio.Event()
        live.listeners.add(changed.set)
        self._streams.add(changed)
        sent = None
        try:
            while not self._closing:
                active = live.active
                # Send nothing while the activity is unknown: KEDA takes false for idle.
                if active is not None and active != sent:
                    sent = active
                    yield IsActiveResponse(result=active)
                    continue
                await changed.wait()
                changed.clear()
        finally:
            self._streams.discard(changed)
            live.listeners.discard(changed.set)


@asynccontextmanager
async def serving(service: ScalerService, settings: ScalerSettings) -> AsyncIterator[int]:
    """Serve until the block exits; yield the port. Raises SettingError."""
    server = grpc.aio.server(handlers=(service.handlers(),), options=OPTIONS)
    address = f"{settings.scaler_host}:{settings.scaler_port}"
    secrets = credentials(settings)
    try:
        port = server.add_secure_port(address, secrets) if secrets else server.add_insecure_port(address)
    except RuntimeError as e:
        raise SettingError(
            f"SCALER_PORT={settings.scaler_port} on {settings.scaler_host} can't be used; 0 takes a free one"
        ) from e
    await server.start()
    try:
        yield port
    finally:
        service.close()
        await server.stop(GRACE_S)


def _unary(
    method: str, work: Callable[[Request], Awaitable[Response]], read: Callable[[bytes], Request]
) -> grpc.RpcMethodHandler[Request, Response]:
    async def handle(request: Request, context: Context) -> Response:
        try:
            response = await work(request)
        except Exception as e:
            await _refuse(method, e, context)
            raise
        metrics.REQUESTS.labels(method, "OK").inc()
        return response

    return grpc.unary_unary_rpc_method_handler(handle, read, _write)


def _stream(
    method: str, work: Callable[[Request], AsyncGenerator[Response, None]], read: Callable[[bytes], Request]
) -> grpc.RpcMethodHandler[Request, Response]:
    async def handle(request: Request, context: Context) -> AsyncGenerator[Response, None]:
        metrics.STREAMS.labels(method).inc()
        try:
            async with aclosing(work(request)) as responses:
                async for response in responses:
                    yield response
            metrics.REQUESTS.labels(method, "OK").inc()
        except Exception as e:
            await _refuse(method, e, context)
        finally:
            metrics.STREAMS.labels(method).dec()

    return grpc.unary_stream_rpc_method_handler(handle, read, _write)


def _write(message: Any) -> bytes:
    return message.SerializeToString()  # type: ignore[no-any-return]


async def _refuse(method: str, error: Exception, context: Context) -> None:
    """End the call with a code, and the sentence of an error of ours. Other errors are only logged."""
    code, text = grpc.StatusCode.INTERNAL, "the scaler has failed: see its log"
    if isinstance(error, SettingError):
        code, text = grpc.StatusCode.INVALID_ARGUMENT, redact(str(error))
    elif isinstance(error, Missing):
        code, text = grpc.StatusCode.NOT_FOUND, redact(str(error))
    elif isinstance(error, TidegateError):
        code, text = grpc.StatusCode.UNAVAILABLE, redact(str(error))
    else:
        log.error("call failed", method=method, error=repr(error))
    metrics.REQUESTS.labels(method, code.name).inc()
    await context.abort(code, text)
