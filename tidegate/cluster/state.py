"""What a cluster has, gathered once, for the checks to judge.

cluster = state.gather(Kubectl(), "tidegate")
cluster.of("Deployment")            # {name: its JSON} in the namespace
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from tidegate.cluster import keda, monitor
from tidegate.cluster.kubectl import Document, Kubectl, NoAnswer, by_kind

# What Kubernetes itself has, in the namespace and of the whole cluster: any API server knows these kinds.
_HERE = (
    "deployments,statefulsets,jobs,pods,services,configmaps,persistentvolumeclaims,networkpolicies,"
    "horizontalpodautoscalers"
)
_CLUSTER = "nodes,namespaces,apiservices"
_SCALED = "scaledobjects.keda.sh,triggerauthentications.keda.sh"
# By KEDA's chart and by its manifests.
_OPERATOR = "app.kubernetes.io/name=keda-operator"
_WORKERS = 8


class Value(NamedTuple):
    """What KEDA answers when an HPA asks for a metric of a ScaledObject, or why it doesn't."""

    scaled: str
    metric: str
    value: str | NoAnswer


class Cluster(msgspec.Struct, frozen=True):
    """What was answered. unknown: what was not, by the question's name, and why.

    objects: by kind, then name. secrets: names alone. jsz, varz: a page of each NATS server. wanted: what an overlay
    would apply.
    """

    namespace: str
    version: str = ""
    objects: Mapping[str, Mapping[str, Document]] = {}
    keda: Sequence[Document] = ()
    secrets: frozenset[str] = frozenset()
    jsz: Sequence[Document] = ()
    varz: Sequence[Document] = ()
    values: Sequence[Value] = ()
    wanted: Sequence[Document] = ()
    unknown: Mapping[str, str] = {}

    def of(self, kind: str) -> Mapping[str, Document]:
        return self.objects.get(kind, {})

    def ours(self) -> dict[str, Document]:
        """The Deployments and StatefulSets of Tidegate and of its NATS, by name."""
        kept = ("tidegate", "nats")
        both = {**self.of("Deployment"), **self.of("StatefulSet")}
        return {n: d for n, d in both.items() if labels(d).get("app.kubernetes.io/name") in kept}


def labels(document: Document) -> dict[str, str]:
    return dict((document.get("metadata") or {}).get("labels") or {})


def template(workload: Document) -> Document:
    """The pods of a workload, as it makes them: metadata and spec."""
    return dict((workload.get("spec") or {}).get("template") or {})


def condition(document: Document, kind: str) -> Document:
    """A condition of its status by its type; empty where it has none."""
    found = (document.get("status") or {}).get("conditions") or []
    return next((dict(c) for c in found if c.get("type") == kind), {})


def gather(kubectl: Kubectl, namespace: str, urls: Sequence[str] = ()) -> Cluster:
    """Ask for everything. urls: of NATS' monitoring ports, where the API server can't pass questions on to them.

    Raises NoAnswer where the API server can't be reached at all.
    """
    version = str((kubectl.version().get("serverVersion") or {}).get("gitVersion") or "")
    if not version:
        raise NoAnswer("kubectl reaches no API server")
    unknown: dict[str, str] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        asked: dict[str, Future[Any]] = {
            "objects": pool.submit(kubectl.objects, _HERE, namespace),
            "cluster": pool.submit(kubectl.objects, _CLUSTER),
            "ScaledObjects": pool.submit(kubectl.objects, _SCALED, namespace),
            "KEDA": pool.submit(kubectl.objects, "deployments", "", _OPERATOR),
            "definition": pool.submit(lambda: [kubectl.object("customresourcedefinitions", keda.CRD)]),
            "secrets": pool.submit(kubectl.names, "secrets", namespace),
        }
        found = {name: _answer(name, future, unknown) for name, future in asked.items()}
        objects = by_kind([*found["objects"], *found["cluster"], *found["ScaledObjects"], *found["definition"]])
        values = pool.submit(_values, kubectl, pool, namespace, objects)
        jsz = _answer("NATS", pool.submit(monitor.streams, kubectl, namespace, objects, urls), unknown)
        varz = _answer("NATS memory", pool.submit(monitor.settings, kubectl, namespace, objects, urls), unknown)
        return Cluster(
            namespace=namespace,
            version=version,
            objects=objects,
            keda=found["KEDA"],
            secrets=frozenset(found["secrets"]),
            jsz=jsz,
            varz=varz,
            values=values.result(),
            unknown=unknown,
        )


def _answer(name: str, future: Future[Any], unknown: dict[str, str]) -> list[Any]:
    try:
        return list(future.result())
    except NoAnswer as e:
        unknown[name] = str(e)
        return []


def _values(
    kubectl: Kubectl, pool: ThreadPoolExecutor, namespace: str, objects: Mapping[str, Mapping[str, Document]]
) -> list[Value]:
    """To each question that an HPA asks."""
    asked = [
        pool.submit(_value, kubectl, namespace, name, metric)
        for name, scaled in objects.get("ScaledObject", {}).items()
        for metric in (scaled.get("status") or {}).get("externalMetricNames") or []
    ]
    return [future.result() for future in asked]


def _value(kubectl: Kubectl, namespace: str, scaled: str, metric: str) -> Value:
    selector = urlencode({"labelSelector": f"scaledobject.keda.sh/name={scaled}"})
    try:
        page = kubectl.page(f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?{selector}")
    except NoAnswer as e:
        return Value(scaled, metric, e)
    items = page.get("items") or []
    return Value(scaled, metric, str(items[0].get("value")) if items else NoAnswer("KEDA answers, and has no value"))
