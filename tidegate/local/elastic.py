"""What a ScaledObject by demand means on one machine: its cold start is a process's, and its latency target defended.

scaled = asking(scaled, coldStart=5)
environment("cv", scaled)          # {"CV_LATENCY_TARGET": "2"}
"""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from services.scaler.keda.scaledobject import ExternalTrigger, MetricsApiTrigger, ScaledObject, Trigger
from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery, Query
from shared.runtime.errors import SettingError

# A worker on a CPU is ready after this long; a pod, or a node, takes minutes.
COLD_START_S = 8.0
# Services whose work bends.
BENDING = ("cv", "embed", "vlm")


def asking(scaled: ScaledObject, **keys: float | str) -> ScaledObject:
    """The same, whose triggers ask Tidegate's scaler with other values of these keys."""
    return msgspec.structs.replace(scaled, triggers=tuple(_with(t, keys) for t in scaled.triggers))


def asked(scaled: ScaledObject) -> list[DemandQuery]:
    """What its triggers ask Tidegate's scaler of a service's work."""
    found: list[Query] = []
    for trigger in scaled.triggers:
        try:
            if isinstance(trigger, MetricsApiTrigger):
                found.append(metadata.parse_url(trigger.url))
            elif isinstance(trigger, ExternalTrigger):
                found.append(metadata.parse(trigger.metadata))
        except SettingError:
            continue  # the autoscaler says what is wrong with it
    return [query for query in found if isinstance(query, DemandQuery)]


def environment(service: str, scaled: ScaledObject) -> dict[str, str]:
    """What the workers of a service are told of its latency target: 0 where the pending count alone scales them.

    By the pending count, bending would hide the very backlog that starts replicas.
    """
    if service not in BENDING:
        return {}
    name = setting(service)
    queries = asked(scaled)
    if not queries:
        return {name: "0"}
    return {name: os.environ.get(name) or f"{queries[0].settings.latency_target_s:g}"}


def unused(service: str, scaled: ScaledObject) -> str:
    """A sentence where somebody has set a target that can't be defended; empty otherwise."""
    if service not in BENDING or asked(scaled) or os.environ.get(setting(service), "0") in ("", "0"):
        return ""
    return (
        f"{setting(service)} is not used: {scaled.name} scales by the pending count alone, which fewer frames would "
        "keep low. Give a ScaledObject that scales by demand, such as deploy/keda/demand"
    )


def setting(service: str) -> str:
    """`CV_LATENCY_TARGET`."""
    return f"{service.upper()}_LATENCY_TARGET"


def _with(trigger: Trigger, keys: dict[str, float | str]) -> Trigger:
    given = {key: f"{value:g}" if isinstance(value, float | int) else value for key, value in keys.items()}
    if isinstance(trigger, MetricsApiTrigger):
        parts = urlsplit(trigger.url)
        query = urlencode({**dict(parse_qsl(parts.query)), **given})
        return msgspec.structs.replace(trigger, url=parts._replace(query=query).geturl())
    if isinstance(trigger, ExternalTrigger):
        return msgspec.structs.replace(trigger, metadata={**trigger.metadata, **given})
    return trigger
