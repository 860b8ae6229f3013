"""Faults of a cluster, each with its line and remedy in the check."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tests.support.kube.checked_cluster import (
    NS,
    alone,
    change,
    down,
    drop,
    metrics_of,
    no_nats,
    nodes,
    servers,
    several,
    streams,
    unschedulable,
    waits,
    without_consumer,
)
from tests.support.kube.deploy_manifests import VERSION
from tests.support.kube.kube_api import Document, KubeApi
from tests.support.kube.kube_controllers import EXTERNAL, GPU, set_condition

SETUP_JOB = f"tidegate-setup-{VERSION.replace('.', '-')}"


def no_answer(metric: str) -> Callable[[KubeApi], None]:
    def act(api: KubeApi) -> None:
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NS}/{metric}"
        assert path in api.pages
        api.pages[path] = "rpc error: code = Unknown desc = error when getting metric values"

    return act


def policy(name: str, act: Callable[[Document], None]) -> Callable[[KubeApi], None]:
    return change("NetworkPolicy", name, lambda d: act(d["spec"]))


class Fault(NamedTuple):
    """line: the name of the check. says, remedy: substrings of its texts."""

    line: str
    level: str
    act: Callable[[KubeApi], None]
    says: str
    remedy: str


def lists(kind: str) -> Callable[[KubeApi], None]:
    return lambda api: api.refuses.add(kind)


def old(api: KubeApi) -> None:
    api.version = "v1.28.9"


def no_keda(api: KubeApi) -> None:
    api.lacks |= {"ScaledObject", "TriggerAuthentication"}
    api.drop("CustomResourceDefinition", "scaledobjects.keda.sh")


def elsewhere(api: KubeApi) -> None:
    operator = api.get("Deployment", "keda-operator", "keda")
    api.drop("Deployment", "keda-operator", "keda")
    operator["metadata"]["namespace"] = "autoscaling"
    api.put(operator)


def no_tolerance(definition: Document) -> None:
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    config = spec["advanced"]["properties"]["horizontalPodAutoscalerConfig"]["properties"]
    del config["behavior"]["properties"]["scaleUp"]["properties"]["tolerance"]


def failed_job(api: KubeApi) -> None:
    job = api.get("Job", SETUP_JOB)
    job["status"] = {}
    set_condition(job, "Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def no_pods(api: KubeApi) -> None:
    api.get("Deployment", "tidegate-scaler")["status"]["readyReplicas"] = 0
    for number in range(2):
        api.drop("Pod", f"tidegate-scaler-{number}")


def other_target(scaled: Document) -> None:
    asks = scaled["spec"]["triggers"][0]["metadata"]
    asks["url"] = asks["url"].replace("latencyTarget=2", "latencyTarget=5")


def pending_claim(api: KubeApi) -> None:
    api.get("PersistentVolumeClaim", "index-tidegate-search-0")["status"]["phase"] = "Pending"


CV, HPA = "tidegate-cv", "keda-hpa-tidegate-cv"
# The line of the sound cluster, if it is another.
WELL = {
    "objects": "network",
    "secrets": "Secrets",
    "Secret tidegate-nats-cv": "Secrets",
    "ConfigMap nats": "Secrets",
    "volume index-tidegate-search-0": "volumes",
    "ScaledObjects": f"ScaledObject {CV}",
    f"metric s0-metric-api-demand of {CV}": f"metrics of {CV}",
    f"image tidegate:{VERSION}": "images",
    f"trigger 0 of {CV}": f"triggers of {CV}",
    f"trigger 1 of {CV}": f"triggers of {CV}",
    "TriggerAuthentication tidegate-nats": "TriggerAuthentications",
    "KEDA's copy of tidegate-nats": "TriggerAuthentications",
}


def kind_of(line: str) -> str:
    """Count the lines of several objects once."""
    return re.sub(r"\b(keda-hpa-)?tidegate-.*|^nats$", "NAME", line)


FAULTS = (
    Fault("objects", "bad", lists("Pod"), 'cannot list resource "pods"', "may see"),
    Fault("KEDA's definitions", "bad", lists("CustomResourceDefinition"), "cannot list", "may see"),
    Fault("ScaledObjects", "bad", lists("ScaledObject"), "cannot list", "may see"),
    Fault("secrets", "note", lists("Secret"), 'cannot list resource "secrets"', "may see"),
    Fault("Kubernetes", "bad", old, "v1.28.9", "1.29"),
    Fault("KEDA's definitions", "bad", no_keda, "not found", "helm install keda"),
    Fault(
        "KEDA's definitions",
        "bad",
        change("CustomResourceDefinition", "scaledobjects.keda.sh", no_tolerance),
        "scaleUp.tolerance",
        "2.18",
    ),
    Fault("KEDA's operator", "bad", lambda api: api.drop("Deployment", "keda-operator", "keda"), "nowhere", "helm"),
    Fault("KEDA's operator", "bad", elsewhere, "namespace autoscaling", "policies nats and tidegate-scaler"),
    Fault(
        "KEDA's operator",
        "bad",
        change("Deployment", "keda-operator", lambda d: d["status"].update(readyReplicas=0)),
        "0 of 1 ready",
        "logs deployment/keda-operator",
    ),
    Fault("external metrics", "bad", drop("APIService", EXTERNAL), "no APIService", "install KEDA"),
    Fault(
        "external metrics",
        "bad",
        change("APIService", EXTERNAL, lambda d: d["spec"]["service"].update(name="datadog", namespace="dd")),
        "dd/datadog serves them",
        "take the other adapter's away",
    ),
    Fault(
        "external metrics",
        "bad",
        change(
            "APIService", EXTERNAL, lambda d: set_condition(d, "Available", "False", "MissingEndpoints", "no endpoints")
        ),
        "no endpoints",
        "kubectl -n keda get pods",
    ),
    Fault("overlay", "bad", drop("Deployment", "tidegate-analytics"), "Deployment tidegate-analytics", "kubectl apply"),
    Fault(
        "Secret tidegate-nats-cv",
        "bad",
        drop("Secret", "tidegate-nats-cv"),
        "tidegate-cv waits for it",
        "tidegate cluster init",
    ),
    Fault("ConfigMap nats", "bad", drop("ConfigMap", "nats"), "nats waits for it", "apply the overlay"),
    Fault("NATS memory", "bad", servers(max_pending=64 * 2**20), "nats-0 has 1.8 GB", "max_pending to 16MB"),
    Fault("NATS memory", "note", servers(gomemlimit=None), "nats-1 has no GOMEMLIMIT", "nine tenths"),
    Fault("volume index-tidegate-search-0", "bad", pending_claim, "Pending", "StorageClass"),
    Fault(
        "setup",
        "bad",
        change("Job", SETUP_JOB, lambda d: d["status"].update(conditions=[])),
        "has not ended",
        f"logs job/{SETUP_JOB}",
    ),
    Fault(
        "setup",
        "bad",
        failed_job,
        "backoff limit",
        "kubectl delete job",
    ),
    Fault("setup", "note", drop("Job", SETUP_JOB), "no Job", "apply the overlay"),
    Fault("NATS", "note", down("nats-0"), "2 of 3 servers ready", "get pods"),
    Fault("NATS", "bad", several(down("nats-0"), down("nats-1")), "1 of 3 servers ready", "describe pods"),
    Fault("NATS", "bad", drop("Service", "nats"), "no Service nats", "component kubernetes/nats"),
    Fault("streams", "bad", streams(without_consumer), "consumer cv of MEDIA", "delete job"),
    Fault("streams", "bad", streams(lambda found: found.clear()), "stream MEDIA", "delete job"),
    Fault("streams", "note", streams(alone), "on one server alone", "STREAM_REPLICAS=3"),
    Fault("streams", "note", no_nats, "i/o timeout", "port-forward"),
    Fault("ScaledObjects", "bad", no_keda, "doesn't have a resource type", "install KEDA"),
    Fault(
        "ScaledObjects",
        "bad",
        lambda api: [api.drop("ScaledObject", d["metadata"]["name"]) for d in api.all("ScaledObject")] and None,
        "nothing scales",
        "overlay",
    ),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change(
            "ScaledObject", CV, lambda d: set_condition(d, "Ready", "False", "ScaledObjectCheckFailed", "no such host")
        ),
        "no such host",
        "describe scaledobject",
    ),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: d.pop("status")),
        "has not looked at it yet",
        "describe scaledobject",
    ),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: set_condition(d, "Fallback", "True", "FallbackExists")),
        "fallback",
        "describe scaledobject",
    ),
    Fault(
        f"ScaledObject {CV}",
        "note",
        change(
            "ScaledObject", CV, lambda d: d["metadata"].update(annotations={"autoscaling.keda.sh/paused-replicas": "0"})
        ),
        "paused",
        "annotate scaledobject tidegate-cv autoscaling.keda.sh/paused-replicas-",
    ),
    Fault(
        f"quality of {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: d["spec"]["triggers"].pop(0)),
        "CV_LATENCY_TARGET_S is 2, and the pending count alone scales it",
        "form /demand",
    ),
    Fault(
        f"quality of {CV}",
        "note",
        change("ScaledObject", CV, other_target),
        "asks for latencyTarget=5",
        "give both the same",
    ),
    Fault(f"ScaledObject {CV}", "bad", drop("Deployment", CV), "scales tidegate-cv, which is not there", "apply"),
    Fault(
        f"HPA {HPA}",
        "bad",
        change("HorizontalPodAutoscaler", HPA, metrics_of(1)),
        "does not ask for trigger 0 (metrics-api)",
        f"delete hpa {HPA}",
    ),
    Fault(
        f"HPA {HPA}",
        "bad",
        change("HorizontalPodAutoscaler", HPA, metrics_of(0)),
        "trigger 1 (nats-jetstream)",
        "delete hpa",
    ),
    Fault(f"HPA {HPA}", "bad", drop("HorizontalPodAutoscaler", HPA), "not there", "describe scaledobject"),
    Fault(
        f"HPA {HPA}",
        "bad",
        change(
            "HorizontalPodAutoscaler",
            HPA,
            lambda d: set_condition(d, "ScalingActive", "False", "FailedGetExternalMetric", "unable to get it"),
        ),
        "FailedGetExternalMetric: unable to get it",
        "describe hpa",
    ),
    Fault(
        f"metric s0-metric-api-demand of {CV}",
        "bad",
        no_answer("s0-metric-api-demand"),
        "error when getting",
        "keda logs",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "bad",
        nodes(lambda n: n["metadata"]["labels"].update({"nvidia.com/gpu.product": "NVIDIA-L4"})),
        "nodes have NVIDIA-L4",
        "overlay of your GPU",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "bad",
        nodes(lambda n: n["spec"]["taints"].append({"key": "team", "value": "b", "effect": "NoSchedule"})),
        "no node fits",
        "taints",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "bad",
        nodes(lambda n: n["status"]["allocatable"].pop(GPU)),
        "offers no nvidia.com/gpu",
        "device plugin",
    ),
    Fault(
        "GPUs for tidegate-cv",
        "note",
        lambda api: [api.drop("Node", n["metadata"]["name"]) for n in api.all("Node")] and None,
        "no node offers",
        "autoscaler of nodes",
    ),
    Fault(
        f"image tidegate:{VERSION}",
        "bad",
        waits(CV, "ImagePullBackOff", "pull access denied"),
        "pull access denied",
        "overlay's images",
    ),
    Fault(
        "images",
        "note",
        change(
            "Deployment",
            "tidegate-scaler",
            lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="r.example.org/tidegate-small:0.1.0"),
        ),
        f"0.1.0, {VERSION}",
        "one tag",
    ),
    Fault(CV, "bad", unschedulable, "Insufficient nvidia.com/gpu", "add a node"),
    Fault(
        CV,
        "bad",
        waits(CV, "CreateContainerConfigError", 'secret "tidegate-nats-cv" not found'),
        'secret "tidegate-nats-cv" not found',
        "describe pod tidegate-cv-0",
    ),
    Fault(
        CV,
        "bad",
        waits(CV, "CrashLoopBackOff", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
        "137 (OOMKilled)",
        "--previous",
    ),
    Fault(
        CV,
        "bad",
        change("Deployment", CV, lambda d: d["status"].update(readyReplicas=0)),
        "its pods start, or wait",
        "logs deployment/tidegate-cv",
    ),
    Fault(
        "tidegate-scaler",
        "bad",
        no_pods,
        "it has no pod",
        "quota",
    ),
    Fault(
        "network",
        "bad",
        lambda api: [api.drop("NetworkPolicy", d["metadata"]["name"]) for d in api.all("NetworkPolicy")] and None,
        "any pod of the cluster may ask",
        "apply the overlay",
    ),
    Fault(
        "network",
        "bad",
        drop("NetworkPolicy", "tidegate-scaler"),
        "closed by policies: KEDA to the scaler",
        "apply the overlay",
    ),
    Fault(
        "network",
        "bad",
        policy("nats", lambda spec: spec["ingress"].append({"ports": [{"port": 8222}]})),
        "any pod of default to NATS' monitoring port",
        "what patches its policies",
    ),
    Fault(
        "network",
        "bad",
        policy("tidegate", lambda spec: spec.update(egress=[])),
        "tidegate-cv to NATS",
        "apply the overlay",
    ),
)
