"""The effects of controllers, kubelets and KEDA on the objects of a page of `kube_api`, once all is well.

Example:
    act(api)        # every Deployment has its pods, the Job has ended, KEDA has made its HPAs and answers
"""

from __future__ import annotations

import copy
import datetime as dt
from typing import Any

from tests.support.kube.kube_api import Document, KubeApi

NAMESPACE = "tidegate"
EXTERNAL = "v1beta1.external.metrics.k8s.io"
GPU = "nvidia.com/gpu"
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC).isoformat().replace("+00:00", "Z")


def act(api: KubeApi, product: str, namespace: str = NAMESPACE) -> None:
    """product: the GPU of nodes, as GPU feature discovery writes it. namespace: of the applied objects."""
    for number in range(3):
        api.put(node(f"gpu-{number}", product))
    for name in ("default", "kube-system", "keda", "monitoring"):
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    install_keda(api)
    for workload in [*api.all("Deployment"), *api.all("StatefulSet")]:
        if workload["metadata"].get("namespace") == namespace:
            roll_out(api, workload)
    for job in api.all("Job"):
        end(job)
    for scaled in api.all("ScaledObject"):
        if scaled["metadata"]["namespace"] == namespace:
            follow(api, scaled)


def condition(kind: str, status: str = "True", reason: str = "AsExpected", message: str = "") -> Document:
    built = {"type": kind, "status": status, "reason": reason, "lastTransitionTime": NOW}
    return built | ({"message": message} if message else {})


def set_condition(document: Document, kind: str, status: str, reason: str = "", message: str = "") -> None:
    status_of = document.setdefault("status", {})
    others = [c for c in status_of.get("conditions", []) if c["type"] != kind]
    status_of["conditions"] = [*others, condition(kind, status, reason or "AsExpected", message)]


def node(name: str, product: str) -> Document:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.present": "true"}
    taint = {"key": GPU, "value": "present", "effect": "NoSchedule"}
    status: Document = {"allocatable": {"cpu": "64", "memory": "256Gi", GPU: "8"}, "conditions": [condition("Ready")]}
    meta = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"taints": [taint]}, "status": status}


def install_keda(api: KubeApi) -> None:
    labels = {"app": "keda-operator", "app.kubernetes.io/name": "keda-operator", "app.kubernetes.io/version": "2.20.2"}
    container = {"name": "keda-operator", "image": "ghcr.io/kedacore/keda:2.20.2"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "keda-operator"}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    meta = {"name": "keda-operator", "namespace": "keda", "labels": labels}
    status = {"replicas": 1, "readyReplicas": 1}
    operator = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec, "status": status}
    api.put(operator)
    api.put(pod(operator, 0))
    api.put(definition())
    service = {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}
    api.put(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": EXTERNAL},
            "spec": {
                "service": service,
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
            "status": {"conditions": [condition("Available", reason="Passed")]},
        }
    )


def definition() -> Document:
    """KEDA's HPA of a ScaledObject, with the fields that the checks read."""

    def of(**properties: Document) -> Document:
        return {"type": "object", "properties": properties}

    plain = {"type": "string"}
    direction = of(tolerance={"type": "number"})
    hpa = of(behavior=of(scaleUp=direction, scaleDown=direction))
    spec = of(fallback=of(behavior=plain), advanced=of(horizontalPodAutoscalerConfig=hpa))
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": of(spec=spec)}}
    names = {"kind": "ScaledObject", "plural": "scaledobjects"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh", "labels": {"app.kubernetes.io/version": "2.20.2"}},
        "spec": {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def roll_out(api: KubeApi, workload: Document) -> None:
    """Its pods, ready. The API server's default is 1 replica."""
    count = workload["spec"].setdefault("replicas", 1)
    workload["status"] = {"replicas": count, "readyReplicas": count, "availableReplicas": count}
    if workload["kind"] == "StatefulSet":
        claim(api, workload)
    for number in range(count):
        api.put(pod(workload, number))


def claim(api: KubeApi, workload: Document) -> None:
    for template in workload["spec"].get("volumeClaimTemplates", []):
        name = f"{template['metadata']['name']}-{workload['metadata']['name']}-0"
        api.put(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": workload["metadata"]["namespace"]},
                "spec": template["spec"],
                "status": {"phase": "Bound"},
            }
        )


def pod(workload: Document, number: int) -> Document:
    template = copy.deepcopy(workload["spec"]["template"])
    name, home = f"{workload['metadata']['name']}-{number}", workload["metadata"]["namespace"]
    for each in workload["spec"].get("volumeClaimTemplates", []):
        source = {"claimName": f"{each['metadata']['name']}-{workload['metadata']['name']}-0"}
        volume = {"name": each["metadata"]["name"], "persistentVolumeClaim": source}
        template["spec"].setdefault("volumes", []).append(volume)
    running = {"running": {"startedAt": NOW}}
    statuses = [
        {"name": c["name"], "image": c["image"], "imageID": "", "restartCount": 0, "ready": True, "state": running}
        for c in template["spec"]["containers"]
    ]
    conditions = [condition("PodScheduled"), condition("Ready")]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": home, "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
        "status": {"phase": "Running", "conditions": conditions, "containerStatuses": statuses},
    }


def end(job: Document) -> None:
    job["status"] = {"succeeded": 1, "conditions": [condition("Complete", reason="CompletionsReached")]}


def follow(api: KubeApi, scaled: Document) -> None:
    """Set the status that KEDA gives a ScaledObject whose triggers all answer."""
    name = scaled["metadata"]["name"]
    metrics = [f"s{n}-{_called(t)}" for n, t in enumerate(scaled["spec"]["triggers"])]
    composite = "composite-metric" if scaled["spec"].get("advanced", {}).get("scalingModifiers") else ""
    scaled["status"] = {"hpaName": f"keda-hpa-{name}", "externalMetricNames": metrics}
    if composite:
        scaled["status"]["compositeScalerName"] = composite
    set_condition(scaled, "Ready", "True", "ScaledObjectReady")
    set_condition(scaled, "Active", "True", "ScalerActive")
    api.put(hpa(scaled, [composite] if composite else metrics))
    for metric in metrics:
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{scaled['metadata']['namespace']}/{metric}"
        api.pages[path] = {"kind": "ExternalMetricValueList", "items": [{"metricName": metric, "value": "1"}]}


def _called(trigger: Document) -> str:
    meta = trigger["metadata"]
    if trigger["type"] == "metrics-api":
        return f"metric-api-{meta['valueLocation']}"
    return f"nats-jetstream-{meta.get('stream', '')}"


def hpa(scaled: Document, metrics: list[str]) -> Document:
    name = scaled["metadata"]["name"]
    selector = {"matchLabels": {"scaledobject.keda.sh/name": name}}
    target = {"type": "AverageValue", "averageValue": "1"}
    requests: list[Any] = [
        {"type": "External", "external": {"metric": {"name": m, "selector": selector}, "target": target}}
        for m in metrics
    ]
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": 1,
        "maxReplicas": scaled["spec"]["maxReplicaCount"],
        "metrics": requests,
    }
    status = {
        "currentReplicas": 1,
        "desiredReplicas": 1,
        "conditions": [condition("AbleToScale"), condition("ScalingActive", reason="ValidMetricFound")],
    }
    meta = {"name": f"keda-hpa-{name}", "namespace": scaled["metadata"]["namespace"]}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": spec,
        "status": status,
    }
