"""A ScaledObject that scales by the lag of a queue: the ScaledObject of a latency target for it, and a table. Pure.

Example:
    proposal = convert(document, "scaledobject.yaml", base, load)
    proposal.text                      # a manifest for `kubectl apply`
    simulate(proposal.foreign, trace, load).replica_hours

Both `nats-jetstream` and `kafka` triggers ask for ceil(lag / lagThreshold) replicas: the first stands for the second.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
import yaml

from shared.runtime.errors import SettingError
from tidegate.audit.candidates import Bases, Candidate, demand
from tidegate.importing.report import APPROXIMATED, DEFAULT, MAPPED, NONE, Report
from tidegate.importing.source import MOST_BYTES, read
from tidegate.keda.scaledobject import JETSTREAM, parse
from tidegate.simulation.engine import Workload

KAFKA = "kafka"
_LAG = re.compile(r"[1-9]\d{0,11}")
# Stand-ins: a simulation reads no server.
_STREAM = {"stream": "MEDIA", "consumer": "cv", "account": "tidegate", "natsServerMonitoringEndpoint": "localhost:8222"}
_ROWS: dict[tuple[str, ...], tuple[str, str]] = {
    ("apiVersion",): (MAPPED, "apiVersion"),
    ("kind",): (MAPPED, "kind"),
    ("metadata",): (NONE, "the proposal has the name of Tidegate's service: KEDA takes one a Deployment"),
    ("spec", "minReplicaCount"): (MAPPED, "minReplicaCount"),
    ("spec", "maxReplicaCount"): (MAPPED, "maxReplicaCount"),
    ("spec", "scaleTargetRef"): (NONE, "the proposal scales the Deployment of Tidegate's service"),
    ("spec", "pollingInterval"): (APPROXIMATED, "2 s, as shipped: an empty pool waits for it"),
    ("spec", "cooldownPeriod"): (APPROXIMATED, "30 s, as shipped: the scaler stays active by itself"),
    ("spec", "idleReplicaCount"): (NONE, "minReplicaCount: 0 scales to zero"),
    ("spec", "fallback"): (NONE, "a fallback trigger by lag scales while the scaler is away"),
    ("spec", "advanced"): (NONE, "the scaler steadies its demand itself, so the HPA has no window of its own"),
    ("spec", "triggers"): (NONE, "Tidegate's stream MEDIA, and the consumer of the service"),
}
_LAG_TEXT = "the threshold of the fallback trigger, by service rate and latency target; demand scales first"


class Proposal(NamedTuple):
    """text: the ScaledObject. foreign: the input, for a simulation of its policy. ours: the proposal for one."""

    text: str
    foreign: Candidate
    ours: Candidate
    report: Report


def only_document(text: bytes, where: str) -> dict[str, Any]:
    """Return the one ScaledObject of a file. Raises SettingError."""
    if len(text) > MOST_BYTES:
        raise SettingError(f"{where} has {len(text)} bytes, and {MOST_BYTES} are the most: split it")
    parts = [part for part in re.split(rb"(?m)^---", text) if re.search(rb"ScaledObject", part)]
    found = [one for part in parts[:100] if (one := read(part, where)).get("kind") == "ScaledObject"]
    if len(found) != 1:
        raise SettingError(f"{where} holds {len(found)} documents of kind ScaledObject: it needs exactly one")
    return found[0]


def convert(document: dict[str, Any], where: str, base: Bases, load: Workload) -> Proposal:
    """Return the proposal. Raises SettingError if no trigger scales by lag, or a field of the spec is not modelled."""
    spec = document.get("spec")
    triggers = spec.get("triggers") if isinstance(spec, dict) else None
    lags = [i for i, one in enumerate(triggers if isinstance(triggers, list) else []) if _is_lag(one)]
    if not isinstance(spec, dict) or not isinstance(triggers, list) or len(lags) != 1:
        raise SettingError(
            f"{where} has {len(lags)} triggers of {JETSTREAM} or {KAFKA}: give one with exactly one of them"
        )
    report = Report(document)
    foreign = _foreign(document, spec, triggers[lags[0]], where)
    scaled = parse(foreign.text, where)
    bounds = msgspec.structs.replace(
        load, min_replicas=scaled.spec.min_replica_count, max_replicas=scaled.spec.max_replica_count
    )
    family = demand(base, bounds)
    ours = family.at(bounds.min_replicas)
    _state(report, triggers, lags[0])
    return Proposal(ours.text, foreign, ours, report)


def _is_lag(trigger: Any) -> bool:
    return isinstance(trigger, dict) and trigger.get("type") in (JETSTREAM, KAFKA)


def _foreign(document: dict[str, Any], spec: dict[str, Any], trigger: dict[str, Any], where: str) -> Candidate:
    """Return the policy of the input, with Tidegate's stream in place of its queue."""
    metadata = trigger.get("metadata")
    threshold = metadata.get("lagThreshold", "10") if isinstance(metadata, dict) else "10"
    if not _LAG.fullmatch(str(threshold)):
        raise SettingError(f"{where}: lagThreshold is no whole number over 0")
    one = {"type": JETSTREAM, "metadata": {**_STREAM, "lagThreshold": str(threshold)}}
    fields = ("pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount", "advanced")
    own = {field: spec[field] for field in fields if field in spec}
    text = yaml.safe_dump(
        {
            "apiVersion": document.get("apiVersion"),
            "kind": "ScaledObject",
            "metadata": {"name": "input"},
            "spec": {"scaleTargetRef": {"name": "input"}, **own, "triggers": [one]},
        }
    )
    return Candidate(name="input", settings=f"lagThreshold {threshold}", text=text)


def _state(report: Report, triggers: list[Any], lag: int) -> None:
    for i, trigger in enumerate(triggers):
        at = ("spec", "triggers", i)
        if i != lag:
            report.note(at, NONE, "demand, computed from arrivals, scales; lag is its fallback")
            continue
        report.note((*at, "type"), MAPPED if trigger.get("type") == JETSTREAM else APPROXIMATED, JETSTREAM)
        report.note((*at, "metadata", "lagThreshold"), APPROXIMATED, _LAG_TEXT)
        report.note(
            (*at, "metadata", "activationLagThreshold"), APPROXIMATED, "0: any waiting message starts a replica"
        )
    for pattern, (status, text) in _ROWS.items():
        report.rest(pattern, status, text)
    report.rest(("status",), DEFAULT, "the cluster writes it")
    report.rest((), NONE, "not in the proposal")
