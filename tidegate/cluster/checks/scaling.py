"""Checks that KEDA scales: its ScaledObjects, their HPAs, and its answers to these.

Workers that degrade under a backlog have to be scaled by demand, not by the backlog.
"""

from __future__ import annotations

from tidegate.cluster import triggers
from tidegate.cluster.checks.base import METRICS, OPERATOR, remedy_of
from tidegate.cluster.kubectl import Document, NoAnswer
from tidegate.cluster.state import Cluster, Value, condition, template
from tidegate.cluster.triggers import SCALER, Trigger
from tidegate.view.findings import Finding
from tidegate.view.words import counted

# Variables of degrading workers.
SETTINGS = ("_LATENCY_TARGET_S", "_LATENCY_TARGET")
HOW = "docs/explanation/elastic-quality.md"
PAUSED = "autoscaling.keda.sh/paused"
PAUSED_AT = f"{PAUSED}-replicas"
# The HPA's reason while there is no pod to count: KEDA starts the first.
IDLE = "ScalingDisabled"
ASK_KEDA = (
    "kubectl -n keda logs deployment/keda-operator says why; is what the trigger asks there, and may KEDA reach it?"
)


def scaled(cluster: Cluster) -> list[Finding]:
    """Check that KEDA accepts each ScaledObject, and all of its triggers answer."""
    if why := cluster.unknown.get("ScaledObjects"):
        remedy = remedy_of(why, "install KEDA, then apply the overlay")
        return [Finding("ScaledObjects", "bad", why, remedy)]
    if "objects" in cluster.unknown:
        return []
    if not cluster.of("ScaledObject"):
        return [
            Finding("ScaledObjects", "bad", "none: nothing scales", "apply an overlay of deploy/kubernetes/overlays")
        ]
    return [_scaled(cluster, name, d) for name, d in sorted(cluster.of("ScaledObject").items())]


def _scaled(cluster: Cluster, name: str, document: Document) -> Finding:
    what = f"ScaledObject {name}"
    target = (document["spec"].get("scaleTargetRef") or {}).get("name")
    workload = {**cluster.of("Deployment"), **cluster.of("StatefulSet")}.get(str(target))
    if workload is None:
        return Finding(what, "bad", f"scales {target}, which is not there", "apply the overlay again")
    if paused := _paused(document):
        return _pause(cluster, name, document, paused)
    describe = f"kubectl -n {cluster.namespace} describe scaledobject {name}"
    causes = _causes(document, [value.metric for value in _failures(cluster, name)])
    ready = condition(document, "Ready")
    if ready.get("status") != "True":
        found = f"Ready is {ready.get('status', 'not said')}: {ready.get('reason', 'KEDA has not looked at it yet')}"
        message = f"; {ready['message']}" if ready.get("message") else ""
        replicas = counted(int((workload.get("spec") or {}).get("replicas", 1)), "replica")
        remedy = f"{describe}; a trigger that does not answer is mended by itself once it does: docs/how-to/scale.md"
        return Finding(what, "bad", f"{found}{message}; {target} keeps {replicas} until then", remedy, causes)
    if condition(document, "Fallback").get("status") == "True":
        return Finding(what, "bad", "a trigger does not answer, and KEDA takes its fallback", describe, causes)
    bounds = f"{document['spec'].get('minReplicaCount', 0)} to {document['spec'].get('maxReplicaCount', 100)} replicas"
    active = "active" if condition(document, "Active").get("status") == "True" else "nothing to do"
    return Finding(what, "ok", f"{bounds}, {active}")


def _paused(document: Document) -> list[str]:
    """Return the annotations that pause it. KEDA takes any value but a false one, and any count of replicas."""
    annotations = document["metadata"].get("annotations") or {}
    false = ("0", "f", "F", "false", "False", "FALSE")
    return [k for k, v in annotations.items() if k == PAUSED_AT or (k.startswith(PAUSED) and v not in false)]


def is_stopped(document: Document) -> bool:
    """Return whether it is paused in both directions: KEDA then has no HPA for it, and asks no trigger."""
    return bool({PAUSED, PAUSED_AT} & set(_paused(document)))


def _pause(cluster: Cluster, name: str, document: Document, paused: list[str]) -> Finding:
    if count := (document["metadata"].get("annotations") or {}).get(PAUSED_AT):
        found = f"paused at {count} replicas: nothing scales it"
    elif PAUSED in paused:
        found = "paused: KEDA leaves its replicas as they are"
    else:
        kinds = " and ".join(each.removeprefix(f"{PAUSED}-") for each in paused)
        found = f"paused for {kinds} alone"
    keys = " ".join(f"{key}-" for key in paused)
    remedy = f"to resume: kubectl -n {cluster.namespace} annotate scaledobject {name} {keys}"
    return Finding(f"ScaledObject {name}", "note", found, remedy)


def _causes(document: Document, metrics: list[str], only: Trigger | None = None) -> tuple[str, ...]:
    """Return the lines that can explain why its triggers, or only one, do not answer."""
    name = document["metadata"]["name"]
    found = [OPERATOR]
    for trigger in [only] if only else triggers.of(document):
        found += [f"TriggerAuthentication {trigger.authentication}", trigger.name]
        found += [SCALER] if triggers.asks_scaler(trigger) else ["NATS"] if trigger.kind == triggers.JETSTREAM else []
    return (*found, METRICS, *(f"metric {metric} of {name}" for metric in metrics))


def hpas(cluster: Cluster) -> list[Finding]:
    """Check that each HPA has a metric for every trigger: KEDA omits a trigger that did not answer at its creation."""
    if "objects" in cluster.unknown:
        return []
    found = []
    for name, document in sorted(cluster.of("ScaledObject").items()):
        if condition(document, "Ready").get("status") and not is_stopped(document):
            found.append(_hpa(cluster, name, document))
    return found


def _hpa(cluster: Cluster, name: str, document: Document) -> Finding:
    hpa_name = (document.get("status") or {}).get("hpaName") or f"keda-hpa-{name}"
    what = f"HPA {hpa_name}"
    causes = (*_causes(document, [value.metric for value in _failures(cluster, name)]), f"ScaledObject {name}")
    again = f"kubectl -n {cluster.namespace} delete hpa {hpa_name}: KEDA makes it anew within seconds"
    hpa = cluster.of("HorizontalPodAutoscaler").get(hpa_name)
    if hpa is None:
        remedy = f"kubectl -n {cluster.namespace} describe scaledobject {name}"
        return Finding(what, "bad", "not there", remedy, causes)
    if lost := _without(document, hpa):
        return Finding(what, "bad", f"does not ask for {', '.join(lost)}", again)
    active = condition(hpa, "ScalingActive")
    if active.get("status") == "False" and active.get("reason") != IDLE:
        found = f"{active.get('reason')}: {active.get('message', '')}"
        remedy = f"kubectl -n {cluster.namespace} describe hpa {hpa_name}; then docs/how-to/scale.md"
        return Finding(what, "bad", found, remedy, causes)
    replicas = (hpa.get("status") or {}).get("currentReplicas", 0)
    return Finding(
        what, "ok", f"asks for {counted(len(_external_metrics(hpa)), 'metric')}, and has {counted(replicas, 'replica')}"
    )


def _external_metrics(hpa: Document) -> list[str]:
    metrics = (hpa.get("spec") or {}).get("metrics") or []
    return [str(((m.get("external") or {}).get("metric") or {}).get("name")) for m in metrics if m.get("external")]


def _without(document: Document, hpa: Document) -> list[str]:
    """Return the triggers without a metric in the HPA. A formula combines all into one metric."""
    metrics = _external_metrics(hpa)
    if composite := (document.get("status") or {}).get("compositeScalerName"):
        return [] if composite in metrics else [composite]
    triggers = [(i, str(t.get("type"))) for i, t in enumerate(document["spec"].get("triggers") or [])]
    return [
        f"trigger {i} ({kind})"
        for i, kind in triggers
        if kind not in ("cpu", "memory") and not any(metric.startswith(f"s{i}-") for metric in metrics)
    ]


def _failures(cluster: Cluster, name: str) -> list[Value]:
    return [v for v in cluster.values if v.scaled == name and isinstance(v.value, NoAnswer)]


def answers(cluster: Cluster) -> list[Finding]:
    """Return KEDA's answers to the queries of each HPA, every 15 seconds."""
    found = []
    for name, document in sorted(cluster.of("ScaledObject").items()):
        if is_stopped(document):
            continue
        failures = _failures(cluster, name)
        found += [_failure(cluster, document, failure) for failure in failures]
        of = {each.metric: each.value for each in cluster.values if each.scaled == name}
        if of and not failures:
            found.append(Finding(f"metrics of {name}", "ok", ", ".join(f"{m} {v}" for m, v in of.items())))
    return found


def _failure(cluster: Cluster, document: Document, failure: Value) -> Finding:
    """Describe a metric without a value. KEDA has the code of the scaler's page, and the scaler's log the sentence."""
    trigger = next((t for t in triggers.of(document) if failure.metric.startswith(t.metric)), None)
    remedy = ASK_KEDA
    if trigger and triggers.asks_scaler(trigger):
        remedy = f"kubectl -n {cluster.namespace} logs deployment/{SCALER} has the reason; if not, {ASK_KEDA}"
    what = f"metric {failure.metric} of {failure.scaled}"
    return Finding(what, "bad", str(failure.value), remedy, _causes(document, [], trigger))


def degradation(cluster: Cluster) -> list[Finding]:
    """Return a line for each Deployment with such a setting and a ScaledObject."""
    found = []
    for name, scaled in sorted(cluster.of("ScaledObject").items()):
        target = (scaled["spec"].get("scaleTargetRef") or {}).get("name")
        for variable, value in _settings(cluster.of("Deployment").get(str(target), {})):
            found.append(_judged(name, scaled, variable, value))
    return found


def _judged(name: str, scaled: Document, variable: str, value: float) -> Finding:
    what = f"quality of {name}"
    wanted = [query.settings.latency_target_s for query in triggers.demand(scaled)]
    if not wanted:
        text = f"{variable} is {value:g}, and the pending count alone scales it: fewer frames keep that low"
        remedy = f"apply the overlay's form /demand, or remove {variable}: {HOW}"
        return Finding(what, "bad", text, remedy, tuple(t.name for t in triggers.of(scaled) if triggers.asks_scaler(t)))
    if value not in wanted:
        text = f"{variable} is {value:g}, and its ScaledObject asks for latencyTarget={wanted[0]:g}"
        return Finding(what, "note", text, f"give both the same: {HOW}")
    return Finding(what, "ok", f"fewer frames are looked at where {value:g} s are in danger")


def _settings(deployment: Document) -> list[tuple[str, float]]:
    """Return (variable, seconds) of the enabled settings of its service's container."""
    containers = (template(deployment).get("spec") or {}).get("containers") or [{}]
    values = [(v.get("name", ""), v.get("value") or "0") for v in containers[0].get("env") or []]
    return [(name, _seconds(value)) for name, value in values if name.endswith(SETTINGS) and _seconds(value)]


def _seconds(text: str) -> float:
    """Parse seconds; 0 for an invalid number, which the service itself refuses."""
    try:
        return float(text)
    except ValueError:
        return 0.0
