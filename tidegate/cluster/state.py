"""The state of a cluster, gathered once, for the checks.

Example:
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

# Kubernetes' own kinds, in the namespace and cluster-wide: any API server knows them.
_HERE = (
    "deployments,statefulsets,jobs,pods,services,configmaps,persistentvolumeclaims,networkpolicies,"
    "horizontalpodautoscalers"
)
_CLUSTER = "nodes,namespaces,apiservices"
_SCALED = "scaledobjects.keda.sh,triggerauthentications.keda.sh"
# The kinds of each query, by its name.
_KINDS = {
    "objects": (
        "Deployment",
        "StatefulSet",
        "Job",
        "Pod",
        "Service",
        "ConfigMap",
        "PersistentVolumeClaim",
        "NetworkPolicy",
        "HorizontalPodAutoscaler",
    ),
    "cluster": ("Node", "Namespace", "APIService"),
    "ScaledObjects": ("ScaledObject", "TriggerAuthentication"),
    "secrets": ("Secret",),
}
QUERY_OF = {kind: query for query, kinds in _KINDS.items() for kind in kinds}
# The label in KEDA's chart and in its manifests.
_OPERATOR = "app.kubernetes.io/name=keda-operator"
_WORKERS = 8


class Value(NamedTuple):
    """KEDA's answer to an HPA's query for a metric of a ScaledObject, or why there is none."""

    scaled: str
    metric: str
    value: str | NoAnswer


class Cluster(msgspec.Struct, frozen=True):
    """The answers. unknown: the reasons of missing answers, by the query's name.

    objects: by kind, then name. secrets: names alone. jsz, varz: a page of each NATS server. wanted: the objects of an
    overlay. names: of the overlay's other kinds, and in other namespaces, by (kind, namespace).
    """

    namespace: str
    version: str = ""
    objects: Mapping[str, Mapping[str, Document]] = {}
    keda: Sequence[Document] = ()
    keda_pods: Sequence[Document] = ()
    secrets: frozenset[str] = frozenset()
    jsz: Sequence[Document] = ()
    varz: Sequence[Document] = ()
    values: Sequence[Value] = ()
    wanted: Sequence[Document] = ()
    names: Mapping[tuple[str, str], frozenset[str]] = {}
    unknown: Mapping[str, str] = {}

    def of(self, kind: str) -> Mapping[str, Document]:
        return self.objects.get(kind, {})

    def ours(self) -> dict[str, Document]:
        """Return the Deployments and StatefulSets of Tidegate and of its NATS, by name."""
        parts = ("tidegate", "nats")
        both = {**self.of("Deployment"), **self.of("StatefulSet")}
        return {n: d for n, d in both.items() if labels(d).get("app.kubernetes.io/name") in parts}


def labels(document: Document) -> dict[str, str]:
    return dict((document.get("metadata") or {}).get("labels") or {})


def template(workload: Document) -> Document:
    """Return the pod template of a workload: metadata and spec."""
    return dict((workload.get("spec") or {}).get("template") or {})


def condition(document: Document, kind: str) -> Document:
    """Return a condition of its status by its type; empty if it has none."""
    found = (document.get("status") or {}).get("conditions") or []
    return next((dict(c) for c in found if c.get("type") == kind), {})


def changed(document: Document, field: str) -> str:
    """Return when a part of an object last changed, as Kubernetes writes a time; empty if it is not known.

    field: `f:spec` or `f:data`.
    """
    entries = (document.get("metadata") or {}).get("managedFields") or []
    return max((str(e.get("time") or "") for e in entries if field in (e.get("fieldsV1") or {})), default="")


def namespace_of(document: Document, default: str) -> str:
    return str((document.get("metadata") or {}).get("namespace") or default)


def is_gathered(document: Document, namespace: str) -> bool:
    """Return whether the queries of a namespace find the object."""
    return document["kind"] in QUERY_OF and namespace_of(document, namespace) == namespace


def gather(kubectl: Kubectl, namespace: str, urls: Sequence[str] = (), wanted: Sequence[Document] = ()) -> Cluster:
    """Gather the state. urls: of NATS' monitoring ports, if the API server can't proxy to them. wanted: an overlay.

    Raises NoAnswer if the API server is unreachable.
    """
    version = str((kubectl.version().get("serverVersion") or {}).get("gitVersion") or "")
    if not version:
        raise NoAnswer("kubectl reaches no API server")
    unknown: dict[str, str] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        futures: dict[str, Future[Any]] = {
            "objects": pool.submit(kubectl.objects, _HERE, namespace),
            "cluster": pool.submit(kubectl.objects, _CLUSTER),
            "ScaledObjects": pool.submit(kubectl.objects, _SCALED, namespace),
            "KEDA": pool.submit(kubectl.objects, "deployments", "", _OPERATOR),
            "KEDA's pods": pool.submit(kubectl.objects, "pods", "", _OPERATOR),
            "definition": pool.submit(lambda: [kubectl.object("customresourcedefinitions", keda.CRD)]),
            "secrets": pool.submit(kubectl.names, "secrets", namespace),
        }
        others = _others(kubectl, pool, namespace, wanted)
        found = {name: _answer(name, future, unknown) for name, future in futures.items()}
        objects = by_kind([*found["objects"], *found["cluster"], *found["ScaledObjects"], *found["definition"]])
        values = pool.submit(_values, kubectl, pool, namespace, objects)
        jsz, varz = (
            _answer(name, pool.submit(monitor.pages, kubectl, namespace, objects, path, urls), unknown)
            for name, path in (("NATS", monitor.streams_path(objects)), ("NATS memory", "/varz"))
        )
        return Cluster(
            namespace=namespace,
            version=version,
            objects=objects,
            keda=found["KEDA"],
            keda_pods=found["KEDA's pods"],
            secrets=frozenset(found["secrets"]),
            jsz=jsz,
            varz=varz,
            values=values.result(),
            wanted=wanted,
            names={key: frozenset(_answer(key[0], future, unknown)) for key, future in others.items()},
            unknown=unknown,
        )


def _others(
    kubectl: Kubectl, pool: ThreadPoolExecutor, namespace: str, wanted: Sequence[Document]
) -> dict[tuple[str, str], Future[list[str]]]:
    """Ask for the names of objects that the other queries do not find, by (kind, namespace)."""
    found: dict[tuple[str, str], Future[list[str]]] = {}
    for document in (d for d in wanted if not is_gathered(d, namespace)):
        group, _, version = str(document.get("apiVersion")).rpartition("/")
        kind = f"{document['kind']}.{version}.{group}" if group else document["kind"]
        key = (document["kind"], namespace_of(document, namespace))
        if key not in found:
            found[key] = pool.submit(kubectl.names, kind, key[1])
    return found


def _answer(name: str, future: Future[Any], unknown: dict[str, str]) -> list[Any]:
    try:
        return list(future.result())
    except NoAnswer as e:
        unknown[name] = str(e)
        return []


def _values(
    kubectl: Kubectl, pool: ThreadPoolExecutor, namespace: str, objects: Mapping[str, Mapping[str, Document]]
) -> list[Value]:
    """Return the answers to all queries of HPAs."""
    futures = [
        pool.submit(_value, kubectl, namespace, name, metric)
        for name, scaled in objects.get("ScaledObject", {}).items()
        for metric in (scaled.get("status") or {}).get("externalMetricNames") or []
    ]
    return [future.result() for future in futures]


def _value(kubectl: Kubectl, namespace: str, scaled: str, metric: str) -> Value:
    selector = urlencode({"labelSelector": f"scaledobject.keda.sh/name={scaled}"})
    try:
        page = kubectl.page(f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?{selector}")
    except NoAnswer as e:
        return Value(scaled, metric, e)
    items = page.get("items") or []
    return Value(scaled, metric, str(items[0].get("value")) if items else NoAnswer("KEDA answers, and has no value"))
