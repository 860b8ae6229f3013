"""The metrics of this process."""

from __future__ import annotations

from prometheus_client import REGISTRY


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
