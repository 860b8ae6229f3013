"""The ScaledObject for a measured rate and a latency target, from the shipped one that scales by lag.

Example:
    text, threshold = manifest(rate="5.31", latency_s=2, hold=5)
"""

from __future__ import annotations

from tidegate.audit.candidates import bases, by_lag
from tidegate.keda.scaledobject import parse
from tidegate.keda.threshold import Threshold, lag_threshold
from tidegate.simulation.engine import Workload


def manifest(rate: str, latency_s: float, hold: int) -> tuple[str, Threshold]:
    """Return (the manifest, its threshold). rate: segments a second of a replica. hold: its maximum in flight.

    Everything but threshold and annotations is as shipped. Raises SettingError.
    """
    base = bases("cv")
    spec = base.lag["spec"]
    load = Workload(
        service_rate=float(rate),
        latency_target_s=latency_s,
        min_replicas=spec["minReplicaCount"],
        max_replicas=spec["maxReplicaCount"],
    )
    threshold = lag_threshold(float(rate), latency_s, max_in_flight=hold)
    text = by_lag(base, load, threshold.value)
    parse(text)
    return text, threshold
