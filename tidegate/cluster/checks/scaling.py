"""Checks that KEDA scales: its ScaledObjects, their HPAs, and its answers to these.

Workers that degrade under a backlog have to be scaled by demand, not by the backlog.
"""

from __future__ import annotations

from services.scaler.live import metadata
from services.scaler.live.metadata import DemandQuery
from shared.runtime.errors import SettingError
from tidegate.cluster.checks.base import remedy_of
from tidegate.cluster.kubectl import Document, NoAnswer
from tidegate.cluster.state import Cluster, condition, template
from tidegate.view.findings import Finding
from tidegate.view.words import counted

# Variables of degrading workers.
SETTINGS = ("_LATENCY_TARGET_S", "_LATENCY_TARGET")
HOW = "docs/explanation/elastic-quality.md"
PAUSED = "autoscaling.keda.sh/paused"
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
    if not cluster.of("ScaledObject"):
        return [
            Finding("ScaledObjects", "bad", "none: nothing scales", "apply an overlay of deploy/kubernetes/overlays")
        ]
    return [_scaled(cluster, name, d) for name, d in sorted(cluster.of("ScaledObject").items())]


def _scaled(cluster: Cluster, name: str, document: Document) -> Finding:
    what = f"ScaledObject {name}"
    target = (document["spec"].get("scaleTargetRef") or {}).get("name")
    if target not in {**cluster.of("Deployment"), **cluster.of("StatefulSet")}:
        return Finding(what, "bad", f"scales {target}, which is not there", "apply the overlay again")
    ready = condition(document, "Ready")
    describe = f"kubectl -n {cluster.namespace} describe scaledobject {name}"
    if ready.get("status") != "True":
        found = f"Ready is {ready.get('status', 'not said')}: {ready.get('reason', 'KEDA has not looked at it yet')}"
        message = f"; {ready['message']}" if ready.get("message") else ""
        remedy = f"{describe}; a trigger that does not answer is mended by itself once it does: docs/how-to/scale.md"
        return Finding(what, "bad", found + message, remedy)
    paused = [key for key in document["metadata"].get("annotations") or {} if key.startswith(PAUSED)]
    if paused or condition(document, "Paused").get("status") == "True":
        remedy = f"kubectl -n {cluster.namespace} annotate scaledobject {name} {(paused or [PAUSED])[0]}-"
        return Finding(what, "note", "paused: KEDA leaves its replicas as they are", remedy)
    if condition(document, "Fallback").get("status") == "True":
        return Finding(what, "bad", "a trigger does not answer, and KEDA takes its fallback", describe)
    bounds = f"{document['spec'].get('minReplicaCount', 0)} to {document['spec'].get('maxReplicaCount', 100)} replicas"
    active = "active" if condition(document, "Active").get("status") == "True" else "nothing to do"
    return Finding(what, "ok", f"{bounds}, {active}")


def hpas(cluster: Cluster) -> list[Finding]:
    """Check that each HPA has a metric for every trigger: KEDA omits a trigger that did not answer at its creation."""
    found = []
    for name, document in sorted(cluster.of("ScaledObject").items()):
        if condition(document, "Ready").get("status"):
            found.append(_hpa(cluster, name, document))
    return found


def _hpa(cluster: Cluster, name: str, document: Document) -> Finding:
    hpa_name = (document.get("status") or {}).get("hpaName") or f"keda-hpa-{name}"
    what = f"HPA {hpa_name}"
    again = f"kubectl -n {cluster.namespace} delete hpa {hpa_name}: KEDA makes it anew within seconds"
    hpa = cluster.of("HorizontalPodAutoscaler").get(hpa_name)
    if hpa is None:
        return Finding(what, "bad", "not there", f"kubectl -n {cluster.namespace} describe scaledobject {name}")
    if lost := _without(document, hpa):
        return Finding(what, "bad", f"does not ask for {', '.join(lost)}", again)
    active = condition(hpa, "ScalingActive")
    if active.get("status") == "False" and active.get("reason") != IDLE:
        found = f"{active.get('reason')}: {active.get('message', '')}"
        return Finding(what, "bad", found, "the lines of its metrics below say which; then docs/how-to/scale.md")
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


def answers(cluster: Cluster) -> list[Finding]:
    """Return KEDA's answers to the queries of each HPA, every 15 seconds."""
    found = []
    for name in sorted(cluster.of("ScaledObject")):
        of = {e.metric: e.value for e in cluster.values if e.scaled == name}
        lost = {metric: why for metric, why in of.items() if isinstance(why, NoAnswer)}
        found += [Finding(f"metric {metric} of {name}", "bad", str(why), ASK_KEDA) for metric, why in lost.items()]
        if of and not lost:
            found.append(Finding(f"metrics of {name}", "ok", ", ".join(f"{m} {v}" for m, v in of.items())))
    return found


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
    wanted = [query.settings.latency_target_s for query in _demand_queries(scaled)]
    if not wanted:
        text = f"{variable} is {value:g}, and the pending count alone scales it: fewer frames keep that low"
        remedy = f"apply the overlay's form /demand, or remove {variable}: {HOW}"
        return Finding(what, "bad", text, remedy)
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


def _demand_queries(scaled: Document) -> list[DemandQuery]:
    """Return the queries of its triggers to Tidegate's scaler."""
    found = []
    for trigger in scaled["spec"].get("triggers") or []:
        fields = trigger.get("metadata") or {}
        try:
            if trigger.get("type") == "metrics-api":
                found.append(metadata.parse_url(fields.get("url", "")))
            elif str(trigger.get("type")).startswith("external"):
                found.append(metadata.parse(fields))
        except SettingError:
            continue
    return [query for query in found if isinstance(query, DemandQuery)]
