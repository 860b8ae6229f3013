"""NATS and its contents: the Job that creates streams, the servers, and this version's streams and consumers."""

from __future__ import annotations

from shared.contract import memory as server_memory
from shared.contract import topology
from shared.contract.memory import GB, MB
from tidegate.cluster.kubectl import Document
from tidegate.cluster.monitor import CONFIG, namespace_of
from tidegate.cluster.state import Cluster, condition, labels
from tidegate.view.findings import Finding

COPIES = "STREAM_REPLICAS"
# The name of the line of streams and consumers.
STREAMS = "streams"


def setup(cluster: Cluster) -> list[Finding]:
    """Check the Job of setup. A successful one expires after a day: then the streams tell."""
    if "objects" in cluster.unknown:
        return []
    jobs = {n: j for n, j in cluster.of("Job").items() if labels(j).get("app.kubernetes.io/component") == "setup"}
    if not jobs:
        level = "note" if cluster.jsz else "bad"
        return [Finding("setup", level, "no Job of it: it goes a day after its end", "apply the overlay: it makes one")]
    found = []
    for name, job in sorted(jobs.items()):
        logs = f"kubectl -n {cluster.namespace} logs job/{name}"
        if condition(job, "Complete").get("status") == "True":
            found.append(Finding("setup", "ok", f"{name} has ended well"))
        elif (failed := condition(job, "Failed")).get("status") == "True":
            remedy = f"{logs}; then kubectl delete job {name}, and apply the overlay again"
            found.append(Finding("setup", "bad", f"{name}: {failed.get('message') or failed.get('reason')}", remedy))
        else:
            found.append(Finding("setup", "bad", f"{name} has not ended", f"wait, or see what it waits for: {logs}"))
    return found


def servers(cluster: Cluster) -> list[Finding]:
    """Check our servers, if they are in the namespace: an address elsewhere is another team's."""
    if "objects" in cluster.unknown:
        return []
    config = cluster.of("ConfigMap").get(CONFIG, {}).get("data") or {}
    address = str(config.get("monitoring", ""))
    service = address.partition(".")[0]
    if not config:
        return []
    if namespace_of(address) != cluster.namespace:
        return [Finding("NATS", "ok", f"elsewhere, at {config.get('url')}")]
    if service not in cluster.of("Service"):
        remedy = "add the component kubernetes/nats to the overlay, or write the address of yours into base/nats.yaml"
        return [Finding("NATS", "bad", f"no Service {service}", remedy)]
    for key in ("monitoring", "url"):
        if lost := unserved_port(cluster, str(config.get(key, ""))):
            remedy = f"correct its {key} in the overlay: KEDA and pods read the address there"
            return [Finding("NATS", "bad", f"ConfigMap {CONFIG} has {key} {config[key]}, and {lost}", remedy)]
    selector = (cluster.of("Service")[service].get("spec") or {}).get("selector") or {}
    pods = [p for p in cluster.of("Pod").values() if selector.items() <= labels(p).items()]
    ready = sum(condition(p, "Ready").get("status") == "True" for p in pods)
    # A cluster works while a majority does.
    if ready * 2 <= len(pods):
        remedy = f"kubectl -n {cluster.namespace} describe pods -l app.kubernetes.io/name=nats"
        return [Finding("NATS", "bad", f"{ready} of {len(pods)} servers ready", remedy)]
    level = "ok" if ready == len(pods) else "note"
    remedy = "" if level == "ok" else f"kubectl -n {cluster.namespace} get pods -l app.kubernetes.io/name=nats -o wide"
    return [Finding("NATS", level, f"{ready} of {len(pods)} servers ready", remedy)]


def unserved_port(cluster: Cluster, address: str) -> str:
    """Return why its port is not served by the Service of our namespace; empty if it is, or is not known."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    service = host.partition(".")[0]
    spec = cluster.of("Service").get(service, {}).get("spec") or {}
    ports = sorted(str(p.get("port")) for p in spec.get("ports") or [])
    if namespace_of(host + ":") != cluster.namespace or not ports or port in ports:
        return ""
    return f"Service {service} serves {', '.join(ports)}"


def memory(cluster: Cluster) -> list[Finding]:
    """Check that each server has memory for the maximum clients of one password, none of which read."""
    found = []
    for page in cluster.varz:
        name, pending, limit = str(page.get("server_name")), int(page.get("max_pending") or 0), page.get("gomemlimit")
        wanted = server_memory.needed(max_pending=pending)
        if not limit:
            remedy = (
                "set GOMEMLIMIT to nine tenths of its memory limit: Go frees memory before the kernel ends the server"
            )
            found.append(Finding("NATS memory", "note", f"{name} has no GOMEMLIMIT", remedy))
        elif wanted > limit:
            most = f"{server_memory.CONNECTIONS} connections of one password can take {wanted / GB:.1f} GB"
            remedy = (
                f"set max_pending to {server_memory.MAX_PENDING // MB}MB in its configuration, or give it more memory"
            )
            found.append(Finding("NATS memory", "bad", f"{name} has {limit / GB:.1f} GB, and {most}", remedy))
    return found or [Finding("NATS memory", "ok", f"{len(cluster.varz)} servers")] * bool(cluster.varz)


def there(cluster: Cluster) -> list[Finding]:
    """Check each stream, consumer and bucket, and that streams have the copies that three servers promise."""
    if "NATS" in cluster.unknown:
        config = cluster.of("ConfigMap").get(CONFIG, {}).get("data") or {}
        home = namespace_of(str(config.get("monitoring", ""))) or cluster.namespace
        ask = f"kubectl -n {home} port-forward pod/nats-0 8222, and beside it"
        remedy = f"{ask} tidegate cluster check --monitor http://127.0.0.1:8222"
        return [Finding(STREAMS, "note", f"not seen: {cluster.unknown['NATS']}", remedy, ("NATS",))]
    if not cluster.jsz:
        return []
    limits = topology.TopologySettings()
    existing = _streams(cluster)
    wanted = {str(s.name): set[str]() for s in [*topology.streams(limits), *topology.buckets(limits).values()]}
    for stream, consumer in topology.consumers(limits):
        wanted[stream].add(str(consumer.durable_name))
    lost = [f"stream {s}" for s in wanted if s not in existing]
    lost += [
        f"consumer {c} of {s}" for s, names in wanted.items() if s in existing for c in names - _consumers(existing[s])
    ]
    remedy = (
        f"kubectl -n {cluster.namespace} delete job -l app.kubernetes.io/component=setup, and apply the overlay again"
    )
    if lost:
        return [Finding(STREAMS, "bad", f"missing: {', '.join(sorted(lost))}", remedy, ("setup",))]
    alone = sorted(s for s in wanted if _copies(existing[s]) == 1)
    count = f"{len(wanted)} streams and {sum(map(len, wanted.values()))} consumers"
    if alone and len(cluster.jsz) > 1:
        found = f"{count}; on one server alone: {', '.join(alone)}"
        return [Finding(STREAMS, "note", found, f"{COPIES}=3 in the Job of setup; {remedy}")]
    return [Finding(STREAMS, "ok", count)]


def existing_consumers(cluster: Cluster) -> set[tuple[str, str]]:
    """Return each (stream, consumer) of NATS; empty if it was not seen."""
    return {(name, consumer) for name, stream in _streams(cluster).items() for consumer in _consumers(stream)}


def _streams(cluster: Cluster) -> dict[str, Document]:
    """Return the account's streams by name. Each server reports its own, and a consumer's leader knows it first."""
    found: dict[str, Document] = {}
    for page in cluster.jsz:
        for account in page.get("account_details") or []:
            for stream in account.get("stream_detail") or []:
                before = found.get(stream["name"], {})
                both = [*(before.get("consumer_detail") or []), *(stream.get("consumer_detail") or [])]
                found[stream["name"]] = {**before, **stream, "consumer_detail": both}
    return found


def _consumers(stream: Document) -> set[str]:
    return {str(c["name"]) for c in stream.get("consumer_detail") or []}


def _copies(stream: Document) -> int:
    return int((stream.get("config") or {}).get("num_replicas") or 1)
