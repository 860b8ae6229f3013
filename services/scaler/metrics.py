"""The scaler's own counters. The estimates are in `live.collector`, the replicas' cost in `cost`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONSUMER_REQUESTS = Counter(
    "tidegate_scaler_consumer_requests_total",
    "questions to JetStream about a consumer: one a second, however many ScaledObjects ask",
    ["stream", "consumer"],
)
EXPIRED = Counter(
    "tidegate_segments_expired_total",
    "messages that have expired before the consumer saw them",
    ["service", "consumer"],
)
REQUESTS = Counter(
    "tidegate_scaler_requests_total",
    "questions that were answered: by the method of gRPC and its code, or by the page and the code of HTTP",
    ["method", "code"],
)
STREAMS = Gauge("tidegate_scaler_streams", "gRPC streams that are open", ["method"])
