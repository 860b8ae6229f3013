"""A ScaledObject of cv in the form of a file, for tests that change a part of it."""

from __future__ import annotations

from typing import Any


def lag_trigger(**metadata: str) -> dict[str, Any]:
    """KEDA's own trigger, on the lag of cv's consumer."""
    where = {"account": "A", "stream": "MEDIA", "consumer": "cv", "natsServerMonitoringEndpoint": "nats:8222"}
    return {"type": "nats-jetstream", "metadata": where | metadata}


def prometheus_trigger(**metadata: str) -> dict[str, Any]:
    """KEDA's own trigger, on a query of Prometheus."""
    where = {"serverAddress": "http://prometheus:9090", "query": "sum(busy)", "threshold": "0.7"}
    return {"type": "prometheus", "metadata": where | metadata}


def document(**spec: Any) -> dict[str, Any]:
    """With that trigger alone, without `triggers`."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "tidegate-cv"},
        "spec": {"scaleTargetRef": {"name": "tidegate-cv"}, "triggers": [lag_trigger()], **spec},
    }
