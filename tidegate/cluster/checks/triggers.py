"""What each trigger asks for: a mistake in one leaves KEDA with a status code, and the scaler with the sentence."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.cluster import triggers
from tidegate.cluster.checks.base import HOME as KEDA
from tidegate.cluster.checks.streams import STREAMS, existing_consumers
from tidegate.cluster.kubectl import Document
from tidegate.cluster.state import Cluster, changed, labels
from tidegate.cluster.triggers import Trigger
from tidegate.view.findings import Finding
from tidegate.view.words import counted

LOST = "which NATS does not have"


def requests(cluster: Cluster) -> list[Finding]:
    """Return a line for each trigger with a mistake, or one for a ScaledObject without."""
    found = []
    for name, scaled in sorted(cluster.of("ScaledObject").items()):
        each = triggers.of(scaled)
        problems = [(trigger, problem) for trigger in each for problem in _problems(cluster, scaled, trigger)]
        remedy = f"correct the overlay's patch of ScaledObject {name}, and apply the overlay"
        for trigger, problem in problems:
            causes = (STREAMS,) if problem.endswith(LOST) else ()
            found.append(Finding(trigger.name, "bad", problem, remedy, causes))
        if each and not problems:
            found.append(Finding(f"triggers of {name}", "ok", counted(len(each), "trigger")))
    return found


def authentications(cluster: Cluster) -> list[Finding]:
    """Find missing TriggerAuthentications of triggers, and missing ConfigMaps and Secrets behind them."""
    if "ScaledObjects" in cluster.unknown or "objects" in cluster.unknown:
        return []
    users: dict[str, set[str]] = {}
    for name, scaled in cluster.of("ScaledObject").items():
        for trigger in triggers.of(scaled):
            if trigger.authentication:
                users.setdefault(trigger.authentication, set()).add(name)
    found = []
    for name, names in sorted(users.items()):
        document = cluster.of("TriggerAuthentication").get(name)
        lost = _lost(cluster, document) if document else "not there"
        if lost:
            remedy = "apply the overlay again"
            line = f"{lost}: KEDA asks nothing for {', '.join(sorted(names))} without it"
            found.append(Finding(f"TriggerAuthentication {name}", "bad", line, remedy))
    return found or ([Finding("TriggerAuthentications", "ok", ", ".join(sorted(users)))] if users else [])


def copies(cluster: Cluster) -> list[Finding]:
    """Find ConfigMaps that changed since KEDA read them through a TriggerAuthentication.

    KEDA reads one again where a trigger fails, its ScaledObject's spec changes, or the operator starts.
    """
    running = [_started(pod) for pod in cluster.keda_pods]
    start = max(running, default="")
    stale: dict[str, set[str]] = {}
    for name, scaled in cluster.of("ScaledObject").items() if start else ():
        read = max(start, changed(scaled, "f:spec"))
        for trigger in triggers.of(scaled):
            authentication = cluster.of("TriggerAuthentication").get(trigger.authentication, {})
            for source in (authentication.get("spec") or {}).get("configMapTargetRef") or []:
                config = str(source.get("name"))
                if changed(cluster.of("ConfigMap").get(config, {}), "f:data") > read:
                    stale.setdefault(config, set()).add(name)
    return [
        Finding(
            f"KEDA's copy of {config}",
            "note",
            f"changed since KEDA read it for {', '.join(sorted(names))}: KEDA uses the old values while these answer",
            f"kubectl -n {KEDA} rollout restart deployment/keda-operator",
        )
        for config, names in sorted(stale.items())
    ]


def _started(pod: Document) -> str:
    states = [c.get("state") or {} for c in (pod.get("status") or {}).get("containerStatuses") or []]
    return max((str((s.get("running") or {}).get("startedAt") or "") for s in states), default="")


def _lost(cluster: Cluster, authentication: Document) -> str:
    """Return what it reads and the cluster lacks; empty if all is there. Only names of Secrets are known."""
    spec = authentication.get("spec") or {}
    for source in spec.get("configMapTargetRef") or []:
        data = cluster.of("ConfigMap").get(source.get("name"), {}).get("data")
        if data is None or source.get("key") not in data:
            return f"ConfigMap {source.get('name')} has no {source.get('key')}"
    for source in spec.get("secretTargetRef") or []:
        if "secrets" not in cluster.unknown and source.get("name") not in cluster.secrets:
            return f"there is no Secret {source.get('name')}"
    return ""


def _problems(cluster: Cluster, scaled: Document, trigger: Trigger) -> Iterator[str]:
    yield from triggers.mistakes(trigger)
    if triggers.asks_scaler(trigger) and (problem := _unreachable(cluster, trigger)):
        yield problem
    target = str(((scaled.get("spec") or {}).get("scaleTargetRef") or {}).get("name"))
    workload = cluster.of("Deployment").get(target) or cluster.of("StatefulSet").get(target) or {}
    service = labels(workload).get("app.kubernetes.io/component", "")
    if labels(workload).get("app.kubernetes.io/name") == "tidegate" and (other := triggers.foreign(trigger, service)):
        yield f"it asks for {other}, and scales {target}"
        return
    there = existing_consumers(cluster)
    for stream, consumer in triggers.work(trigger) if there else ():
        if (stream, consumer) not in there:
            yield f"it counts consumer {consumer} of stream {stream}, {LOST}"


def _unreachable(cluster: Cluster, trigger: Trigger) -> str:
    """Return why the address leads to no Service of the cluster; empty where it does, or leads out of it."""
    host, port = triggers.address(trigger)
    if not host:
        return "its address can't be read"
    service, _, home = host.partition(".")
    namespace, _, rest = home.partition(".")
    if "objects" in cluster.unknown or (rest and rest.split(".")[0] != "svc"):
        return ""
    if not home:
        return f"{host} has no namespace, and KEDA looks in its own: write {service}.{cluster.namespace}.svc"
    if namespace != cluster.namespace:
        unknown = "cluster" not in cluster.unknown and namespace not in cluster.of("Namespace")
        return f"there is no namespace {namespace} for {host}" if unknown else ""
    document = cluster.of("Service").get(service)
    if document is None:
        return f"there is no Service {service} in {namespace}"
    ports = {p.get("name") or "": int(p["port"]) for p in (document.get("spec") or {}).get("ports") or []}
    wanted = ports.get("http" if trigger.kind == triggers.METRICS_API else "grpc", 0)
    if wanted and port != wanted:
        return f"it asks port {port or 'of none'} of {service}, and its page is on {wanted}"
    return ""
