"""The prerequisites of Tidegate: Kubernetes, KEDA, and the API by which HPAs ask KEDA."""

from __future__ import annotations

import re

from tidegate.cluster import keda
from tidegate.cluster.state import Cluster, condition
from tidegate.view.findings import Finding

# Native sidecars, which vlm's pod uses, are on from this version.
LEAST = (1, 29)
# The namespace that the NetworkPolicies admit.
HOME = "keda"
EXTERNAL = "v1beta1.external.metrics.k8s.io"
# kubectl's message for a kind that the API server does not know.
NO_KIND = "doesn't have a resource type"
# The names of two lines that explain others.
OPERATOR, METRICS = "KEDA's operator", "external metrics"
INSTALL = "helm install keda kedacore/keda --namespace keda --create-namespace"


MAY = "log in as one who may see it: deploy/README.md, Check it, has the rights"


def remedy_of(why: str, otherwise: str) -> str:
    """Return the remedy of a missing answer: without the right to ask, the state is unknown."""
    return MAY if "forbidden" in why.lower() else otherwise


def unanswered(cluster: Cluster) -> list[Finding]:
    """Return a line for each check without data: its silence must not pass for health."""
    # These have lines of their own below, and so do objects of a kind that the API server does not know.
    elsewhere = ("NATS", "NATS memory", "definition", "ScaledObjects")
    unanswered_queries = {n: why for n, why in cluster.unknown.items() if n not in elsewhere and NO_KIND not in why}
    return [Finding(name, "bad" if name == "objects" else "note", why, MAY) for name, why in unanswered_queries.items()]


def kubernetes(cluster: Cluster) -> list[Finding]:
    found = re.match(r"v?(\d+)\.(\d+)", cluster.version)
    if found is None or (int(found[1]), int(found[2])) < LEAST:
        least = ".".join(map(str, LEAST))
        return [Finding("Kubernetes", "bad", cluster.version, f"upgrade it to {least} or later: vlm's pod needs it")]
    return [Finding("Kubernetes", "ok", cluster.version)]


def keda_is_new_enough(cluster: Cluster) -> list[Finding]:
    definition = cluster.of("CustomResourceDefinition").get(keda.CRD)
    if definition is None:
        why = cluster.unknown.get("definition", "not there")
        return [Finding("KEDA's definitions", "bad", why, remedy_of(why, f"install {keda.NEEDS}: {INSTALL}"))]
    if lacks := keda.lacking(definition):
        found = f"{keda.version(definition) or 'they'}: no {', '.join(lacks)}"
        return [Finding("KEDA's definitions", "bad", found, f"upgrade KEDA to {keda.NEEDS}")]
    return [Finding("KEDA's definitions", "ok", keda.version(definition) or "every field of deploy/keda is known")]


def keda_runs(cluster: Cluster) -> list[Finding]:
    if "KEDA" in cluster.unknown:
        return []
    if not cluster.keda:
        return [Finding(OPERATOR, "bad", "runs nowhere", f"install it: {INSTALL}")]
    at = cluster.keda[0]["metadata"]["namespace"]
    ready, wanted = ((cluster.keda[0].get("status") or {}).get(k) or 0 for k in ("readyReplicas", "replicas"))
    if at != HOME:
        remedy = f"put {at} for {HOME} into the policies nats and tidegate-scaler, in your overlay"
        return [Finding(OPERATOR, "bad", f"in the namespace {at}: policies let {HOME} alone ask", remedy)]
    if not ready:
        remedy = f"kubectl -n {at} describe pods, and logs deployment/{cluster.keda[0]['metadata']['name']}"
        return [Finding(OPERATOR, "bad", f"0 of {wanted or 1} ready", remedy)]
    return [Finding(OPERATOR, "ok", f"{ready} of {wanted} ready in {at}")]


def external_metrics(cluster: Cluster) -> list[Finding]:
    """Check the API for external metrics: HPAs share one, and a cluster has one server for it."""
    if "cluster" in cluster.unknown:
        return []
    service = cluster.of("APIService").get(EXTERNAL)
    if service is None:
        return [Finding(METRICS, "bad", f"no APIService {EXTERNAL}", f"install KEDA whole: {INSTALL}")]
    behind = (service.get("spec") or {}).get("service") or {}
    at = f"{behind.get('namespace', '')}/{behind.get('name', '')}"
    if "keda" not in str(behind.get("name", "")):
        remedy = "a cluster has one: take the other adapter's away, and let KEDA serve its metrics"
        return [Finding(METRICS, "bad", f"{at} serves them, and not KEDA", remedy)]
    available = condition(service, "Available")
    if available.get("status") != "True":
        message = str(available.get("message") or available.get("reason") or "not available")
        return [Finding(METRICS, "bad", message, f"kubectl -n {behind.get('namespace')} get pods,endpoints")]
    return [Finding(METRICS, "ok", f"by {at}")]
