"""NATS' monitoring port, through the API server: its streams and consumers, without a password."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from tidegate.cluster.kubectl import Document, Kubectl, NoAnswer, by_kind

TIMEOUT_S = 10.0
CONFIG = "tidegate-nats"
_MOST_BYTES = 64 * 1024 * 1024


def streams_path(objects: Mapping[str, Mapping[str, Document]]) -> str:
    """Return the page of a server's streams and consumers."""
    account = _config(objects).get("account", "")
    return "/jsz?" + urlencode({"acc": account, "consumers": "true", "config": "true"})


def pages(
    kubectl: Kubectl,
    namespace: str,
    objects: Mapping[str, Mapping[str, Document]],
    path: str,
    urls: Sequence[str] = (),
) -> list[Document]:
    """Return a page of each NATS server: one server may be the only one to know a stream.

    urls: `http://127.0.0.1:8222`, of servers to query directly. Raises NoAnswer if none can be queried.
    """
    config = _config(objects)
    if urls:
        return [_fetched(url.rstrip("/") + path) for url in urls]
    address = str(config.get("monitoring", ""))
    home = namespace_of(address)
    if home and home != namespace:
        # Another tenant's servers are ours too.
        objects = by_kind(kubectl.objects("pods,services", home))
    pods = servers(address, objects) if home else []
    if not pods:
        raise NoAnswer(f"{address or 'NATS'} has no pod in this cluster")
    scheme = "https:" if config.get("https") == "true" else ""
    port = address.rpartition(":")[2]
    return [kubectl.page(f"/api/v1/namespaces/{home}/pods/{scheme}{pod}:{port}/proxy{path}") for pod in pods]


def _config(objects: Mapping[str, Mapping[str, Document]]) -> Document:
    return objects.get("ConfigMap", {}).get(CONFIG, {}).get("data") or {}


def namespace_of(address: str) -> str:
    """Return the namespace of `SERVICE.NAMESPACE.svc…:PORT`; empty for an address outside the cluster."""
    parts = address.split(".")
    return parts[1] if len(parts) > 2 and parts[2].partition(":")[0] == "svc" else ""


def servers(address: str, objects: Mapping[str, Mapping[str, Document]]) -> list[str]:
    """Return the running pods behind such an address, of the objects of its namespace."""
    service = address.partition(".")[0]
    selector = (objects.get("Service", {}).get(service, {}).get("spec") or {}).get("selector") or {}
    return [
        name
        for name, pod in objects.get("Pod", {}).items()
        if selector
        and selector.items() <= (pod["metadata"].get("labels") or {}).items()
        and (pod.get("status") or {}).get("phase") == "Running"
    ]


def _fetched(url: str) -> Document:
    if not url.startswith(("http://", "https://")):
        raise NoAnswer(f"{url} is no http address")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http alone, as checked above
            found = json.loads(answer.read(_MOST_BYTES))
    except (OSError, urllib.error.URLError, ValueError) as e:
        raise NoAnswer(f"{url.partition('?')[0]} does not answer: {e}") from None
    return dict(found)
