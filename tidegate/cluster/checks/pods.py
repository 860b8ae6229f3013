"""Checks that every workload has its pods, and if not, what they wait for."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.cluster.kubectl import Document
from tidegate.cluster.state import Cluster, condition, labels, template
from tidegate.view.findings import Finding

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def images(cluster: Cluster) -> list[Finding]:
    """Check that nodes find each image, and that all of ours have one version."""
    lost = {}
    for pod in cluster.of("Pod").values():
        for status in _statuses(pod):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _PULL:
                lost[str(status.get("image"))] = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    remedy = "push it, name it in the overlay's images, and let nodes log in: imagePullSecrets of the ServiceAccount"
    if lost:
        return [Finding(f"image {image}", "bad", why, remedy) for image, why in sorted(lost.items())]
    used = {c["image"] for w in cluster.ours().values() for c in _containers(w)}
    versions = {i.rpartition(":")[2] for i in used if i.rpartition(":")[0].rpartition("/")[2].startswith("tidegate")}
    if len(versions) > 1:
        found = f"of several versions: {', '.join(sorted(versions))}"
        return [Finding("images", "note", found, "give all of them one tag in the overlay's images")]
    return [Finding("images", "ok", ", ".join(sorted(used)))] if used else []


def running(cluster: Cluster) -> list[Finding]:
    """Return a line for each workload: ready, or the first obstacle."""
    found = []
    for name, workload in sorted(cluster.ours().items()):
        wanted = int((workload.get("spec") or {}).get("replicas", 1))
        ready = int((workload.get("status") or {}).get("readyReplicas") or 0)
        if ready >= wanted:
            found.append(Finding(name, "ok", f"{ready} ready" if wanted else "no replica wanted"))
            continue
        why, remedy = _reason(cluster, name, workload)
        found.append(Finding(name, "bad", f"{ready} of {wanted} ready: {why}", remedy))
    return found


def _reason(cluster: Cluster, name: str, workload: Document) -> tuple[str, str]:
    """Return why its pods are not ready, and the remedy."""
    kubectl = f"kubectl -n {cluster.namespace}"
    selector = (workload.get("spec") or {}).get("selector", {}).get("matchLabels") or {}
    pods = {n: p for n, p in cluster.of("Pod").items() if selector.items() <= labels(p).items()}
    if not pods:
        return (
            "it has no pod",
            f"{kubectl} describe {workload['kind'].lower()} {name}: a quota, or a policy of admission?",
        )
    for pod, document in sorted(pods.items()):
        placed = condition(document, "PodScheduled")
        if placed.get("status") == "False":
            message = str(placed.get("message") or placed.get("reason"))
            return message, "add a node, or see whether the autoscaler of nodes does: docs/how-to/nodes.md"
        for status in _statuses(document):
            if why := _trouble(status):
                return why, f"{kubectl} describe pod {pod}; {kubectl} logs {pod} -c {status['name']} --previous"
    logs = f"{kubectl} logs {workload['kind'].lower()}/{name}"
    return "its pods start, or wait for NATS, streams or weights", f"{logs} says what /readyz waits for"


def _trouble(status: Document) -> str:
    """Return why one container of a pod fails; empty if it runs, or is just starting."""
    waiting = (status.get("state") or {}).get("waiting") or {}
    ended = (status.get("lastState") or {}).get("terminated") or (status.get("state") or {}).get("terminated") or {}
    if waiting.get("reason") in (None, "", "ContainerCreating", "PodInitializing"):
        return ""
    message = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    last = f"; it ended with {ended.get('exitCode')} ({ended.get('reason')})" if ended else ""
    return f"{status['name']}: {message}{last}"


def _statuses(pod: Document) -> Iterator[Document]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _containers(workload: Document) -> list[Document]:
    spec = template(workload).get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
