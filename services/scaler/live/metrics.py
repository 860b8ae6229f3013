"""The scaler's own metrics. `autoscaler` and `accounts` export the replicas and their cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.scaler.demand.estimate import Estimate
from services.scaler.live.answers import Live
from services.scaler.live.metadata import DemandQuery

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


# Terms keep their names on the wire; until the next release, the metric has both.
_TERMS = {field.encode_name: field.name for field in msgspec.structs.fields(Estimate)}


class _Lives(Protocol):
    def lives(self) -> list[Live]: ...


class _Demand(Collector):
    """Every term of every estimate, collected at each scrape rather than written every second."""

    def __init__(self) -> None:
        self._watched: list[_Lives] = []

    def watch(self, lives: _Lives) -> None:
        self._watched.append(lives)

    def forget(self, lives: _Lives) -> None:
        self._watched.remove(lives)

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "tidegate_demand",
            "replicas that a service needs, and the terms of the sum",
            labels=["service", "consumer", "term"],
        )
        # If ScaledObjects query one consumer with different settings, the last request wins.
        latest: dict[tuple[str, str], Live] = {}
        for watched in list(self._watched):
            for live in sorted(watched.lives(), key=lambda each: each.requested_at):
                query = live.query
                latest[query.service, query.consumer if isinstance(query, DemandQuery) else query.bucket] = live
        for labels, live in latest.items():
            explained = live.explanation()
            for term, value in explained.terms.items():
                if isinstance(value, int | float) and not explained.error:
                    for name in {term, _TERMS.get(term, term)}:
                        family.add_metric([*labels, name], float(value))
        yield family


DEMAND = _Demand()
REGISTRY.register(DEMAND)
