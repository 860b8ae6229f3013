"""The pods' inputs: the applied objects, and the Secrets, ConfigMaps and volumes that they name."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tidegate.cluster import state
from tidegate.cluster.checks.base import NO_KIND
from tidegate.cluster.kubectl import Document
from tidegate.cluster.state import Cluster, template
from tidegate.view.findings import Finding


def applied(cluster: Cluster) -> list[Finding]:
    """Find objects of the overlay that the cluster lacks. A missing right to look has a line of its own."""
    if not cluster.wanted:
        return []
    homes = {d["metadata"]["namespace"] for d in cluster.wanted if d["metadata"].get("namespace")}
    if homes and cluster.namespace not in homes:
        remedy = f"check that one: --namespace {min(homes)}"
        return [Finding("overlay", "bad", f"it is for the namespace {', '.join(sorted(homes))}", remedy)]
    # A Job of setup expires a day after it has ended; it has a line of its own.
    wanted = [d for d in cluster.wanted if d["kind"] != "Job" and not _is_unknown(cluster, d)]
    lost: dict[str, list[str]] = {}
    for document in wanted:
        if document["metadata"]["name"] not in _names(cluster, document):
            lost.setdefault(document["kind"], []).append(document["metadata"]["name"])
    if lost:
        listed = "; ".join(f"{kind} {', '.join(names)}" for kind, names in sorted(lost.items()))
        found = f"{sum(map(len, lost.values()))} of {len(wanted)} objects are not there: {listed}"
        return [Finding("overlay", "bad", found, "apply it: kubectl apply --server-side -k, and its folder")]
    return [Finding("overlay", "ok", f"all {len(wanted)} objects of it are there")]


def _is_unknown(cluster: Cluster, document: Document) -> bool:
    """Return whether the query for the object failed. A server without its kind does not have the object."""
    kind = document["kind"]
    query = state.QUERY_OF[kind] if state.is_gathered(document, cluster.namespace) else kind
    return query in cluster.unknown and not (query == kind and NO_KIND in cluster.unknown[kind])


def _names(cluster: Cluster, document: Document) -> Collection[str]:
    kind, home = document["kind"], state.namespace_of(document, cluster.namespace)
    if (kind, home) in cluster.names:
        return cluster.names[kind, home]
    return cluster.secrets if kind == "Secret" else cluster.of(kind)


def references(cluster: Cluster) -> list[Finding]:
    """Find missing references: pods wait for them, and a missing TriggerAuthentication invalidates its ScaledObject."""
    if "objects" in cluster.unknown:
        return []
    wanted: dict[tuple[str, str], set[str]] = {}
    for name, workload in cluster.ours().items():
        for kind, referred in named(template(workload).get("spec") or {}):
            wanted.setdefault((kind, referred), set()).add(name)
    there = {"ConfigMap": set(cluster.of("ConfigMap")), "Secret": set(cluster.secrets)}
    unseen = "secrets" in cluster.unknown
    lost = {
        (kind, referred): who
        for (kind, referred), who in wanted.items()
        if referred not in there[kind] and not (kind == "Secret" and unseen)
    }
    if not lost:
        return [Finding("Secrets", "ok", f"{len(wanted)} Secrets and ConfigMaps that pods name")] if wanted else []
    return [
        Finding(
            f"{kind} {referred}", "bad", f"not there: {', '.join(sorted(who))} waits for it", _remedy(kind, referred)
        )
        for (kind, referred), who in sorted(lost.items())
    ]


def _remedy(kind: str, name: str) -> str:
    if name.startswith(("tidegate-nats-", "nats-server")) and kind == "Secret":
        return "tidegate cluster init DIR, then kubectl apply --server-side -k DIR"
    if kind == "Secret" and ("tls" in name or name == "tidegate-scaler-client"):
        return "tidegate cluster init DIR --tls, or cert-manager: deploy/README.md, TLS everywhere"
    return "deploy/README.md says what it holds" if kind == "Secret" else "apply the overlay again"


def named(spec: Document) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of the objects that a pod can't start without."""
    for volume in spec.get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        for source in sources:
            for key, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
                found = source.get(key) or {}
                # A projected Secret has its name in `name`.
                if (named := found.get(name) or found.get("name")) and not found.get("optional"):
                    yield kind, named
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        values = [e.get("valueFrom") or {} for e in container.get("env") or []]
        for source in [*values, *(container.get("envFrom") or [])]:
            for key, kind in (("secretKeyRef", "Secret"), ("secretRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                found = source.get(key) or {}
                if found.get("name") and not found.get("optional"):
                    yield kind, found["name"]


def claims(cluster: Cluster) -> list[Finding]:
    """Find volumes without storage, except those that wait for their first pod."""
    phases = {n: _phase(claim) for n, claim in cluster.of("PersistentVolumeClaim").items()}
    found = []
    for name, phase in sorted(phases.items()):
        used = any(_mounts(pod, name) for pod in cluster.of("Pod").values())
        if phase == "Lost" or (phase != "Bound" and used):
            describe = f"kubectl -n {cluster.namespace} describe pvc {name}"
            remedy = f"{describe}; is there a default StorageClass? kubectl get storageclass"
            found.append(Finding(f"volume {name}", "bad", phase, remedy))
    bound = sum(phase == "Bound" for phase in phases.values())
    return found or ([Finding("volumes", "ok", f"{bound} bound")] if bound else [])


def _phase(claim: Document) -> str:
    return str((claim.get("status") or {}).get("phase") or "Pending")


def _mounts(pod: Document, claim: str) -> bool:
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return any((v.get("persistentVolumeClaim") or {}).get("claimName") == claim for v in volumes)
