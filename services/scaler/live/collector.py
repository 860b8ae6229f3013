"""Every term of every estimate as a metric, collected at each scrape rather than written every second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.scaler.demand.estimate import Estimate
from services.scaler.live.answers import LiveMetric
from services.scaler.live.metadata import DemandQuery

# Terms keep their names on the wire; until the next release, the metric has both.
_TERMS = {field.encode_name: field.name for field in msgspec.structs.fields(Estimate)}


class _Lives(Protocol):
    def lives(self) -> list[LiveMetric]: ...


class _Demand(Collector):
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
        latest: dict[tuple[str, str], LiveMetric] = {}
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
