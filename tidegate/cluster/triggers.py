"""Triggers of ScaledObjects: whom each asks, for what, and its mistakes by the rules of the scaler and of KEDA.

Example:
    for trigger in triggers.of(scaled_object):
        trigger.name                    # "trigger 0 of tidegate-cv"
        triggers.query(trigger)         # raises SettingError with the scaler's own sentence
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery, Query
from shared.contract import catalog
from shared.runtime.errors import SettingError
from tidegate.cluster.kubectl import Document
from tidegate.keda.scaledobject import JetStreamTrigger, MetricsApiTrigger

SCALER = "tidegate-scaler"
# The number in the scaler's answer that is a count of replicas.
VALUE = "demand"
METRICS_API, JETSTREAM = "metrics-api", "nats-jetstream"
# KEDA ignores a key that it does not know, so a misspelt one leaves the default.
_KEYS = {
    kind: (*(f.encode_name for f in msgspec.structs.fields(model)), "authModes")
    for kind, model in ((METRICS_API, MetricsApiTrigger), (JETSTREAM, JetStreamTrigger))
}
_NEAR = 0.8


class Trigger(NamedTuple):
    """One trigger of a ScaledObject, by the object's name and its position there."""

    scaled: str
    position: int
    kind: str
    metadata: dict[str, str]
    # The TriggerAuthentication that it names; empty for none, and for one of the whole cluster.
    authentication: str

    @property
    def name(self) -> str:
        return f"trigger {self.position} of {self.scaled}"

    @property
    def metric(self) -> str:
        """The beginning of its metric's name."""
        return f"s{self.position}-"


def of(scaled: Document) -> list[Trigger]:
    return [
        Trigger(
            scaled["metadata"]["name"],
            index,
            str(each.get("type")),
            {str(k): str(v) for k, v in (each.get("metadata") or {}).items()},
            _authentication(each.get("authenticationRef") or {}),
        )
        for index, each in enumerate((scaled.get("spec") or {}).get("triggers") or [])
    ]


def _authentication(reference: Document) -> str:
    return "" if reference.get("kind") == "ClusterTriggerAuthentication" else str(reference.get("name") or "")


def address(trigger: Trigger) -> tuple[str, int]:
    """Return the host and port that KEDA asks; port 0 for none, host "" for an unreadable address."""
    text = trigger.metadata.get("url", "")
    if trigger.kind != METRICS_API:
        text = f"//{trigger.metadata.get('scalerAddress', '')}"
    try:
        parts = urlsplit(text)
        return parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0


def asks_scaler(trigger: Trigger) -> bool:
    """Return whether it asks a scaler of Tidegate, by its address, page or keys; one of these may be misspelt."""
    at_home = address(trigger)[0].partition(".")[0] == SCALER
    if trigger.kind == METRICS_API:
        page = trigger.metadata.get("url", "").partition("?")[0]
        return at_home or page.endswith(metadata.PATH)
    # KEDA puts the value of a variable in place of such a key; it is not known here.
    is_complete = not any(key.endswith("FromEnv") for key in trigger.metadata)
    return trigger.kind.startswith("external") and is_complete and (at_home or "service" in trigger.metadata)


def query(trigger: Trigger) -> Query:
    """Return the query of a trigger that asks the scaler. Raises SettingError."""
    if trigger.kind == METRICS_API:
        return metadata.parse_url(trigger.metadata.get("url", ""))
    return metadata.parse(trigger.metadata)


def demand(scaled: Document) -> list[DemandQuery]:
    """Return the readable queries of its triggers for demand."""
    found = []
    for trigger in filter(asks_scaler, of(scaled)):
        try:
            found.append(query(trigger))
        except SettingError:
            continue
    return [each for each in found if isinstance(each, DemandQuery)]


def mistakes(trigger: Trigger) -> Iterator[str]:
    """Yield what KEDA ignores or the scaler refuses, the first cause first."""
    keys = _KEYS.get(trigger.kind, ())
    for key in sorted(trigger.metadata.keys() - set(keys)) if keys else ():
        if near := difflib.get_close_matches(key, keys, n=1, cutoff=_NEAR):
            yield f"KEDA ignores the key {key}: did you mean {near[0]}?"
    if not asks_scaler(trigger):
        return
    try:
        query(trigger)
    except SettingError as e:
        yield str(e)
    location = trigger.metadata.get("valueLocation", VALUE)
    if trigger.kind == METRICS_API and location != VALUE:
        yield f"valueLocation is {location}, and the count of replicas is in {VALUE}"


def foreign(trigger: Trigger, service: str) -> str:
    """Return what it asks for that is another service's; empty if nothing is. service: of the scaled workload."""
    names = {each.name for each in catalog.services()}
    consumers = trigger.metadata.get("consumer", "")
    if asks_scaler(trigger):
        try:
            request = query(trigger)
        except SettingError:
            return ""
        if request.service != service and request.service in names:
            return f"the demand of {request.service}"
        consumers = request.consumer if isinstance(request, DemandQuery) else ""
    elif trigger.kind != JETSTREAM:
        return ""
    for consumer in consumers.split(","):
        owners = {each.name for each in catalog.services() for c in each.consumers if c.name == consumer}
        if owners and service in names and service not in owners:
            return f"consumer {consumer} of {', '.join(sorted(owners))}"
    return ""


def work(trigger: Trigger) -> list[tuple[str, str]]:
    """Return each (stream, consumer) whose messages it counts."""
    if trigger.kind == JETSTREAM:
        return [(trigger.metadata.get("stream", ""), trigger.metadata.get("consumer", ""))]
    if not asks_scaler(trigger):
        return []
    try:
        request = query(trigger)
    except SettingError:
        return []
    if not isinstance(request, DemandQuery):
        return []
    consumers = request.consumer.split(",")
    streams = request.stream.split(",")
    return list(zip(streams if len(streams) > 1 else streams * len(consumers), consumers, strict=True))
