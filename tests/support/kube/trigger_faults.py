"""Faults of ScaledObjects and of what they ask, each with its line and its remedy in the check."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.kube.checked_cluster import NS, change, drop
from tests.support.kube.cluster_faults import CV, HPA, Fault
from tests.support.kube.kube_api import Document, KubeApi
from tests.support.kube.kube_controllers import set_condition

DEMAND = "s0-metric-api-demand"
SCALER = "tidegate-scaler"


def trigger(position: int, act: Callable[[Document], object], name: str = CV) -> Callable[[KubeApi], None]:
    """Change the metadata of a trigger."""

    def metadata(scaled: Document) -> None:
        act(scaled["spec"]["triggers"][position]["metadata"])

    return change("ScaledObject", name, metadata)


def url(part: str, other: str) -> Callable[[KubeApi], None]:
    def act(metadata: Document) -> None:
        assert part in metadata["url"]
        metadata["url"] = metadata["url"].replace(part, other)

    return trigger(0, act)


def without_demand(name: str) -> Callable[[KubeApi], None]:
    """KEDA's and the HPA's report about a ScaledObject whose trigger for demand fails, while others answer."""

    def act(api: KubeApi) -> None:
        scaled = api.get("ScaledObject", name)
        set_condition(scaled, "Ready", "Unknown", "PartialTriggerError", "Some triggers are not working correctly")
        hpa = api.get("HorizontalPodAutoscaler", f"keda-hpa-{name}")
        set_condition(hpa, "ScalingActive", "False", "FailedGetExternalMetric", "unable to get external metric")
        page = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NS}/{DEMAND}"
        api.pages[f"{page}?scaledobject.keda.sh/name={name}"] = "metric:s0-metric-api-demand encountered error"

    return act


def no_scaler(api: KubeApi) -> None:
    """The scaler at 0 replicas, and what follows everywhere."""
    scaler = api.get("Deployment", SCALER)
    scaler["spec"]["replicas"], scaler["status"] = 0, {}
    for number in range(2):
        api.drop("Pod", f"{SCALER}-{number}")
    for scaled in api.all("ScaledObject"):
        without_demand(scaled["metadata"]["name"])(api)


def paused(**annotations: str) -> Callable[[KubeApi], None]:
    """KEDA's doing at a pause of both directions: it deletes the HPA, and has no metric of it."""

    def act(api: KubeApi) -> None:
        scaled = api.get("ScaledObject", CV)
        keys = {f"autoscaling.keda.sh/{key.replace('_', '-')}": value for key, value in annotations.items()}
        scaled["metadata"]["annotations"] |= keys
        set_condition(scaled, "Paused", "True", "ScaledObjectPaused", "ScaledObject is paused")
        if {"paused", "paused_replicas"} & annotations.keys():
            api.drop("HorizontalPodAutoscaler", HPA)
            for metric in scaled["status"]["externalMetricNames"]:
                page = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NS}/{metric}"
                api.pages[f"{page}?scaledobject.keda.sh/name={CV}"] = "no matching metrics found"

    return act


def other_port(api: KubeApi) -> None:
    data = api.get("ConfigMap", "tidegate-nats")["data"]
    data["monitoring"] = data["monitoring"].replace("8222", "8333")


def managed(document: Document, part: str, time: str) -> None:
    entry = {"manager": "kubectl", "operation": "Apply", "time": time, "fieldsV1": {part: {}}}
    document["metadata"]["managedFields"] = [entry]


def later_address(api: KubeApi) -> None:
    """A ConfigMap that changed after the operator's start, and before the change of one ScaledObject."""
    managed(api.get("ConfigMap", "tidegate-nats"), "f:data", "2026-11-02T00:00:00Z")
    managed(api.get("ScaledObject", "tidegate-embed"), "f:spec", "2026-11-03T00:00:00Z")


def every(kind: str) -> Callable[[KubeApi], None]:
    """Delete all of a kind."""
    return lambda api: [api.drop(kind, d["metadata"]["name"]) for d in api.all(kind)] and None


REMEDY = f"patch of ScaledObject {CV}"
FAULTS = (
    Fault("overlay", "bad", every("NetworkPolicy"), "NetworkPolicy default-deny, nats, tidegate", "kubectl apply"),
    Fault("overlay", "bad", every("PodDisruptionBudget"), "PodDisruptionBudget nats", "kubectl apply"),
    Fault(
        "TriggerAuthentication tidegate-nats",
        "bad",
        drop("TriggerAuthentication", "tidegate-nats"),
        "KEDA asks nothing for tidegate-cv, tidegate-embed",
        "apply the overlay",
    ),
    Fault(
        "TriggerAuthentication tidegate-nats",
        "bad",
        change("ConfigMap", "tidegate-nats", lambda d: d["data"].pop("account")),
        "tidegate-nats has no account",
        "apply the overlay",
    ),
    Fault(f"trigger 0 of {CV}", "bad", url("coldStart=60", "coldStart=soon"), "coldStart is 'soon'", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url("coldStart", "coldStrat"), "did you mean coldStart?", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url("service=cv", "service=cvv"), "did you mean cv?", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url("/demand", "/demnad"), "its page is /demand", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url("scaler.", "scalar."), "no Service tidegate-scalar", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url(".tidegate.svc", ".tidgate.svc"), "no namespace tidgate", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url(":9091", ":9090"), "its page is on 9091", REMEDY),
    Fault(f"trigger 0 of {CV}", "bad", url("service=cv", "service=embed"), "the demand of embed", REMEDY),
    Fault(
        f"trigger 0 of {CV}",
        "bad",
        trigger(0, lambda m: m.update(valueLocation="active")),
        "the count of replicas is in demand",
        REMEDY,
    ),
    Fault(f"trigger 1 of {CV}", "bad", trigger(1, lambda m: m.update(consumer="embed")), "consumer embed of", REMEDY),
    Fault(
        f"trigger 1 of {CV}",
        "bad",
        trigger(1, lambda m: m.update(consumer="mine")),
        "consumer mine of stream MEDIA, which NATS does not have",
        REMEDY,
    ),
    Fault(
        f"trigger 1 of {CV}",
        "bad",
        trigger(1, lambda m: m.update(lagTreshold=m.pop("lagThreshold"))),
        "KEDA ignores the key lagTreshold: did you mean lagThreshold?",
        REMEDY,
    ),
    Fault(SCALER, "bad", no_scaler, "0 replicas, and KEDA asks it for tidegate-cv", "--replicas=2"),
    Fault(
        "tidegate-analytics",
        "note",
        change("Deployment", "tidegate-analytics", lambda d: d["spec"].update(replicas=0)),
        "0 replicas",
        "scale deployment tidegate-analytics --replicas=2",
    ),
    Fault(f"ScaledObject {CV}", "note", paused(paused="true"), "paused: KEDA leaves", "autoscaling.keda.sh/paused-"),
    Fault(f"ScaledObject {CV}", "note", paused(paused_replicas="0"), "paused at 0 replicas", "paused-replicas-"),
    Fault(
        f"ScaledObject {CV}", "note", paused(paused_scale_in="true"), "paused for scale-in alone", "paused-scale-in-"
    ),
    Fault(
        "KEDA's copy of tidegate-nats",
        "note",
        later_address,
        "changed since KEDA read it for tidegate-cv, tidegate-vlm",
        "rollout restart",
    ),
    Fault("NATS", "bad", other_port, "8333, and Service nats serves 4222, 8222", "correct its monitoring"),
    Fault(
        f"ScaledObject {CV}",
        "bad",
        change("ScaledObject", CV, lambda d: set_condition(d, "Ready", "False", "TriggerError", "not working")),
        "tidegate-cv keeps 1 replica until then",
        "describe scaledobject",
    ),
)
