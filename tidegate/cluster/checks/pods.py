"""Checks that every workload has its pods, and if not, what they wait for."""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.cluster import triggers
from tidegate.cluster.checks.dependencies import named
from tidegate.cluster.checks.streams import STREAMS
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
        if not wanted:
            found.append(_stopped(cluster, name, workload))
        elif ready >= wanted:
            found.append(Finding(name, "ok", f"{ready} ready"))
        else:
            why, remedy, causes = _reason(cluster, name, workload)
            found.append(Finding(name, "bad", f"{ready} of {wanted} ready: {why}", remedy, causes))
    return found


def _stopped(cluster: Cluster, name: str, workload: Document) -> Finding:
    """Describe a workload of no replica: KEDA's doing, the overlay's, or a person's."""
    scaled = [(d["spec"].get("scaleTargetRef") or {}).get("name") for d in cluster.of("ScaledObject").values()]
    manifest = next((d for d in cluster.wanted if d["kind"] == workload["kind"] and _name(d) == name), {})
    if name in scaled or (manifest.get("spec") or {}).get("replicas") == 0:
        return Finding(name, "ok", "no replica wanted")
    count = (manifest.get("spec") or {}).get("replicas", 1)
    remedy = f"kubectl -n {cluster.namespace} scale {workload['kind'].lower()} {name} --replicas={count}"
    users = [n for n, d in sorted(cluster.of("ScaledObject").items()) if any(map(triggers.asks_scaler, triggers.of(d)))]
    if name == triggers.SCALER and users:
        return Finding(name, "bad", f"0 replicas, and KEDA asks it for {', '.join(users)}", remedy)
    return Finding(name, "note", "0 replicas: nothing of it runs", remedy, ("NATS",) if name == "nats" else ())


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _reason(cluster: Cluster, name: str, workload: Document) -> tuple[str, str, tuple[str, ...]]:
    """Return why its pods are not ready, the remedy, and the lines that may explain it."""
    kubectl = f"kubectl -n {cluster.namespace}"
    kind = workload["kind"].lower()
    selector = (workload.get("spec") or {}).get("selector", {}).get("matchLabels") or {}
    pods = {n: p for n, p in cluster.of("Pod").items() if selector.items() <= labels(p).items()}
    if not pods:
        return "it has no pod", f"{kubectl} describe {kind} {name}: a quota, or a policy of admission?", ()
    inputs = _inputs(workload)
    for pod, document in sorted(pods.items()):
        placed = condition(document, "PodScheduled")
        if placed.get("status") == "False":
            message = str(placed.get("message") or placed.get("reason"))
            remedy = "add a node, or see whether the autoscaler of nodes does: docs/how-to/nodes.md"
            return message, remedy, (f"GPUs for {name}",)
        for status in _statuses(document):
            if why := _trouble(status):
                logs = f"{kubectl} logs {pod} -c {status['name']} --previous"
                return why, f"{kubectl} describe pod {pod}; {logs}", inputs
    remedy = f"{kubectl} logs {kind}/{name} says what /readyz waits for"
    bus = () if labels(workload).get("app.kubernetes.io/name") == "nats" else ("NATS", "setup", STREAMS)
    return "its pods start, or wait for NATS, streams or weights", remedy, (*inputs, *bus)


def _inputs(workload: Document) -> tuple[str, ...]:
    """Return the names of the lines about its images, Secrets and ConfigMaps."""
    referred = [f"{kind} {name}" for kind, name in named(template(workload).get("spec") or {})]
    return (*referred, *(f"image {container['image']}" for container in _containers(workload)))


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
