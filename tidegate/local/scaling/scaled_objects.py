"""The shipped ScaledObjects, and one by demand adapted to a machine: a process's cold start, and degrading workers.

Example:
    scaled = with_query(scaled_object("cv"), coldStart=5)
    environment("cv", scaled)          # {"CV_LATENCY_TARGET_S": "2"}
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery, Query
from shared.contract import catalog
from shared.contract.catalog import Service
from shared.runtime.errors import SettingError
from shared.runtime.settings import value_of
from tidegate.keda.scaledobject import ExternalTrigger, Limit, MetricsApiTrigger, ScaledObject, Trigger, load

# A worker on a CPU is ready after this long; a pod, or a node, takes minutes.
COLD_START_S = 8.0
# Services with degradable work.
DEGRADABLE = ("cv", "embed", "vlm")


def shipped(name: str) -> Path:
    """Return a file of `deploy/keda`: in the package for a wheel, next to it for a checkout."""
    package = Path(str(resources.files("tidegate")))
    folder = package / "deploy" / "keda"
    return (folder if folder.is_dir() else package.parent / "deploy" / "keda") / name


def scaled_object(service: str, path: str | Path | None = None) -> ScaledObject:
    """Return the ScaledObject of a service: `path`, or the file that the catalog names. Raises SettingError."""
    chosen = Path(path or _named(catalog.find(service)))
    if not chosen.exists():
        raise SettingError(f"{chosen} does not exist: name a ScaledObject with --scaled-object")
    return load(chosen)


def _named(record: Service) -> Path:
    """Return its file: ours are shipped together; your own package contains its own."""
    if not record.scaled_object:
        raise SettingError(f"{record.name} is one replica: the catalog names no ScaledObject for it")
    if record in catalog.SERVICES:
        return shipped(record.scaled_object)
    return Path(str(resources.files(record.module))) / record.scaled_object


def with_query(scaled: ScaledObject, **keys: float | str) -> ScaledObject:
    """Return a copy whose triggers query Tidegate's scaler with other values of these keys."""
    return msgspec.structs.replace(scaled, triggers=tuple(_with(t, keys) for t in scaled.triggers))


def demand_queries(scaled: ScaledObject) -> list[DemandQuery]:
    """Return the queries of its triggers to Tidegate's scaler for a service's work."""
    found: list[Query] = []
    for trigger in scaled.triggers:
        try:
            if isinstance(trigger, MetricsApiTrigger):
                found.append(metadata.parse_url(trigger.url))
            elif isinstance(trigger, ExternalTrigger):
                found.append(metadata.parse(trigger.metadata))
        except SettingError:
            continue  # the autoscaler reports the error
    return [query for query in found if isinstance(query, DemandQuery)]


def environment(service: str, scaled: ScaledObject) -> dict[str, str]:
    """Return the workers' variable for the latency target: 0 if the pending count alone scales them.

    With the pending count, degrading would hide the very backlog that starts replicas.
    """
    if service not in DEGRADABLE:
        return {}
    name = setting(service)
    queries = demand_queries(scaled)
    if not queries:
        return {name: "0"}
    return {name: value_of(name, os.environ) or f"{queries[0].settings.latency_target_s:g}"}


def cores_limit(cores: int, device: str) -> Limit:
    """Return the limit of workers on a CPU. device: the variable that selects their device."""
    return Limit(
        by=f"the {cores} {'core' if cores == 1 else 'cores'} of this machine",
        remedy=f"use fewer cameras, fewer frames a second, a GPU ({device}=cuda), or more cores",
    )


def unused(service: str, scaled: ScaledObject) -> str:
    """Return a sentence if a latency target is set and can't be used; empty otherwise."""
    if service not in DEGRADABLE or demand_queries(scaled) or value_of(setting(service), os.environ) in ("", "0"):
        return ""
    return (
        f"{setting(service)} is not used: {scaled.name} scales by the pending count alone, which fewer frames would "
        "keep low. Give a ScaledObject that scales by demand, such as deploy/keda/demand"
    )


def setting(service: str) -> str:
    """Return `CV_LATENCY_TARGET_S`."""
    return f"{service.upper()}_LATENCY_TARGET_S"


def _with(trigger: Trigger, keys: dict[str, float | str]) -> Trigger:
    parameters = {key: f"{value:g}" if isinstance(value, float | int) else value for key, value in keys.items()}
    if isinstance(trigger, MetricsApiTrigger):
        parts = urlsplit(trigger.url)
        query = urlencode({**dict(parse_qsl(parts.query)), **parameters})
        return msgspec.structs.replace(trigger, url=parts._replace(query=query).geturl())
    if isinstance(trigger, ExternalTrigger):
        return msgspec.structs.replace(trigger, metadata={**trigger.metadata, **parameters})
    return trigger
