"""Checks that nodes have the GPUs that workers request, where the workers may run."""

from __future__ import annotations

from tidegate.cluster.kubectl import Document
from tidegate.cluster.policies import holds
from tidegate.cluster.state import Cluster, condition, labels, template
from tidegate.view.findings import Finding
from tidegate.view.words import counted

VENDOR = "nvidia.com/"
# Labels of GPU feature discovery.
PRESENT = "nvidia.com/gpu.present"
PRODUCT = "nvidia.com/gpu.product"


def gpus(cluster: Cluster) -> list[Finding]:
    """Return a line for each workload that requests a GPU. Without nodes it is a note: an autoscaler may add them."""
    if "cluster" in cluster.unknown:
        return []
    found = []
    for name, workload in sorted(cluster.ours().items()):
        pod = template(workload).get("spec") or {}
        for resource in sorted(_gpu_resources(pod)):
            found.append(_found(cluster, name, pod, resource))
    return found


def _found(cluster: Cluster, name: str, pod: Document, resource: str) -> Finding:
    what = f"GPUs for {name}"
    nodes = [n for n in cluster.of("Node").values() if _is_up(n)]
    having = [n for n in nodes if _allocatable(n, resource)]
    if not having:
        if bare := [n["metadata"]["name"] for n in nodes if labels(n).get(PRESENT) == "true"]:
            remedy = "is NVIDIA's device plugin there? kubectl get pods -A | grep nvidia-device-plugin"
            return Finding(what, "bad", f"{', '.join(bare)} has a GPU, and offers no {resource}", remedy)
        remedy = "add one, or have an autoscaler of nodes that does once a pod waits"
        return Finding(what, "note", f"no node offers {resource}", remedy)
    fitting = [n for n in having if _fits(pod, n)]
    if not fitting:
        kinds = sorted({labels(n).get(PRODUCT, "of no label") for n in having})
        wanted = ", ".join(f"{k}={v}" for k, v in sorted((pod.get("nodeSelector") or {}).items()))
        remedy = "choose the overlay of your GPU; its pods tolerate nvidia.com/gpu alone: see the nodes' taints"
        return Finding(what, "bad", f"no node fits {wanted or 'its affinity'}: nodes have {', '.join(kinds)}", remedy)
    total = sum(_allocatable(n, resource) for n in fitting)
    return Finding(what, "ok", f"{total} {resource} on {counted(len(fitting), 'node')}{_most(cluster, name)}")


def _most(cluster: Cluster, name: str) -> str:
    """Describe how many replicas KEDA may request."""
    for scaled in cluster.of("ScaledObject").values():
        if (scaled["spec"].get("scaleTargetRef") or {}).get("name") == name:
            return f", for {scaled['spec'].get('maxReplicaCount', 100)} replicas at most"
    return ""


def _gpu_resources(pod: Document) -> set[str]:
    containers = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    return {k for c in containers for k in ((c.get("resources") or {}).get("limits") or {}) if k.startswith(VENDOR)}


def _allocatable(node: Document, resource: str) -> int:
    return int(((node.get("status") or {}).get("allocatable") or {}).get(resource) or 0)


def _is_up(node: Document) -> bool:
    unschedulable = (node.get("spec") or {}).get("unschedulable")
    return condition(node, "Ready").get("status") == "True" and not unschedulable


def _fits(pod: Document, node: Document) -> bool:
    """Match selector, required affinity and taints: the scheduler's filters, without free resources."""
    here = labels(node)
    if not (pod.get("nodeSelector") or {}).items() <= here.items():
        return False
    required = ((pod.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    terms = required.get("nodeSelectorTerms") or []
    if terms and not any(all(holds(e, here) for e in term.get("matchExpressions") or []) for term in terms):
        return False
    taints = (node.get("spec") or {}).get("taints") or []
    hard = [t for t in taints if t.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(each, taint) for each in pod.get("tolerations") or []) for taint in hard)


def _tolerates(toleration: Document, taint: Document) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return (toleration.get("key"), toleration.get("value", "")) == (taint.get("key"), taint.get("value", ""))
